//! `--dry-run`: what experiments would take and what of it is left, while nothing is trained and nothing written.
//!
//! A row is all runs that make it (`prices.rs`), stage 1 included, but neither the base nor the tuning of its rate; its memory is that of the run that needs the most.

use super::Lab;
use super::study::refuse_unasked;
use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::plan::base::Base;
use crate::experiments::plan::settings::Settings;
use crate::experiments::plan::setup::Setup;
use crate::experiments::plan::texts::{self, Texts};
use crate::experiments::plan::{Cell, Plan, Purpose, Run};
use crate::experiments::results::{Results, tuned};
use crate::mesh::{Rates, seconds};
use crate::train::StepMemory;
use serde::Serialize;

/// A row of an experiment, of its first seed.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Of which experiment.
    pub experiment: &'static str,
    /// Its name.
    pub row: String,
    /// Steps of all its runs.
    pub steps: u64,
    /// Parameters of the model.
    pub params_total: u64,
    /// Parameters that are trained last.
    pub params_trained: u64,
    /// Bytes that one device needs at the least, a window at a time.
    #[serde(flatten)]
    pub memory: StepMemory,
    /// Operations.
    pub flop: f64,
    /// Seconds on one device of the given kind, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// What experiments would take.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// Windows a step.
    pub batch: usize,
    /// Predicted tokens a window.
    pub length: usize,
    /// Their rows.
    pub rows: Vec<Row>,
    /// What can't be had of this base or these texts.
    pub left_out: Vec<String>,
    /// Runs of all seeds, and those that rates are tuned by.
    pub runs: usize,
    /// Their operations.
    pub flop: f64,
    /// Those that are not there yet.
    pub runs_left: usize,
    /// Their operations.
    pub flop_left: f64,
}

/// Estimates experiments, of which some may be in the lab's folder already, and their time at a device's rates.
///
/// # Errors
/// Bad input.
pub fn estimate(
    lab: &Lab,
    experiments: &[&'static Experiment],
    (settings, base): (Settings, Base),
    rates: Option<&Rates>,
) -> Result<Estimate, Error> {
    refuse_unasked(experiments, &settings)?;
    let texts = match &base {
        Base::Given(given) if given.is_on_paper() => Texts::on_paper(&DOMAINS),
        _ => texts::prepare(None, &settings, &base)?,
    };
    let (batch, length) = (settings.batch, settings.length);
    let setup = Setup::new(settings, base, texts, None);
    let results = Results::open(&lab.root.join("results"))?;
    let learning_rates = tuned::rates(experiments, &setup, &results)?;
    let mut rows = Vec::new();
    for experiment in experiments {
        let plan = Plan::of(&[experiment], &setup, &learning_rates, true)?;
        for cell in plan.cells.iter().filter(|cell| cell.purpose == Purpose::Report && cell.seed == 1) {
            rows.push(row(&plan, experiment.name, cell, rates));
        }
    }
    let all = Plan::of(experiments, &setup, &learning_rates, true)?;
    let left = lab.left(&all, &results, |_| true);
    let carried_out: Vec<&Run> = all.runs.iter().filter(|run| run.recipe.is_some()).collect();
    Ok(Estimate {
        batch,
        length,
        rows,
        runs: carried_out.len(),
        flop: carried_out.iter().map(|run| run.flop()).sum(),
        runs_left: left.runs.len(),
        flop_left: left.flop(&all),
        left_out: all.left_out,
    })
}

/// A cell's row.
fn row(plan: &Plan, experiment: &'static str, cell: &Cell, rates: Option<&Rates>) -> Row {
    let mut row = Row {
        experiment,
        row: cell.name.clone(),
        steps: 0,
        params_total: plan.setup.base.given().map_or(0, |given| given.config.parameters()),
        params_trained: 0,
        memory: StepMemory::default(),
        flop: 0.0,
        seconds: rates.map(|_| 0.0),
    };
    for run in cell.runs.iter().map(|run| &plan.runs[run.0]) {
        let Some(step) = run.step else { continue };
        let taken = |rates| run.steps() as f64 * seconds(&step.cost, rates);
        row = Row {
            steps: row.steps + run.steps(),
            params_total: step.params_total,
            params_trained: step.params_trained,
            memory: std::cmp::max_by_key(row.memory, step.memory, StepMemory::bytes),
            flop: row.flop + run.flop(),
            seconds: row.seconds.zip(rates).map(|(seconds, rates)| seconds + taken(rates)),
            ..row
        };
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::plan::settings::Scale;
    use mode_tensor::Device;
    use std::ops::ControlFlow;

    #[test]
    fn rows_cost_what_first_principles_say() -> Result<(), Error> {
        let sets = ["length=64", "batch=2", "steps=1"].map(String::from);
        let listener = |_: crate::experiments::Said| ControlFlow::Continue(());
        let device = || Ok(Device::dry());
        let lab = Lab { root: "nowhere".into(), device: &device, jobs: 1, threads: 1, listener: &listener };
        let found = estimate(&lab, &[Experiment::of("table1")?], Settings::new(Scale::Paper, &sets)?, None)?;
        let is = |row: &str, a_token: f64| {
            let flop = found.rows.iter().find(|found| found.row == row).map_or(f64::NAN, |row| row.flop);
            assert!((flop / (128.0 * a_token) - 1.0).abs() < 1e-9, "{row}: {flop}, not {}", 128.0 * a_token);
        };
        let [d, f, v, s, r] = [1_536.0, 12_288.0, 256_256.0, 64.0, 8.0];
        // A layer's weights, and what it takes forward, in dx and in dW; layers of the backbone and of an expert.
        let weights = 4.0 * d * d + 3.0 * d * f;
        let [forward, dx, dw] = [2.0 * weights + 4.0 * s * d, 2.0 * weights + 10.0 * s * d, 2.0 * weights];
        let [all, own, head] = [18.0, 6.0, 2.0 * d * v];
        // Where neither norms nor the table are trained, the first layer sends nothing into what it reads.
        is("full", all * (forward + dx + dw) + 3.0 * head);
        is("lora", all * (forward + dx + 48.0 * d * r) + 2.0 * head - 6.0 * d * d - 6.0 * d * r);
        // Of three blocks the backbone's first is not walked back, nor are experts there if they are not trained.
        let stage_1 = (all + own) * forward + (all - all / 3.0 + own) * dx + own * dw + 2.0 * head;
        is("mode-1x-uninit", stage_1);
        let gates = (all + 2.0 * own) * forward + (all - all / 3.0 + 2.0 * (own - own / 3.0)) * dx + 2.0 * head;
        is("mode-2x-frozen", 2.0 * stage_1 + gates);
        Ok(())
    }
}
