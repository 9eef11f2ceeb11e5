//! The learning rates that results tell: of those that each method tried the one that scored best on
//! validation text, `results/tuning.jsonl`.

use super::Results;
use super::statistics::mean;
use crate::Error;
use crate::experiments::Experiment;
use crate::experiments::plan::rates::{GRID, Rates, Tuned};
use crate::experiments::plan::setup::Setup;
use crate::experiments::plan::{Plan, Purpose};
use std::collections::BTreeMap;

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

/// An experiment's plan at the rates that are known.
///
/// # Errors
/// A recipe that can't be.
pub(crate) fn plan<'a>(experiment: &Experiment, setup: &'a Setup, results: &Results) -> Result<Plan<'a>, Error> {
    Plan::of(&[experiment], setup, &rates(&[experiment], setup, results)?, false)
}

/// Those of a plan's grids.
fn of_plan(plan: &Plan, results: &Results) -> Rates {
    let mut scores = Vec::new();
    for cell in &plan.cells {
        let Purpose::Tune { method, scored, rate } = &cell.purpose else { continue };
        let names: Vec<&str> = scored.iter().map(|&domain| plan.setup.domain(domain).name.as_str()).collect();
        let score = results.of_cell(plan, cell).map(|line| line.accuracy_on(&names));
        scores.push((method.as_str(), *rate, score));
    }
    best(scores.into_iter())
}

/// Out of methods, rates and scores as far as they were measured: of each method whose whole grid was the best rate. Of several scores at a
/// rate the mean counts, among equals the lowest rate.
fn best<'a>(scores: impl Iterator<Item = (&'a str, f64, Option<f64>)>) -> Rates {
    // By method and rate.
    type Tries = Vec<(f64, Vec<Option<f64>>)>;
    let mut tried: BTreeMap<&str, Tries> = BTreeMap::new();
    for (method, rate, score) in scores {
        let of_method = tried.entry(method).or_default();
        match of_method.iter_mut().find(|(of, _)| *of == rate) {
            Some((_, scores)) => scores.push(score),
            None => of_method.push((rate, vec![score])),
        }
    }
    let best = |(method, of_method): (&str, Tries)| {
        let whole = |(rate, scores): (f64, Vec<Option<f64>>)| {
            scores.into_iter().collect::<Option<Vec<f64>>>().map(|scores| (rate, mean(&scores)))
        };
        let mut measured: Vec<(f64, f64)> = of_method.into_iter().filter_map(whole).collect();
        measured.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.total_cmp(&b.0)));
        let tried: Vec<f64> = measured.iter().map(|(rate, _)| *rate).collect();
        let &(rate, score) = measured.first().filter(|_| GRID.iter().all(|rate| tried.contains(rate)))?;
        Some((method.to_string(), Tuned { rate, score, tried }))
    };
    Rates(tried.into_iter().filter_map(best).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_mean_is_chosen_and_of_equals_the_lowest() {
        let of = |method: &'static str, at: [f64; 5]| {
            GRID.into_iter().zip(at).map(move |(rate, score)| (method, rate, Some(score)))
        };
        let a = of("a", [0.1, 0.3, 0.3, 0.2, 0.5]);
        // Another model at each rate; what is not measured yet beyond the grid is no matter, within it is.
        let b = of("a", [0.1, 0.3, 0.3, 0.2, 0.0]).chain([("a", 1e-1, None)]);
        let lacking = of("c", [0.9; 5]).map(|(method, rate, score)| (method, rate, score.filter(|_| rate != GRID[0])));
        let rates = best(a.chain(b).chain(of("b", [0.0, 0.1, 0.0, 0.0, 0.0])).chain(lacking));
        let rate = |method: &str| rates.of(method).map(|tuned| tuned.rate);
        assert_eq!([rate("a"), rate("b"), rate("c")], [Some(1e-3), Some(1e-3), None]);
    }
}
