//! The paper's experiments, at a scale that this machine can bear.
//!
//! An experiment (`table1.rs`, ..) says which cells it has: a method, a seed, and the recipes that make its model. A [`Plan`] knows every
//! run by the hash of its recipe, so that what two cells share is trained once and what is there is not trained again. Learning rates
//! are tuned by the same grid for every method, on validation text and with a seed of their own. Test text is measured once, when all
//! models are there. What was found are JSON lines (`results.rs`); differences come with intervals over seeds and text
//! (`statistics.rs`), and each of the paper's findings gets a verdict, which may be "no" (`finding.rs`).

mod claims;
mod document;
mod fig3;
mod fig5;
mod finding;
mod lab;
mod methods;
mod page;
mod plan;
mod plot;
mod rates;
mod recipes;
mod results;
mod settings;
pub mod statistics;
mod table1;
mod table2;
mod table3;
mod texts;

pub use finding::{Finding, Verdict};
pub use lab::Lab;
pub use plan::Plan;
pub use settings::Settings;

use crate::{Error, folders};
use lab::{Left, design, find};
use plan::{Cell, Purpose, RunIndex};
use rates::Rates;
use recipes::Recipes;
use results::{Line, Results, TUNING};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What results are made by: the program's version, and a number that is raised whenever a change makes other figures of the same recipe.
/// Lines of others count for nothing.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// One of the paper's tables or figures, or a question of its own.
pub struct Experiment {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in a line.
    pub title: &'static str,
    /// Two cells whose difference tells beforehand how much seeds differ.
    pilot: [&'static str; 2],
    /// Adds its cells to a plan.
    cells: fn(&mut Plan) -> Result<(), Error>,
    /// What was found.
    report: fn(&Findings) -> page::Section,
}

/// All of them, in the order in which they are carried out.
pub const ALL: [Experiment; 6] = [
    table1::EXPERIMENT,
    table2::EXPERIMENT,
    table3::EXPERIMENT,
    fig3::EXPERIMENT,
    fig5::EXPERIMENT,
    claims::EXPERIMENT,
];

impl Experiment {
    /// By its name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn of(name: &str) -> Result<&'static Self, Error> {
        ALL.iter().find(|experiment| experiment.name == name).ok_or_else(|| {
            let known: Vec<&str> = ALL.iter().map(|experiment| experiment.name).collect();
            Error::Setting(format!("there is no experiment {name}; there are {}, and all", known.join(", ")))
        })
    }
}

/// Cells with their figures.
pub struct Findings<'a> {
    settings: &'a Settings,
    lines: Vec<(&'a Cell, &'a Line)>,
}

/// Carries experiments out, as far as their results are not there already, and writes `README.md` and `report.html`. Results that are there
/// count if this version of the program made them.
///
/// # Errors
/// Bad input, before anything is trained; a test text that was measured before with other settings; what a run reports.
pub fn carry_out(lab: &Lab, experiments: &[&Experiment], settings: Settings, again: bool) -> Result<(), Error> {
    folders::create(&lab.root)?;
    let _lock = folders::lock(&lab.root, &[])?;
    let texts = texts::prepare(&lab.root, &settings)?;
    texts.domains.iter().for_each(|domain| lab.say(&domain.words()));
    let recipes = Recipes { settings, texts };
    let names: Vec<&str> = ALL.iter().map(|experiment| experiment.name).collect();
    let results = Results::open(&lab.root.join("results"), &names)?;
    if results.outdated > 0 {
        lab.say(&format!("{} results of other versions count for nothing and are measured anew", results.outdated));
    }
    let results = Mutex::new(results);
    if experiments.iter().any(|experiment| !is_whole(lab, experiment, &recipes, &results)) {
        budget(lab, experiments, &recipes, &results)?;
    }
    for experiment in experiments {
        one(lab, experiment, &recipes, &results, again)?;
    }
    document::write(lab, &recipes, &locked(&results))
}

fn locked(results: &Mutex<Results>) -> MutexGuard<'_, Results> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The plan of an experiment, with the learning rates that are known.
fn plan<'a>(experiment: &Experiment, recipes: &'a Recipes, rates: &'a Rates) -> Result<Plan<'a>, Error> {
    let mut plan = Plan::new(recipes, rates, false);
    (experiment.cells)(&mut plan)?;
    Ok(plan)
}

/// The learning rates of an experiment, as far as they were measured.
fn known_rates(experiment: &Experiment, recipes: &Recipes, results: &Results) -> Result<Rates, Error> {
    let mut rates = Rates::default();
    loop {
        let plan = plan(experiment, recipes, &rates)?;
        let more = lab::rates(&plan, results);
        if more.is_empty() {
            return Ok(rates);
        }
        rates.extend(more);
    }
}

/// True if an experiment has all its results.
fn is_whole(lab: &Lab, experiment: &Experiment, recipes: &Recipes, results: &Mutex<Results>) -> bool {
    let results = locked(results);
    let whole = || -> Result<bool, Error> {
        let rates = known_rates(experiment, recipes, &results)?;
        let plan = plan(experiment, recipes, &rates)?;
        Ok(lab.left(&plan, &results, |_| true).cells.is_empty())
    };
    whole().unwrap_or(false)
}

