//! Learning rates by measurement: the same grid for every method, scored on validation text.

use super::setup::Setup;
use super::{Plan, Purpose};
use crate::Error;
use crate::experiments::Experiment;
use crate::experiments::results::Results;
use crate::experiments::results::statistics::mean;
use std::collections::{BTreeMap, BTreeSet};

/// The learning rate that each method scored best with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates(BTreeMap<String, f64>);

impl Rates {
    /// Those of experiments, as far as they were measured.
    ///
    /// # Errors
    /// A recipe that can't be.
    pub fn known(experiments: &[&Experiment], setup: &Setup, results: &Results) -> Result<Self, Error> {
        let mut all = Self::default();
        for experiment in experiments {
            let mut rates = Self::default();
            loop {
                let known = Self::measured(&Plan::of(&[experiment], setup, &rates, false)?, results);
                // A stage whose rate is known now has later ones whose grids build on it.
                if known == rates {
                    break;
                }
                rates = known;
            }
            all.0.extend(rates.0);
        }
        Ok(all)
    }

    /// Those of a plan's grids that were measured.
    fn measured(plan: &Plan, results: &Results) -> Self {
        let mut scores = Vec::new();
        let mut lacking = BTreeSet::new();
        for cell in &plan.cells {
            let Purpose::Tune { method, scored, rate } = &cell.purpose else { continue };
            match results.of_cell(plan, cell) {
                Some(line) => {
                    let names: Vec<&str> =
                        scored.iter().map(|&domain| plan.setup.domain(domain).name.as_str()).collect();
                    scores.push((method.as_str(), *rate, line.accuracy_on(&names)));
                }
                None => {
                    lacking.insert(method.as_str());
                }
            }
        }
        Self::new(scores.into_iter(), |method| !lacking.contains(method))
    }

    /// Out of what was measured of the grid, method, rate and score: of methods of which the `whole` grid is there. Of several scores at a
    /// rate the mean counts, among equals the lowest rate.
    fn new<'a>(scores: impl Iterator<Item = (&'a str, f64, f64)>, whole: impl Fn(&str) -> bool) -> Self {
        let mut grids: BTreeMap<&str, Vec<(f64, Vec<f64>)>> = BTreeMap::new();
        for (method, rate, score) in scores.filter(|(method, ..)| whole(method)) {
            let grid = grids.entry(method).or_default();
            match grid.iter_mut().find(|(of, _)| *of == rate) {
                Some((_, scores)) => scores.push(score),
                None => grid.push((rate, vec![score])),
            }
        }
        let best = |mut grid: Vec<(f64, Vec<f64>)>| {
            grid.sort_by(|a, b| mean(&b.1).total_cmp(&mean(&a.1)).then(a.0.total_cmp(&b.0)));
            grid[0].0
        };
        Self(grids.into_iter().map(|(method, grid)| (method.into(), best(grid))).collect())
    }

    /// The rate of a method, if its whole grid was measured.
    pub fn of(&self, method: &str) -> Option<f64> {
        self.0.get(method).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_mean_is_chosen_and_of_equals_the_lowest() {
        let scores =
            [("a", 0.1, 0.5), ("a", 0.1, 0.1), ("a", 0.01, 0.2), ("a", 0.01, 0.4), ("b", 1.0, 0.0), ("c", 1.0, 0.9)];
        let rates = Rates::new(scores.into_iter(), |method| method != "c");
        assert_eq!([rates.of("a"), rates.of("b"), rates.of("c")], [Some(0.01), Some(1.0), None]);
    }
}
