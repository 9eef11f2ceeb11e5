//! Experiments carried out: what they will take, learning rates, a pilot, all models, and then the test text.

use super::jobs::lock;
use super::timed;
use super::{Lab, Left, design};
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::document;
use crate::experiments::paper::fourth;
use crate::experiments::plan::base::Base;
use crate::experiments::plan::settings::Settings;
use crate::experiments::plan::setup::Setup;
use crate::experiments::plan::texts;
use crate::experiments::plan::{Cell, Plan, Purpose, RunIndex};
use crate::experiments::results::finding::Findings;
use crate::experiments::results::statistics;
use crate::experiments::results::tuned;
use crate::experiments::results::{INSPECTED, Results, TUNING};
use crate::{Error, folders};
use std::collections::BTreeSet;
use std::sync::Mutex;
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
    document::refuse_other(&lab.root)?;
    refuse_unasked(experiments, &settings)?;
    folders::create(&lab.root)?;
    let _lock = folders::lock(&lab.root, &[])?;
    let texts = texts::prepare(Some(&lab.root), &settings, &base)?;
    texts.domains.iter().for_each(|domain| lab.say(&domain.words()));
    let setup = Setup::new(settings, base, texts, Some(lab.root.clone()));
    let results = Results::open(&lab.root.join("results"))?;
    if results.outdated > 0 {
        lab.say(&format!("{} results of other versions count for nothing and are measured anew", results.outdated));
    }
    let results = Mutex::new(results);
    let is_left = |experiment: &&&Experiment| !is_whole(lab, experiment, &setup, &results);
    let unfinished: Vec<&&Experiment> = experiments.iter().filter(is_left).collect();
    for experiment in &unfinished {
        refuse_second_look(lab, experiment, &setup, &lock(&results), again)?;
    }
    if !unfinished.is_empty() {
        budget(lab, experiments, &setup, &results)?;
    }
    for (done, experiment) in experiments.iter().enumerate() {
        if let Err(error) = one(lab, experiment, &setup, &results, again) {
            // Those before it are whole and have their place on the page.
            if done > 0 {
                document::write(lab, &setup, &lock(&results))?;
            }
            return Err(error);
        }
    }
    document::write(lab, &setup, &lock(&results))
}

/// An error for a domain that no experiment asks for, such as one of the three with a letter wrong.
pub(crate) fn refuse_unasked(experiments: &[&Experiment], settings: &Settings) -> Result<(), Error> {
    let asks = experiments.iter().any(|experiment| experiment.name == fourth::EXPERIMENT.name);
    match settings.own_domain().filter(|_| !asks) {
        Some(name) => Err(Error::Setting(format!(
            "--set data.{name}: the domains are {}; one of your own is for {} alone",
            DOMAINS.join(", "),
            fourth::EXPERIMENT.name
        ))),
        None => Ok(()),
    }
}

/// True if an experiment has all its results.
fn is_whole(lab: &Lab, experiment: &Experiment, setup: &Setup, results: &Mutex<Results>) -> bool {
    let results = lock(results);
    let whole = || -> Result<bool, Error> {
        let plan = tuned::plan(experiment, setup, &results)?;
        Ok(lab.left(&plan, &results, |_| true).cells.is_empty())
    };
    whole().unwrap_or(false)
}

/// An error for an experiment whose test text was measured before as another one, unless it may be `again`.
fn refuse_second_look(
    lab: &Lab,
    experiment: &Experiment,
    setup: &Setup,
    results: &Results,
    again: bool,
) -> Result<(), Error> {
    let rates = tuned::rates(&[experiment], setup, results)?;
    let plan = Plan::of(&[experiment], setup, &rates, false)?;
    // A design that is whole has all its rates, so one with rates to tune is another.
    let is_tuned = lab.left(&plan, results, is_tuning).cells.is_empty();
    let design = if is_tuned { design(&plan, experiment) } else { String::new() };
    // Before a rate is known its cells are, and so what they will be measured on.
    let all = Plan::of(&[experiment], setup, &rates, true)?;
    results.may_test(experiment.name, &design, &all.test_text(), again)
}

/// Whether a cell is there to choose a rate.
fn is_tuning(cell: &Cell) -> bool {
    matches!(cell.purpose, Purpose::Tune { .. })
}

