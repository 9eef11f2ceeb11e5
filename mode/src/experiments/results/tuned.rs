//! The learning rates that results tell: of each method's grid the one that scored best on validation text, `results/tuning.jsonl`.

use super::Results;
use super::statistics::mean;
use crate::Error;
use crate::experiments::Experiment;
use crate::experiments::plan::rates::Rates;
use crate::experiments::plan::setup::Setup;
use crate::experiments::plan::{Plan, Purpose};
use std::collections::{BTreeMap, BTreeSet};

/// The rates of experiments, as far as their grids were measured.
///
/// # Errors
/// A recipe that can't be.
pub(crate) fn rates(experiments: &[&Experiment], setup: &Setup, results: &Results) -> Result<Rates, Error> {
    let mut all = Rates::default();
    for experiment in experiments {
        let mut rates = Rates::default();
        loop {
            let known = of_plan(&Plan::of(&[experiment], setup, &rates, false)?, results);
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

/// Those of a plan's grids.
fn of_plan(plan: &Plan, results: &Results) -> Rates {
    let mut scores = Vec::new();
    let mut lacking = BTreeSet::new();
    for cell in &plan.cells {
        let Purpose::Tune { method, scored, rate } = &cell.purpose else { continue };
        match results.of_cell(plan, cell) {
            Some(line) => {
                let names: Vec<&str> = scored.iter().map(|&domain| plan.setup.domain(domain).name.as_str()).collect();
                scores.push((method.as_str(), *rate, line.accuracy_on(&names)));
            }
            None => {
                lacking.insert(method.as_str());
            }
        }
    }
    best(scores.into_iter(), |method| !lacking.contains(method))
}

/// Out of what was measured of the grid, method, rate and score: of methods of which the `whole` grid is there. Of several scores at a
/// rate the mean counts, among equals the lowest rate.
fn best<'a>(scores: impl Iterator<Item = (&'a str, f64, f64)>, whole: impl Fn(&str) -> bool) -> Rates {
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
    Rates(grids.into_iter().map(|(method, grid)| (method.into(), best(grid))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_mean_is_chosen_and_of_equals_the_lowest() {
        let scores =
            [("a", 0.1, 0.5), ("a", 0.1, 0.1), ("a", 0.01, 0.2), ("a", 0.01, 0.4), ("b", 1.0, 0.0), ("c", 1.0, 0.9)];
        let rates = best(scores.into_iter(), |method| method != "c");
        assert_eq!([rates.of("a"), rates.of("b"), rates.of("c")], [Some(0.01), Some(1.0), None]);
    }
}
