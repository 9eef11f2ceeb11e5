//! Learning rates: the same grid for every method.

use std::collections::BTreeMap;

/// The seed that learning rates are tuned with, which no cell has.
pub(crate) const TUNING_SEED: u64 = 0;

/// Learning rates that every method may choose among.
pub(crate) const GRID: [f64; 5] = [3e-4, 1e-3, 3e-3, 1e-2, 3e-2];

/// The learning rate of each method.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates(pub BTreeMap<String, f64>);

impl Rates {
    /// The rate of a method, if it is known.
    pub fn of(&self, method: &str) -> Option<f64> {
        self.0.get(method).copied()
    }
}
