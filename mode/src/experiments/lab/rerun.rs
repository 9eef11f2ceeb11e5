//! `--rerun CELL`: one cell made again from nothing, its base included, in a folder of its own, and its figures held against those that were
//! measured before, to the bit. It chooses nothing, so that measuring its test text again flatters no one.

use super::Lab;
use super::jobs::lock;
use crate::experiments::Experiment;
use crate::experiments::plan::base::Base;
use crate::experiments::plan::settings::Settings;
use crate::experiments::plan::setup::Setup;
use crate::experiments::plan::texts;
use crate::experiments::plan::{Cell, Plan, Purpose};
use crate::experiments::results::tuned;
use crate::experiments::results::{Line, Results};
use crate::{Error, files, folders};
use std::path::PathBuf;
use std::sync::Mutex;

/// What came of it.
#[derive(Debug)]
pub struct Rerun {
    /// Runs that were carried out.
    pub runs: usize,
    /// Where their models are.
    pub folder: PathBuf,
    /// Share of next tokens right by domain, the same both times.
    pub accuracy: Vec<(String, f64)>,
}

/// Makes the cell of an experiment again, of the first seed or another.
///
/// # Errors
/// There is no such cell or it was not measured here, the folder `rerun/CELL-SEED` exists, figures that differ, or what a run reports.
pub fn rerun(
    lab: &Lab,
    experiment: &Experiment,
    (settings, base): (Settings, Base),
    (name, seed): (&str, u64),
) -> Result<Rerun, Error> {
    let folder = lab.root.join("rerun").join(format!("{name}-{seed}"));
    if files::is_there(&folder) {
        return Err(Error::content(&folder, "holds a cell that was made again before; move or remove it"));
    }
    let results = Results::open(&lab.root.join("results"))?;
    let texts = texts::prepare(None, &settings, &base)?;
    let setup = Setup::new(settings.clone(), base.clone(), texts, None);
    let rates = tuned::rates(&[experiment], &setup, &results)?;
    let plan = Plan::of(&[experiment], &setup, &rates, false)?;
    let number = number(&plan, experiment, name, seed)?;
    let before = results.of_cell(&plan, &plan.cells[number]).ok_or_else(|| {
        let command = format!("mode experiment {} --out {}", experiment.name, lab.root.display());
        Error::Setting(format!(
            "--rerun {name}: seed {seed} was not measured there with these settings; {command} does"
        ))
    })?;

    // The texts' files are written where the runs look for them.
    let _made = folders::create_new(&folder)?;
    let _lock = folders::lock(&folder, &[])?;
    let texts = texts::prepare(Some(&folder), &settings, &base)?;
    let setup = Setup::new(settings, base, texts, Some(folder.clone()));
    let plan = Plan::of(&[experiment], &setup, &rates, false)?;
    let lab = Lab { root: folder.clone(), ..*lab };
    let left = lab.needed(&plan, vec![number]);
    lab.say(&format!("{} runs of {:.1} TFLOP", left.runs.len(), left.flop(&plan) / 1e12));
    let found = Mutex::new(None);
    lab.carry_out(&plan, &left, &|_, line| {
        *lock(&found) = Some(line);
        Ok(())
    })?;
    let after = lock(&found).take().ok_or_else(|| Error::Setting(format!("--rerun {name}: it was not measured")))?;
    compare(before, &after)?;
    let accuracy = after.scores.into_iter().map(|(domain, score)| (domain, score.accuracy)).collect();
    Ok(Rerun { runs: left.runs.len(), folder, accuracy })
}

/// A cell's number in its plan.
fn number(plan: &Plan, experiment: &Experiment, name: &str, seed: u64) -> Result<usize, Error> {
    let reported = |cell: &&Cell| cell.purpose == Purpose::Report;
    let is_it = |cell: &Cell| cell.purpose == Purpose::Report && cell.name == name && cell.seed == seed;
    plan.cells.iter().position(is_it).ok_or_else(|| {
        if plan.cells.iter().filter(reported).any(|cell| cell.name == name) {
            return Error::Setting(format!(
                "--rerun {name}: there is no seed {seed}; there are 1 to {}",
                plan.settings().seeds
            ));
        }
        let mut names: Vec<&str> = plan.cells.iter().filter(reported).map(|cell| cell.name.as_str()).collect();
        names.dedup();
        Error::Setting(match names.is_empty() {
            true => format!("--rerun {name}: {} was not carried out there yet", experiment.name),
            false => {
                format!("--rerun {name}: cells of {} that are known there are {}", experiment.name, names.join(", "))
            }
        })
    })
}

/// An error where figures differ; both are read from text, for that is what is kept.
fn compare(before: &Line, after: &Line) -> Result<(), Error> {
    let read = serde_json::to_string(after).and_then(|text| serde_json::from_str::<Line>(&text));
    let after = read.map_err(|error| Error::CheckFailed(format!("figures that can't be written: {error}")))?;
    let differs = |domain: &&String| before.scores.get(*domain) != after.scores.get(*domain);
    let domains: Vec<&str> = before.scores.keys().filter(differs).map(String::as_str).collect();
    if domains.is_empty() && before.scores.len() == after.scores.len() {
        return Ok(());
    }
    let of = |line: &Line| {
        let scores = line.scores.iter().map(|(domain, score)| format!("{domain} {} {}", score.accuracy, score.nll));
        scores.collect::<Vec<_>>().join(", ")
    };
    Err(Error::CheckFailed(format!(
        "{}, seed {}: other figures than before: {} on {}, and now {} on {}; other processors may round otherwise, one and the same does not",
        after.cell,
        after.seed,
        of(before),
        before.machine,
        of(&after),
        after.machine
    )))
}
