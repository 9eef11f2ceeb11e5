//! The methods that experiments compare: runs of each, of a seed, a learning rate and a number of steps.

use super::base::Base;
use super::plan::{Plan, RunIndex};
use super::recipes::{MIXTURE, On, Shape, Stage};
use crate::Error;
use crate::model::{Adapted, ExpertInit};
use crate::train::LoraSettings;

/// All domains: English, Code, Math.
pub(super) const ALL: [usize; 3] = [0, 1, 2];

/// The base of a seed; a given one is that of all.
pub(super) fn base(plan: &mut Plan, seed: u64) -> Result<RunIndex, Error> {
    let setup = plan.setup;
    match &setup.base {
        Base::Pretrained => plan.pretrain(seed, setup.settings.layers),
        Base::Given(given) => Ok(plan.given(given)),
    }
}

/// All weights of the base.
pub(super) fn full(plan: &mut Plan, on: On, rate: f64, steps: u64) -> Result<RunIndex, Error> {
    plan.full(on, rate, steps)
}

/// The LoRA of the settings: beside attention, with alpha = 2 rank.
pub(super) fn lora(plan: &mut Plan, on: On, rate: f64, steps: u64) -> Result<RunIndex, Error> {
    plan.lora(on, lora_settings(plan), rate, steps)
}

/// Of [`lora`].
pub(super) fn lora_settings(plan: &Plan) -> LoraSettings {
    let rank = plan.settings().rank;
    LoraSettings { rank, alpha: 2.0 * rank as f64, adapted: Adapted::Attention }
}

/// Bottlenecks of about as many parameters as [`lora`] has.
pub(super) fn bottleneck(plan: &mut Plan, on: On, rate: f64, steps: u64) -> Result<RunIndex, Error> {
    plan.bottleneck(on, bottleneck_size(plan), rate, steps)
}

/// Of [`bottleneck`].
pub(super) fn bottleneck_size(plan: &Plan) -> usize {
    // Beside four matrices of the width a LoRA has 8 width rank a layer, two bottlenecks 4 width size.
    2 * plan.settings().rank
}

/// Stage 1 of Code and Math.
pub(super) fn experts(plan: &mut Plan, seed: u64, rate: f64) -> Result<Vec<RunIndex>, Error> {
    experts_of(plan, seed, ExpertInit::Copy, rate)
}

/// The same of experts that start in this way.
fn experts_of(plan: &mut Plan, seed: u64, init: ExpertInit, rate: f64) -> Result<Vec<RunIndex>, Error> {
    let steps = plan.settings().steps;
    let base = base(plan, seed)?;
    let shape = plan.shape(init);
    let of = |domain| plan.expert(On::all(base, seed, &[(domain, 1.0)]), shape, rate, steps);
    [1, 2].into_iter().map(of).collect()
}

/// The learning rate of stage 1, once it is known: each expert is scored alone, by its own domain and English, for it is not meant to know
/// the other.
pub(super) fn expert_rate(plan: &mut Plan) -> Result<Option<f64>, Error> {
    expert_rate_of(plan, ExpertInit::Copy)
}

/// The same of experts that start in this way.
pub(super) fn expert_rate_of(plan: &mut Plan, init: ExpertInit) -> Result<Option<f64>, Error> {
    let name = match init {
        ExpertInit::Copy => "expert",
        ExpertInit::ZeroOutput => "expert-zero",
        ExpertInit::Random => "expert-random",
    };
    plan.rate(name, |plan, seed, rate| {
        let (base, experts) = (base(plan, seed)?, experts_of(plan, seed, init, rate)?);
        let alone = |(domain, expert): (usize, RunIndex)| {
            let model = plan.compose(On::all(base, seed, MIXTURE), &[expert], Stage::gates(), rate, 0)?;
            Ok((vec![expert, model], vec![0, domain]))
        };
        [1, 2].into_iter().zip(experts).map(alone).collect()
    })
}

/// Stage 1 of Code and Math at its own rate, and stage 2 on the mixture.
pub(super) fn composed(
    plan: &mut Plan,
    seed: u64,
    (init, of_experts): (ExpertInit, f64),
    stage: Stage,
    rate: f64,
    steps: u64,
) -> Result<Vec<RunIndex>, Error> {
    let mut runs = experts_of(plan, seed, init, of_experts)?;
    let on = On::all(base(plan, seed)?, seed, MIXTURE);
    runs.push(plan.compose(on, &runs, stage, rate, steps)?);
    Ok(runs)
}

/// Experts that start random and have no stage 1, of Code alone or of Code and Math.
pub(super) fn uninitialised(
    plan: &mut Plan,
    on: On,
    (count, shape): (usize, Shape),
    rate: f64,
    steps: u64,
) -> Result<RunIndex, Error> {
    let of = |&domain: &usize| plan.expert(On { data: &[(domain, 1.0)], ..on }, shape, rate, 0);
    let experts: Vec<RunIndex> = [1, 2][..count].iter().map(of).collect::<Result<_, _>>()?;
    plan.compose(on, &experts, Stage::all(), rate, steps)
}
