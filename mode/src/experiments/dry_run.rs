//! `--dry-run`: what experiments would take and what of it is left, while nothing is trained and nothing written.
//!
//! A run is its steps times what one takes (`train/dry_step.rs`), by the shape of its model. A row is all runs that make it, stage 1 included,
//! but neither the base nor the tuning of its rate; its memory is that of the run that needs the most.

use super::Experiment;
use super::base::{Base, Given};
use super::lab::Lab;
use super::plan::{Plan, Purpose, RunIndex};
use super::results::Results;
use super::settings::Settings;
use super::setup::Setup;
use super::study::{all_rates, whole};
use super::texts::{self, DOMAINS, Texts};
use crate::Error;
use crate::mesh::{Rates, seconds};
use crate::model::{Backbone, Random};
use crate::train::{DryStep, ExpertSettings, Recipe, dry_step};
use mode_tensor::Device;
use serde::Serialize;
use std::collections::HashMap;

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
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of gradients.
    pub gradients: u64,
    /// Bytes of the optimizer's two moments.
    pub moments: u64,
    /// Bytes of all else that a step on one window holds.
    pub activations: u64,
    /// Operations.
    pub flop: f64,
    /// Seconds on one device of the given kind, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Row {
    /// Bytes that one device needs at the least, a window at a time.
    pub fn bytes(&self) -> u64 {
        self.weights + self.gradients + self.moments + self.activations
    }
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
    let texts = match &base {
        Base::Given(given) if given.is_on_paper() => Texts::on_paper(&DOMAINS),
        _ => texts::prepare(None, &settings, &base)?,
    };
    let (batch, length) = (settings.batch, settings.length);
    let setup = Setup::new(settings, base, texts, None);
    let results = Results::open(&lab.root.join("results"), &super::ALL.map(|experiment| experiment.name))?;
    let learning_rates = all_rates(experiments, &setup, &results)?;
    let mut prices = Prices { setup: &setup, known: HashMap::new() };
    let mut rows = Vec::new();
    for experiment in experiments {
        let plan = whole(&[experiment], &setup, &learning_rates)?;
        for cell in plan.cells.iter().filter(|cell| cell.purpose == Purpose::Report && cell.seed == 1) {
            rows.push(prices.row(&plan, experiment.name, &cell.name, &cell.runs, rates)?);
        }
    }
    let all = whole(experiments, &setup, &learning_rates)?;
    let left = lab.left(&all, &results, |_| true).runs;
    let [mut runs, mut flop, mut flop_left] = [0.0; 3];
    for run in (0..all.runs.len()).map(RunIndex).filter(|run| all.runs[run.0].recipe.is_some()) {
        let taken = prices.of(&all, run)?.map_or(0.0, |(step, steps)| flop_of(&step) * steps as f64);
        (runs, flop) = (runs + 1.0, flop + taken);
        flop_left += if left.contains(&run) { taken } else { 0.0 };
    }
    let left_out = all.left_out.clone();
    Ok(Estimate { batch, length, rows, left_out, runs: runs as usize, flop, runs_left: left.len(), flop_left })
}

/// Operations of a step.
fn flop_of(step: &DryStep) -> f64 {
    step.cost.matmul + step.cost.attention
}

/// What steps take, each shape looked at once.
struct Prices<'a> {
    setup: &'a Setup,
    known: HashMap<String, DryStep>,
}

impl Prices<'_> {
    /// What a step of a run takes, and how many there are; None if there is none.
    fn of(&mut self, plan: &Plan, run: RunIndex) -> Result<Option<(DryStep, u64)>, Error> {
        let run = &plan.runs[run.0];
        let Some(recipe) = run.recipe.as_ref().filter(|recipe| recipe.train.steps > 0) else { return Ok(None) };
        let needed = || run.needs.iter().filter_map(|need| plan.runs[need.0].recipe.as_ref());
        let experts: Vec<&ExpertSettings> =
            std::iter::once(recipe).chain(needed()).filter_map(|recipe| recipe.expert.as_ref()).collect();
        let shape = std::iter::once(recipe).chain(needed()).find_map(|recipe| recipe.model.as_ref());
        let Recipe { method, lora, bottleneck, .. } = recipe;
        let trained = recipe.compose.as_ref().map(|compose| (compose.train, compose.gating));
        let beside: Vec<[usize; 2]> = experts.iter().map(|expert| [expert.blocks, expert.layers_per_block]).collect();
        let key = format!("{:?}", (method, shape, lora, bottleneck, trained, beside));
        let step = match self.known.get(&key) {
            Some(step) => *step,
            None => {
                let backbone = |device: &Device| match (shape, &self.setup.base) {
                    (None, Base::Given(given)) => given.backbone(device),
                    (shape, _) => {
                        let shape = shape.ok_or_else(|| Error::Setting(format!("{} has no base", run.id)))?;
                        let config = shape.config(self.setup.settings.vocabulary, None);
                        Backbone::random(config, device, &mut Random::new(0))
                    }
                };
                let step = dry_step(recipe, backbone, &experts)?;
                self.known.insert(key, step);
                step
            }
        };
        Ok(Some((step, recipe.train.steps)))
    }

    fn row(
        &mut self,
        plan: &Plan,
        experiment: &'static str,
        name: &str,
        runs: &[RunIndex],
        rates: Option<&Rates>,
    ) -> Result<Row, Error> {
        let parameters = self.setup.base.given().map_or(0, |Given { config, .. }| config.parameters());
        let (steps, flop, taken) = (0, 0.0, rates.map(|_| 0.0));
        let mut row = Row {
            experiment,
            row: name.into(),
            steps,
            params_total: parameters,
            params_trained: 0,
            weights: 0,
            gradients: 0,
            moments: 0,
            activations: 0,
            flop,
            seconds: taken,
        };
        for &run in runs {
            let Some((step, steps)) = self.of(plan, run)? else { continue };
            let DryStep { params_total, params_trained, weights, gradients, moments, activations, .. } = step;
            let before = row.bytes();
            row = Row {
                steps: row.steps + steps,
                params_total,
                params_trained,
                flop: row.flop + steps as f64 * flop_of(&step),
                seconds: row.seconds.zip(rates).map(|(taken, rates)| taken + steps as f64 * seconds(&step.cost, rates)),
                ..row
            };
            if weights + gradients + moments + activations > before {
                row = Row { weights, gradients, moments, activations, ..row };
            }
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Scale;
    use super::*;
    use std::ops::ControlFlow;

    #[test]
    fn rows_cost_what_first_principles_say() -> Result<(), Error> {
        let sets = ["length=64", "batch=2", "steps=1"].map(String::from);
        let listener = |_: Option<&str>| ControlFlow::Continue(());
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
