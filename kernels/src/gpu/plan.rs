//! What launches come to: their dispatches, each with its pipeline. Plans are kept, so that a steady step compares a few numbers where
//! it would make lists of passes and constants anew.

use super::Gpu;
use super::pipeline::Pipeline;
use crate::{Kernel, KernelError, Parameters};
use std::any::TypeId;
use std::collections::HashMap;
use std::sync::Arc;

/// Fields of a kernel's parameters at the most.
const MOST_FIELDS: usize = 24;
/// Plans kept; past this all are forgotten, for sizes that never come again, such as the lengths of a text that grows, would pile up.
const MOST_PLANS: usize = 8_192;

/// One dispatch of a launch.
pub(super) struct Stage {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) entry: &'static str,
    pub(super) groups: [u32; 3],
}

/// The kernel, and the whole numbers among its parameters: a launch's shader, constants, types and passes follow from those.
#[derive(PartialEq, Eq, Hash)]
struct Key(TypeId, [u32; MOST_FIELDS]);

impl Key {
    fn new<K: Kernel>(params: &K::Params) -> Self {
        const { assert!(size_of::<K::Params>() <= 4 * MOST_FIELDS) };
        let whole = const { whole(K::Params::FIELDS) };
        let mut numbers = [0; MOST_FIELDS];
        for (i, word) in bytemuck::bytes_of(params).chunks_exact(4).enumerate() {
            if whole & 1 << i != 0 {
                numbers[i] = bytemuck::pod_read_unaligned(word);
            }
        }
        Self(TypeId::of::<K>(), numbers)
    }
}

/// Which fields are whole numbers, a bit each.
const fn whole(fields: &[(&str, &str)]) -> u32 {
    let (mut bits, mut i) = (0, 0);
    while i < fields.len() {
        if matches!(fields[i].1.as_bytes(), b"u32") {
            bits |= 1 << i;
        }
        i += 1;
    }
    bits
}

/// The plans of launches so far.
#[derive(Default)]
pub(super) struct Plans(HashMap<Key, Arc<[Stage]>>);

impl Plans {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Gpu {
    /// The dispatches of a launch of kernel `K`, whose pipelines are compiled now if this is their first use.
    pub(super) fn plan<K: Kernel>(&self, params: &K::Params) -> Result<Arc<[Stage]>, KernelError> {
        let key = Key::new::<K>(params);
        if let Some(plan) = self.pipelines.known().plans.0.get(&key) {
            return Ok(plan.clone());
        }
        let stage = |pass: crate::Pass| {
            self.check_groups(K::NAME, pass.groups)?;
            let pipeline = self.pipelines.get::<K>(&self.device, &self.adapter.capabilities, params, pass.entry)?;
            Ok(Stage { pipeline, entry: pass.entry, groups: pass.groups })
        };
        let plan = K::passes(params).into_iter().map(stage).collect::<Result<Arc<[_]>, KernelError>>()?;
        let plans = &mut self.pipelines.known().plans.0;
        if plans.len() >= MOST_PLANS {
            plans.clear();
        }
        plans.insert(key, plan.clone());
        Ok(plan)
    }

    /// A grid that the adapter can't dispatch is refused here; wgpu would only report it after the submission.
    fn check_groups(&self, kernel: &'static str, groups: [u32; 3]) -> Result<(), KernelError> {
        let has = u64::from(self.limits.max_compute_workgroups_per_dimension);
        let needs = groups.into_iter().max().map_or(0, u64::from);
        if needs <= has {
            return Ok(());
        }
        Err(KernelError::Limit { kernel, what: "workgroups in one dimension", needs, has })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{AdamW, Scale};
    use crate::scale::Params;

    #[test]
    fn only_whole_numbers_tell_plans_apart() {
        assert_eq!(whole(&[("count", "u32"), ("alpha", "f32"), ("accumulate", "u32")]), 0b101);
        let key = |count, alpha| Key::new::<Scale>(&Params { count, alpha, ..bytemuck::Zeroable::zeroed() });
        assert!(key(7, 0.5) == key(7, 2.0) && key(7, 0.5) != key(8, 0.5));
        let other = Key::new::<AdamW>(&bytemuck::Zeroable::zeroed());
        assert!(other != key(0, 0.0), "of another kernel");
    }
}
