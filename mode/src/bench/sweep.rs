//! Sizes to profile an operation at: all combinations of those asked for, refused before anything is allocated.

use crate::{Error, memory};
use mode_kernels::gate_merge::MOST_BRANCHES;
use mode_tensor::Device;

/// A size by its name.
pub type Size = (&'static str, usize);

/// Names of the sizes that can be asked for.
pub const AXES: [&str; 4] = ["branches", "tokens", "width", "columns"];

/// An operation that is profiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The gate merge of `branches` over `tokens` of `width`.
    Gate,
    /// `[tokens, width]` times `[width, columns]`.
    Matmul,
    /// Causal attention over 4 windows of `tokens`, with 4 heads of `width`.
    Attention,
}

impl Operation {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Matmul => "matmul",
            Self::Attention => "attention",
        }
    }

    /// What it has sizes of, and their defaults.
    fn sizes(self) -> &'static [Size] {
        match self {
            Self::Gate => &[("branches", 3), ("tokens", 4_096), ("width", 512)],
            Self::Matmul => &[("tokens", 1_024), ("width", 1_024), ("columns", 1_024)],
            Self::Attention => &[("tokens", 256), ("width", 64)],
        }
    }

    /// Every combination of the sizes asked for, the first slowest.
    ///
    /// # Errors
    /// A size that this operation has not, zero, or more than the device holds.
    pub fn sweep(self, asked: &[(&str, Vec<usize>)], device: &Device) -> Result<Vec<Vec<Size>>, Error> {
        let of_ours = |name: &str| self.sizes().iter().any(|(ours, _)| *ours == name);
        if let Some((name, _)) = asked.iter().find(|(name, values)| !values.is_empty() && !of_ours(name)) {
            let ours: Vec<String> = self.sizes().iter().map(|(ours, _)| format!("--{ours}")).collect();
            let what = format!("--{name} is no size of {}; it has {}", self.name(), ours.join(", "));
            return Err(Error::Setting(what));
        }
        let mut all = vec![Vec::new()];
        for &(name, default) in self.sizes() {
            let given = asked.iter().find(|(asked, values)| *asked == name && !values.is_empty());
            let values = given.map_or(vec![default], |(_, values)| values.clone());
            if values.contains(&0) {
                return Err(Error::Setting(format!("--{name} 0: give 1 or more")));
            }
            let with = |sizes: Vec<Size>| {
                let with = |&value: &usize| [sizes.clone(), vec![(name, value)]].concat();
                values.iter().map(with).collect::<Vec<_>>()
            };
            all = all.into_iter().flat_map(with).collect();
        }
        all.iter().try_for_each(|sizes| self.require(sizes, device))?;
        Ok(all)
    }

    /// An error for sizes that the device can't hold or the kernels can't count.
    fn require(self, sizes: &[Size], device: &Device) -> Result<(), Error> {
        let product = |sizes: &[usize]| sizes.iter().fold(1u64, |n, &size| n.saturating_mul(size as u64));
        let size = |i: usize| sizes.get(i).map_or(1, |(_, size)| *size);
        // The largest tensor, and all that are held at once.
        let (largest, all) = match self {
            Self::Gate => {
                let branches = size(0);
                if branches > MOST_BRANCHES {
                    let what = format!("--branches {branches}: {MOST_BRANCHES} can be merged at the most");
                    return Err(Error::Setting(what));
                }
                let unit = product(&[size(1), size(2)]);
                (unit.saturating_mul(branches as u64), unit.saturating_mul(3 * branches as u64 + 6))
            }
            Self::Matmul => {
                let [a, b, c] = [[0, 1], [1, 2], [0, 2]].map(|pair| product(&pair.map(size)));
                (a.max(b).max(c), a.saturating_add(b).saturating_add(c))
            }
            Self::Attention => {
                let x = product(&[16, size(0), size(1)]);
                (x, x.saturating_mul(8))
            }
        };
        let words: Vec<String> = sizes.iter().map(|(name, size)| format!("{name} {size}")).collect();
        let what = format!("{} at {}", self.name(), words.join(", "));
        let most = device.most_elements();
        if largest > most {
            let what =
                format!("{what} has a tensor of {largest} numbers, {most} are the most here; choose smaller sizes");
            return Err(Error::Setting(what));
        }
        memory::require(device, all, &what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_combinations_and_nothing_that_cannot_be() {
        let device = Device::cpu();
        let sweep = |asked: &[(&str, Vec<usize>)]| Operation::Gate.sweep(asked, &device);
        let all = sweep(&[("tokens", vec![1, 2]), ("branches", vec![2, 5]), ("columns", vec![])]).expect("sizes");
        assert_eq!(all.len(), 4);
        assert_eq!(all[1], [("branches", 2), ("tokens", 2), ("width", 512)]);
        for (asked, says) in [
            (("columns", vec![3]), "--columns is no size of gate; it has --branches, --tokens, --width"),
            (("tokens", vec![8, 0]), "give 1 or more"),
            (("branches", vec![10_000]), "at the most"),
            (("tokens", vec![usize::MAX]), "choose smaller sizes"),
            (("width", vec![1_000_000]), "choose smaller sizes"),
        ] {
            let error = sweep(&[asked]).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(says), "{error}");
        }
    }
}
