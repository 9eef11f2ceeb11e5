//! Seconds of training steps, case by case in turns, so that a machine that slows down slows all of them: `results/timed.jsonl`. Weights are
//! made up, for times do not hang on them.

use super::VERSION;
use super::methods::{bottleneck_size, lora_settings};
use super::plan::Plan;
use crate::model::{ExpertInfo, Model, Random, Trained, add_bottlenecks, add_lora};
use crate::train::{TrainSettings, beside, one_step};
use crate::{Error, memory};
use mode_autograd::AdamW;
use mode_kernels::fill_hash::hash;
use mode_tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Steps of each case that are timed, after one that is not.
const ROUNDS: usize = 11;

/// All weights of experts.
const WEIGHT: f32 = 0.02;

/// Steps of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// Which program made it.
    pub version: String,
    /// The case.
    pub case: Case,
    /// Width, layers, vocabulary, blocks, windows, and predicted tokens of each.
    pub sizes: [usize; 6],
    /// Parameters.
    pub params_total: u64,
    /// Seconds of each step.
    pub seconds: Vec<f64>,
    /// Seconds of the gate merges, and of all launches, in one more step in which each was timed.
    pub merges: [f64; 2],
    /// Bytes that those merges move at the least, and operations of all other launches.
    pub cost: [f64; 2],
    /// Device and machine.
    pub machine: String,
}

/// What a step trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// All weights of the base.
    Full,
    /// A LoRA of the settings' rank.
    Lora,
    /// Bottlenecks of as many parameters.
    Bottleneck,
    /// So many experts, of one layer beside each block of the settings, and gates.
    Experts(usize),
    /// Gates alone, beside so many experts.
    Gates(usize),
}

/// No cases.
pub(super) const NOTHING: fn() -> Vec<Case> = Vec::new;

/// What the sizes of a plan are known by.
fn sizes(plan: &Plan) -> [usize; 6] {
    let s = plan.settings();
    [s.width, s.layers, s.vocabulary, s.blocks, s.batch, s.length]
}

/// The cases that were not timed yet at these sizes.
pub(super) fn left(plan: &Plan, cases: &[Case], there: &[Timed]) -> Vec<Case> {
    let known = |case: &Case| find(plan, *case, there).is_some();
    cases.iter().copied().filter(|case| !known(case)).collect()
}

/// A case at the plan's sizes.
pub(super) fn find<'t>(plan: &Plan, case: Case, there: &'t [Timed]) -> Option<&'t Timed> {
    there.iter().find(|timed| timed.case == case && timed.sizes == sizes(plan))
}

/// Times them, in turns.
///
/// # Errors
/// What the device reports.
pub(super) fn time(plan: &Plan, cases: &[Case], device: &Device) -> Result<Vec<Timed>, Error> {
    let models = cases.iter().map(|&case| model(plan, case, device)).collect::<Result<Vec<_>, _>>()?;
    let s = plan.settings();
    let settings = TrainSettings::new(1, s.batch, s.length, 1e-4);
    let mut optimizers =
        models.iter().map(|model| AdamW::new(model.params(), settings.adamw())).collect::<Result<Vec<_>, _>>()?;
    let token = |row: usize, column: usize, vocabulary: usize| {
        hash(1, (row * (s.length + 1) + column) as u32) % vocabulary as u32
    };
    let mut step = |i: usize| -> Result<f64, Error> {
        let vocabulary = models[i].backbone.config.vocabulary;
        let window = |row| (0..=s.length).map(|column| token(row, column, vocabulary)).collect();
        let windows: Vec<Vec<u32>> = (0..s.batch).map(window).collect();
        let started = Instant::now();
        one_step(&models[i], &mut optimizers[i], &windows, 1, 1e-4)?;
        device.synchronize()?;
        Ok(started.elapsed().as_secs_f64())
    };
    let mut seconds = vec![Vec::new(); cases.len()];
    for round in 0..=ROUNDS {
        for (i, seconds) in seconds.iter_mut().enumerate() {
            let taken = step(i)?;
            // The first makes what others find.
            if round > 0 {
                seconds.push(taken);
            }
        }
    }
    let mut timed = Vec::new();
    for (i, seconds) in seconds.into_iter().enumerate() {
        device.start_profile()?;
        let stepped = step(i);
        let launches = device.stop_profile()?;
        stepped?;
        let is_merge = |kernel: &str| kernel.starts_with("gate_merge");
        let [mut merges, mut cost] = [[0.0; 2]; 2];
        for launch in &launches {
            merges[1] += launch.seconds;
            if is_merge(launch.kernel) {
                merges[0] += launch.seconds;
                cost[0] += launch.cost.bytes;
            } else {
                cost[1] += launch.cost.flop;
            }
        }
        timed.push(Timed {
            version: VERSION.into(),
            case: cases[i],
            sizes: sizes(plan),
            params_total: models[i].params().map(|param| param.value().len() as u64).sum(),
            seconds,
            merges,
            cost,
            machine: format!("{}, {}", device.name(), memory::machine()),
        });
    }
    Ok(timed)
}

fn model(plan: &Plan, case: Case, device: &Device) -> Result<Model, Error> {
    let mut random = Random::new(1);
    let mut backbone = plan.backbone(device, &mut random)?;
    let (model, trained) = match case {
        Case::Full => (Model::plain(backbone), Trained::Backbone),
        Case::Lora => {
            let lora = lora_settings(plan);
            add_lora(&mut backbone, lora.rank, lora.alpha, lora.adapted, &mut random)?;
            (Model::plain(backbone), Trained::Adapter)
        }
        Case::Bottleneck => {
            add_bottlenecks(&mut backbone, bottleneck_size(plan), &mut random)?;
            (Model::plain(backbone), Trained::Adapter)
        }
        Case::Experts(count) | Case::Gates(count) => {
            let blocks = plan.settings().blocks;
            let info = |i| ExpertInfo::new(&format!("expert-{i}"), "timed", "", blocks, 1);
            let infos = (0..count).map(info).collect::<Result<Vec<_>, _>>()?;
            let trained = if matches!(case, Case::Gates(_)) { Trained::Gates } else { Trained::Experts };
            (beside(backbone, infos, &|shape| Ok(Tensor::full(device, shape, WEIGHT)?))?, trained)
        }
    };
    model.set_trained(trained);
    Ok(model)
}