/// Says what all will take: of so many runs the first are carried out and timed.
fn budget(lab: &Lab, experiments: &[&Experiment], setup: &Setup, results: &Mutex<Results>) -> Result<(), Error> {
    let rates = tuned::rates(experiments, setup, &lock(results))?;
    let all = Plan::of(experiments, setup, &rates, true)?;
    all.left_out.iter().for_each(|what| lab.say(what));
    let left = lab.left(&all, &lock(results), |_| true);
    let ready = |run: &RunIndex| !all.runs[run.0].needs.iter().any(|need| left.runs.contains(need));
    let first: BTreeSet<RunIndex> = left.runs.iter().copied().filter(ready).take(lab.jobs).collect();
    let (runs, flop, measuring) = (left.runs.len(), left.flop(&all), left.flop_of_cells(&all));
    let [training, measured] = [flop, measuring].map(|flop| flop / 1e12);
    lab.say(&format!(
        "{runs} runs of {training:.1} TFLOP, and about {measured:.1} to measure them, more where the grid's end is the best rate; timing the first {}",
        first.len()
    ));
    let first = Left { runs: first, cells: Vec::new() };
    if first.runs.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    lab.carry_out(&all, &first, &|_, _| Ok(()))?;
    let rate = first.flop(&all) / started.elapsed().as_secs_f64();
    let minutes = (flop + measuring - first.flop(&all)) / rate / 60.0;
    lab.say(&format!(
        "about {:.0} min to go at {:.1} GFLOP/s; killed, it goes on where it was",
        minutes.ceil(),
        rate / 1e9
    ));
    Ok(())
}

/// Tunes, trains and measures one experiment.
fn one(lab: &Lab, experiment: &Experiment, setup: &Setup, results: &Mutex<Results>, again: bool) -> Result<(), Error> {
    let plan = loop {
        let plan = tuned::plan(experiment, setup, &lock(results))?;
        let left = lab.left(&plan, &lock(results), is_tuning);
        if left.cells.is_empty() {
            break plan;
        }
        lab.say(&format!("{}: learning rates on validation text, {} runs", experiment.name, left.runs.len()));
        lab.carry_out(&plan, &left, &|_, line| lock(results).add(TUNING, line))?;
    };
    let test = plan.test_text();
    let design = design(&plan, experiment);
    lock(results).may_test(experiment.name, &design, &test, again)?;
    pilot(lab, experiment, &plan, results)?;
    let left = lab.left(&plan, &lock(results), |_| true);
    // All models first, and then the test text, once.
    let Left { cells, runs } = left;
    lab.carry_out(&plan, &Left { cells: Vec::new(), runs }, &|_, _| Ok(()))?;
    lock(results).test(experiment.name, &design, test)?;
    let measuring = Left { cells, runs: BTreeSet::new() };
    let file = |cell: &Cell| if cell.purpose == Purpose::Inspect { INSPECTED } else { experiment.name };
    lab.carry_out(&plan, &measuring, &|cell, line| lock(results).add(file(cell), line))?;
    let device = (lab.device)()?;
    let cases = timed::left(lab, &plan, experiment, &device, &lock(results).timed)?;
    if cases.is_empty() {
        return Ok(());
    }
    lab.say(&format!("{}: {} kinds of steps are timed in turns", experiment.name, cases.len()));
    let timed = timed::time(lab, &plan, experiment, cases, &device)?;
    timed.into_iter().try_for_each(|timed| lock(results).add_timed(timed))
}

/// Says beforehand how small a difference this many seeds can show: from two of its methods, on validation text.
fn pilot(lab: &Lab, experiment: &Experiment, plan: &Plan, results: &Mutex<Results>) -> Result<(), Error> {
    if plan.cells.is_empty() {
        return Ok(());
    }
    let cells: Vec<Cell> = (plan.cells.iter())
        .filter(|cell| cell.purpose == Purpose::Report && experiment.pilot.contains(&cell.name.as_str()))
        .map(|cell| Cell { purpose: Purpose::Pilot, ..cell.clone() })
        .collect();
    let pilots = plan.with_cells(cells);
    let left = lab.left(&pilots, &lock(results), |_| true);
    lab.carry_out(&pilots, &left, &|_, line| lock(results).add(TUNING, line))?;
    let results = lock(results);
    let found = Findings::of_plan(&pilots, &results);
    let [a, b] = experiment.pilot;
    let measured = pilots.cells.first().map_or(&[][..], |cell| &cell.domains);
    let domains: Vec<&str> = measured.iter().map(|&domain| plan.setup.domain(domain).name.as_str()).collect();
    let seeds = found.difference(a, b, &domains).seeds;
    let (deviation, count) = (statistics::deviation(&seeds), seeds.len());
    if count == 0 {
        lab.say(&format!(
            "{}: {a} or {b} is left out, so nothing tells beforehand how much seeds differ",
            experiment.name
        ));
        return Ok(());
    }
    lab.say(&format!(
        "{}: {count} seeds of {a} less {b} deviate by {:.2} points on validation text, so {count} find a difference of {:.2} four times in five, \
         were there no chance in the test text",
        experiment.name,
        100.0 * deviation,
        100.0 * statistics::detectable(statistics::half_over_seeds(deviation, count), count)
    ));
    Ok(())
}
