//! Bind groups, made once for each pipeline and the windows that it is bound to.

use super::pipeline::Pipeline;
use super::{bytes, storage};
use crate::{Device, Kernel, KernelError, View};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Storage buffers that an entry point uses at the most, WebGPU's default limit.
pub(super) const MOST_BINDINGS: usize = 8;
/// Bind groups kept; past this all are forgotten, for buffers that are never used again would pile up.
const MOST: usize = 8_192;

/// A pipeline's number, and for each of its bindings the slab's number, the first byte and the number of bytes.
#[derive(PartialEq, Eq, Hash)]
struct Key(usize, [[u64; 3]; MOST_BINDINGS]);

/// What a dispatch binds.
pub(super) struct Bound<'a> {
    key: Key,
    buffers: [Option<&'a wgpu::Buffer>; MOST_BINDINGS],
}

impl<'a> Bound<'a> {
    /// Those of a launch's views that the pipeline uses.
    pub(super) fn new<K: Kernel>(
        pipeline: &Pipeline,
        inputs: &[&'a View],
        outputs: &[&'a View],
    ) -> Result<Self, KernelError> {
        let mut bound = Self { key: Key(pipeline.id, Default::default()), buffers: [None; MOST_BINDINGS] };
        for (i, &binding) in pipeline.bindings.iter().enumerate() {
            let place = binding as usize - 1;
            let view = inputs.get(place).unwrap_or_else(|| &outputs[place - inputs.len()]);
            let (offset, size) = bytes(view);
            if !offset.is_multiple_of(4 * Device::ALIGNMENT as u64) {
                let what = format!("binding {binding} starts at byte {offset}, not at a multiple of 256");
                return Err(KernelError::Launch { kernel: K::NAME, what });
            }
            let slab = storage(view)?;
            // Shaders read some buffers in vec4s. The rest of the last one lies in the same buffer, before anything else's beginning.
            bound.key.1[i] = [slab.number, offset, size.next_multiple_of(16)];
            bound.buffers[i] = Some(&slab.buffer);
        }
        Ok(bound)
    }
}

/// The bind groups made so far.
#[derive(Default)]
pub(super) struct BindGroups {
    known: HashMap<Key, wgpu::BindGroup>,
    made: u64,
}

impl BindGroups {
    /// How many have been made.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// Drops those that are kept, and with them the buffers that only they hold.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// The group that binds a slot of `ring` and `bound`.
    pub(super) fn get(
        &mut self,
        device: &wgpu::Device,
        pipeline: &Pipeline,
        ring: &wgpu::Buffer,
        bound: Bound,
    ) -> &wgpu::BindGroup {
        if self.known.len() >= MOST {
            self.known.clear();
        }
        let vacant = match self.known.entry(bound.key) {
            Entry::Occupied(known) => return known.into_mut(),
            Entry::Vacant(vacant) => vacant,
        };
        let range = |buffer, offset, size| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: std::num::NonZeroU64::new(size) })
        };
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: range(ring, 0, pipeline.params_size) }];
        let ranges = pipeline.bindings.iter().zip(&vacant.key().1).zip(bound.buffers);
        entries.extend(ranges.filter_map(|((&binding, &[_, offset, size]), buffer)| {
            Some(wgpu::BindGroupEntry { binding, resource: range(buffer?, offset, size) })
        }));
        self.made += 1;
        vacant.insert(device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        }))
    }
}
