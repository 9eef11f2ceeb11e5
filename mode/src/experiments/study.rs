//! Experiments carried out: what they will take, learning rates, a pilot, all models, and then the test text.

use super::base::Base;
use super::finding::Findings;
use super::lab::{self, Lab, Left, design};
use super::plan::{Cell, Plan, Purpose, RunIndex};
use super::rates::Rates;
use super::results::{INSPECTED, Results, TUNING};
use super::settings::Settings;
use super::setup::Setup;
use super::{ALL, Experiment, document, statistics, texts, timed};
use crate::{Error, folders};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Carries experiments out, as far as their results are not there already, and writes `README.md` and `report.html`. Results that are there
/// count if this version of the program made them.
///
/// # Errors
/// Bad input, before anything is trained; a test text that was measured before with other settings; what a run reports.
pub fn carry_out(
    lab: &Lab,
    experiments: &[&Experiment],
    (settings, base): (Settings, Base),
    again: bool,
) -> Result<(), Error> {
    folders::create(&lab.root)?;
    let _lock = folders::lock(&lab.root, &[])?;
    let texts = texts::prepare(Some(&lab.root), &settings, &base)?;
    texts.domains.iter().for_each(|domain| lab.say(&domain.words()));
    let setup = Setup::new(settings, base, texts, Some(lab.root.clone()));
    let names: Vec<&str> = ALL.iter().map(|experiment| experiment.name).collect();
    let results = Results::open(&lab.root.join("results"), &names)?;
    if results.outdated > 0 {
        lab.say(&format!("{} results of other versions count for nothing and are measured anew", results.outdated));
    }
    let results = Mutex::new(results);
    if experiments.iter().any(|experiment| !is_whole(lab, experiment, &setup, &results)) {
        budget(lab, experiments, &setup, &results)?;
    }
    for experiment in experiments {
        one(lab, experiment, &setup, &results, again)?;
    }
    document::write(lab, &setup, &locked(&results))
}

fn locked(results: &Mutex<Results>) -> MutexGuard<'_, Results> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The plan of an experiment, with the learning rates that are known.
pub(super) fn plan<'a>(experiment: &Experiment, setup: &'a Setup, rates: &'a Rates) -> Result<Plan<'a>, Error> {
    let mut plan = Plan::new(setup, rates, false);
    (experiment.cells)(&mut plan)?;
    Ok(plan)
}

/// The plan of all that experiments will ever need, at rates that may be others in the end.
pub(super) fn whole<'a>(experiments: &[&Experiment], setup: &'a Setup, rates: &'a Rates) -> Result<Plan<'a>, Error> {
    let mut all = Plan::new(setup, rates, true);
    for experiment in experiments {
        (experiment.cells)(&mut all)?;
    }
    Ok(all)
}

/// The learning rates of several experiments, as far as they were measured.
pub(super) fn all_rates(experiments: &[&Experiment], setup: &Setup, results: &Results) -> Result<Rates, Error> {
    let mut rates = Rates::default();
    for experiment in experiments {
        rates.extend(known_rates(experiment, setup, results)?);
    }
    Ok(rates)
}

/// The learning rates of an experiment, as far as they were measured.
pub(super) fn known_rates(experiment: &Experiment, setup: &Setup, results: &Results) -> Result<Rates, Error> {
    let mut rates = Rates::default();
    loop {
        let known = lab::rates(&plan(experiment, setup, &rates)?, results);
        // A stage whose rate is known now has later ones whose grids build on it.
        if known == rates {
            return Ok(rates);
        }
        rates = known;
    }
}

/// True if an experiment has all its results.
fn is_whole(lab: &Lab, experiment: &Experiment, setup: &Setup, results: &Mutex<Results>) -> bool {
    let results = locked(results);
    let whole = || -> Result<bool, Error> {
        let rates = known_rates(experiment, setup, &results)?;
        let plan = plan(experiment, setup, &rates)?;
        Ok(lab.left(&plan, &results, |_| true).cells.is_empty())
    };
    whole().unwrap_or(false)
}

/// Says what all will take: of so many runs the first are carried out and timed.
fn budget(lab: &Lab, experiments: &[&Experiment], setup: &Setup, results: &Mutex<Results>) -> Result<(), Error> {
    let rates = all_rates(experiments, setup, &locked(results))?;
    let all = whole(experiments, setup, &rates)?;
    all.left_out.iter().for_each(|what| lab.say(what));
    let left = lab.left(&all, &locked(results), |_| true);
    let ready = |run: &RunIndex| !all.runs[run.0].needs.iter().any(|need| left.runs.contains(need));
    let first: BTreeSet<RunIndex> = left.runs.iter().copied().filter(ready).take(lab.jobs).collect();
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
fn one(lab: &Lab, experiment: &Experiment, setup: &Setup, results: &Mutex<Results>, again: bool) -> Result<(), Error> {
    let tuning = |cell: &Cell| matches!(cell.purpose, Purpose::Tune { .. });
    let rates = loop {
        let rates = known_rates(experiment, setup, &locked(results))?;
        let plan = plan(experiment, setup, &rates)?;
        let left = lab.left(&plan, &locked(results), tuning);
        if left.cells.is_empty() {
            break rates;
        }
        lab.say(&format!("{}: learning rates on validation text, {} runs", experiment.name, left.runs.len()));
        lab.carry_out(&plan, &left, &|_, line| locked(results).add(TUNING, line))?;
    };
    let plan = plan(experiment, setup, &rates)?;
    let test = plan.test_id();
    let design = design(&plan, experiment);
    locked(results).may_test(experiment.name, &design, test, again)?;
    pilot(lab, experiment, &plan, results)?;
    let left = lab.left(&plan, &locked(results), |_| true);
    // All models first, and then the test text, once.
    let Left { cells, runs, flop } = left;
    lab.carry_out(&plan, &Left { cells: Vec::new(), runs, flop }, &|_, _| Ok(()))?;
    locked(results).test(experiment.name, &design, test)?;
    let measuring = Left { cells, runs: BTreeSet::new(), flop: 0.0 };
    let file = |cell: &Cell| if cell.purpose == Purpose::Inspect { INSPECTED } else { experiment.name };
    lab.carry_out(&plan, &measuring, &|cell, line| locked(results).add(file(cell), line))?;
    let cases = timed::left(&plan, &(experiment.timed)(), &locked(results).timed);
    if !cases.is_empty() {
        lab.say(&format!("{}: {} kinds of steps are timed in turns", experiment.name, cases.len()));
    }
    let timed = timed::time(&plan, &cases, &(lab.device)()?)?;
    timed.into_iter().try_for_each(|timed| locked(results).add_timed(timed))
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
    let measured = pilots.cells.first().map_or(&[][..], |cell| &cell.domains);
    let domains: Vec<&str> = measured.iter().map(|&domain| plan.setup.domain(domain).name.as_str()).collect();
    let (_, seeds) = found.difference(a, b, &domains);
    let (deviation, count) = (statistics::deviation(&seeds), seeds.len());
    if count == 0 {
        lab.say(&format!(
            "{}: {a} or {b} is left out, so nothing tells beforehand how much seeds differ",
            experiment.name
        ));
        return Ok(());
    }
    lab.say(&format!(
        "{}: {count} seeds of {a} less {b} deviate by {:.2} points on validation text, so {count} find a difference of {:.2} four times in five",
        experiment.name,
        100.0 * deviation,
        100.0 * statistics::detectable(deviation, count)
    ));
    Ok(())
}