/// Says what all will take: of so many runs the first are carried out and timed.
fn budget(lab: &Lab, experiments: &[&Experiment], recipes: &Recipes, results: &Mutex<Results>) -> Result<(), Error> {
    let mut rates = Rates::default();
    for experiment in experiments {
        rates.extend(known_rates(experiment, recipes, &locked(results))?);
    }
    let mut all = Plan::new(recipes, &rates, true);
    for experiment in experiments {
        (experiment.cells)(&mut all)?;
    }
    let left = lab.left(&all, &locked(results), |_| true);
    let first: BTreeSet<RunIndex> =
        left.runs.iter().copied().filter(|run| all.runs[run.0].needs.is_empty()).take(lab.jobs).collect();
    let (runs, flop) = (left.runs.len(), left.flop);
    lab.say(&format!("{runs} runs of {:.1} TFLOP; timing the first {}", flop / 1e12, first.len()));
    let first = Left { flop: first.iter().map(|run| all.runs[run.0].flop).sum(), runs: first, cells: Vec::new() };
    if first.runs.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    lab.carry_out(&all, &first, &|_, _| Ok(()))?;
    let rate = first.flop / started.elapsed().as_secs_f64();
    let minutes = (flop - first.flop) / rate / 60.0;
    lab.say(&format!(
        "about {:.0} min to go at {:.1} GFLOP/s; killed, it goes on where it was",
        minutes.ceil(),
        rate / 1e9
    ));
    Ok(())
}

/// Tunes, trains and measures one experiment.
fn one(
    lab: &Lab,
    experiment: &Experiment,
    recipes: &Recipes,
    results: &Mutex<Results>,
    again: bool,
) -> Result<(), Error> {
    let tuning = |cell: &Cell| matches!(cell.purpose, Purpose::Tune { .. });
    let rates = loop {
        let rates = known_rates(experiment, recipes, &locked(results))?;
        let plan = plan(experiment, recipes, &rates)?;
        let left = lab.left(&plan, &locked(results), tuning);
        if left.cells.is_empty() {
            break rates;
        }
        lab.say(&format!("{}: learning rates on validation text, {} runs", experiment.name, left.runs.len()));
        lab.carry_out(&plan, &left, &|_, line| locked(results).add(TUNING, line))?;
    };
    let plan = plan(experiment, recipes, &rates)?;
    let test = recipes.texts.test_id();
    locked(results).test(experiment.name, &design(&plan, experiment), &test, again)?;
    pilot(lab, experiment, &plan, results)?;
    let left = lab.left(&plan, &locked(results), |_| true);
    // All models first, and then the test text, once.
    let Left { cells, runs, flop } = left;
    lab.carry_out(&plan, &Left { cells: Vec::new(), runs, flop }, &|_, _| Ok(()))?;
    let measuring = Left { cells, runs: BTreeSet::new(), flop: 0.0 };
    lab.carry_out(&plan, &measuring, &|_, line| locked(results).add(experiment.name, line))
}

/// Says beforehand how small a difference this many seeds can show: from two of its methods, on validation text.
fn pilot(lab: &Lab, experiment: &Experiment, plan: &Plan, results: &Mutex<Results>) -> Result<(), Error> {
    let cells: Vec<Cell> = (plan.cells.iter())
        .filter(|cell| cell.purpose == Purpose::Report && experiment.pilot.contains(&cell.name.as_str()))
        .map(|cell| Cell { purpose: Purpose::Pilot, ..cell.clone() })
        .collect();
    let pilots = plan.with_cells(cells);
    let left = lab.left(&pilots, &locked(results), |_| true);
    lab.carry_out(&pilots, &left, &|_, line| locked(results).add(TUNING, line))?;
    let results = locked(results);
    let found = Findings::of_plan(&pilots, &results);
    let [a, b] = experiment.pilot;
    let (_, seeds) = found.difference(a, b, &texts::DOMAINS);
    let (deviation, count) = (statistics::deviation(&seeds), seeds.len());
    debug_assert!(count > 1, "{a} and {b} are cells of {}", experiment.name);
    lab.say(&format!(
        "{}: {count} seeds of {a} less {b} deviate by {:.2} points on validation text, so {count} find a difference of {:.2} four times in five",
        experiment.name,
        100.0 * deviation,
        100.0 * statistics::detectable(deviation, count)
    ));
    Ok(())
}

impl<'a> Findings<'a> {
    /// Of all cells of a plan that were measured.
    fn of_plan(plan: &'a Plan, results: &'a Results) -> Self {
        let found = |cell: &'a Cell| Some((cell, find(results, plan, &plan.recipes.texts, cell)?));
        Self { settings: &plan.recipes.settings, lines: plan.cells.iter().filter_map(found).collect() }
    }
}
