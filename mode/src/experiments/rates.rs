//! Learning rates by measurement: the same grid for every method, scored on validation text.

use std::collections::BTreeMap;

/// The learning rate that each method scored best with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates(BTreeMap<String, f64>);

impl Rates {
    /// Out of what was measured of the grid: `methods` names those of which all is there. Among equals the lowest rate.
    pub fn new<'a>(scores: impl Iterator<Item = (&'a str, f64, f64)>, whole: impl Fn(&str) -> bool) -> Self {
        let mut best: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (method, rate, score) in scores.filter(|(method, ..)| whole(method)) {
            let (best_rate, best_score) = best.entry(method).or_insert((rate, f64::NEG_INFINITY));
            if score > *best_score || score == *best_score && rate < *best_rate {
                (*best_rate, *best_score) = (rate, score);
            }
        }
        Self(best.into_iter().map(|(method, (rate, _))| (method.into(), rate)).collect())
    }

    /// True if none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what is known of others.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The rate of a method, if its whole grid was measured.
    pub fn of(&self, method: &str) -> Option<f64> {
        self.0.get(method).copied()
    }
}
