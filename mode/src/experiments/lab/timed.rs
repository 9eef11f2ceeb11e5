//! Seconds of training steps, case by case in turns, so that a machine that slows down slows all of them: `results/timed.jsonl`. Weights are
//! made up, for times do not hang on them.

use super::Lab;
use crate::experiments::plan::Plan;
use crate::experiments::plan::methods::{bottleneck_size, lora_settings};
use crate::experiments::results::place;
use crate::experiments::results::timed::{Case, PROFILED, Timed, find, sizes};
use crate::experiments::{Experiment, VERSION};
use crate::model::{ExpertInfo, Model, Random, Trained, add_bottlenecks, add_lora};
use crate::train::{TrainSettings, beside, count, one_step};
use crate::{Error, memory};
use mode_autograd::AdamW;
use mode_kernels::fill_hash::hash;
use mode_tensor::{Device, Tensor};
use std::time::Instant;

/// Steps of each case that are timed, after one that is not.
const ROUNDS: usize = 11;

/// All weights of experts.
const WEIGHT: f32 = 0.02;

/// The cases that fit into memory, unless all of them were timed at these sizes on this machine: those of one experiment are compared, so they
/// have their turns together.
///
/// # Errors
/// Sizes of which no model can be made.
pub(crate) fn left(
    lab: &Lab,
    plan: &Plan,
    experiment: &Experiment,
    device: &Device,
    there: &[Timed],
) -> Result<Vec<Case>, Error> {
    let (cases, here) = (fitting(lab, plan, (experiment.timed)(), device)?, place(device));
    let known = |case: &Case| find(plan, experiment.name, *case, there).is_some_and(|timed| timed.machine == here);
    Ok(if cases.iter().all(known) { Vec::new() } else { cases })
}

/// Times cases of an experiment, in turns.
///
/// # Errors
/// What the device reports.
pub(crate) fn time(
    lab: &Lab,
    plan: &Plan,
    experiment: &Experiment,
    cases: Vec<Case>,
    device: &Device,
) -> Result<Vec<Timed>, Error> {
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
            lab.go_on()?;
            let taken = step(i)?;
            // The first makes what others find.
            if round > 0 {
                seconds.push(taken);
            }
        }
    }
    let mut timed = Vec::new();
    for (i, seconds) in seconds.into_iter().enumerate() {
        let mut profiled = Vec::new();
        let mut cost = [0.0; 2];
        for _ in 0..PROFILED {
            lab.go_on()?;
            device.start_profile()?;
            let stepped = step(i);
            let launches = device.stop_profile()?;
            stepped?;
            let (of_merges, others): (Vec<_>, Vec<_>) =
                launches.iter().partition(|launch| launch.kernel.starts_with("gate_merge"));
            let [merges, rest] = [&of_merges, &others].map(|of| of.iter().map(|launch| launch.seconds).sum::<f64>());
            profiled.push([merges, merges + rest]);
            cost[0] = of_merges.iter().map(|launch| launch.cost.bytes).sum();
            cost[1] = others.iter().map(|launch| launch.cost.flop).sum();
        }
        let merges = [0, 1].map(|part| median(profiled.iter().map(|seconds| seconds[part]).collect()));
        timed.push(Timed {
            version: VERSION.into(),
            experiment: experiment.name.into(),
            case: cases[i],
            sizes: sizes(plan),
            params_total: models[i].params().map(|param| param.value().len() as u64).sum(),
            seconds,
            merges,
            profiled: PROFILED,
            cost,
            machine: place(device),
        });
    }
    Ok(timed)
}

/// The middle one of an odd number of values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The cases whose models fit into memory together, weights, gradients and moments; says which do not.
fn fitting(lab: &Lab, plan: &Plan, cases: Vec<Case>, device: &Device) -> Result<Vec<Case>, Error> {
    let (mut numbers, mut fit) = (0, Vec::new());
    for case in cases {
        let model = model(plan, case, &Device::dry())?;
        let more = numbers + 4 * count(&model, true) + count(&model, false);
        match memory::require(device, more, &format!("{case:?} beside what is timed in turns with it")) {
            Ok(()) => {
                numbers = more;
                fit.push(case);
            }
            Err(error) => lab.warn(&error.to_string()),
        }
    }
    Ok(fit)
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
        Case::Experts(count) | Case::Unfrozen(count) | Case::Gates(count) => {
            let blocks = plan.settings().blocks;
            let info = |i| ExpertInfo::new(&format!("expert-{i}"), "timed", "", blocks, 1);
            let infos = (0..count).map(info).collect::<Result<Vec<_>, _>>()?;
            let trained = match case {
                Case::Gates(_) => Trained::Gates,
                Case::Unfrozen(_) => Trained::Everything,
                _ => Trained::Experts,
            };
            (beside(backbone, infos, &|shape| Ok(Tensor::full(device, shape, WEIGHT)?))?, trained)
        }
    };
    model.set_trained(trained);
    Ok(model)
}
