//! The methods that experiments compare: runs of each, of a seed, a learning rate and a number of steps.

use super::base::Base;
use super::recipes::{MIXTURE, Mixture, On, Shape, Stage};
use super::{Plan, RunIndex, Tried};
use crate::Error;
use crate::model::{Adapted, ExpertInit};
use crate::train::LoraSettings;

/// A method on a mixture, of a base, a rate and a number of steps.
pub(crate) type Make = fn(&mut Plan, On, f64, u64) -> Result<RunIndex, Error>;

/// All domains: English, Code, Math.
pub(crate) const ALL: [usize; 3] = [0, 1, 2];

/// What it is adapted to: Code and Math.
pub(crate) const ADAPTED: [usize; 2] = [1, 2];

/// Stages of S steps that both stages of two experts take together.
pub(crate) const LONG: u64 = 3;

/// The base of a seed; a given one is that of all.
pub(crate) fn base(plan: &mut Plan, seed: u64) -> Result<RunIndex, Error> {
    let setup = plan.setup;
    match &setup.base {
        Base::Pretrained => plan.pretrain(seed, setup.settings.size()),
        Base::Given(given) => Ok(plan.given(given)),
    }
}

/// All weights of the base.
pub(crate) fn full(plan: &mut Plan, on: On, rate: f64, steps: u64) -> Result<RunIndex, Error> {
    plan.full(on, rate, steps)
}

/// The LoRA of the settings: beside attention, with alpha = 2 rank.
pub(crate) fn lora(plan: &mut Plan, on: On, rate: f64, steps: u64) -> Result<RunIndex, Error> {
    plan.lora(on, lora_settings(plan), rate, steps)
}

/// Of [`lora`].
pub(crate) fn lora_settings(plan: &Plan) -> LoraSettings {
    let rank = plan.settings().rank;
    LoraSettings { rank, alpha: 2.0 * rank as f64, adapted: Adapted::Attention }
}

/// A LoRA of about as many parameters as so many experts of the settings' shape have: beside attention and feed-forward, with alpha = 2 rank.
pub(crate) fn large_lora(plan: &mut Plan, on: On, experts: usize, rate: f64, steps: u64) -> Result<RunIndex, Error> {
    let s = plan.settings();
    // A layer has four matrices of width by width and three of width by hidden; a LoRA has the sum of both sides for each rank.
    let of_layer = 4 * s.width * s.width + 3 * s.width * s.hidden;
    let of_rank = s.layers * (8 * s.width + 3 * (s.width + s.hidden));
    let rank = (experts * s.blocks * s.layers_per_block * of_layer / of_rank).max(1);
    plan.lora(on, LoraSettings { rank, alpha: 2.0 * rank as f64, adapted: Adapted::FeedForward }, rate, steps)
}

/// Bottlenecks of about as many parameters as [`lora`] has.
pub(crate) fn bottleneck(plan: &mut Plan, on: On, rate: f64, steps: u64) -> Result<RunIndex, Error> {
    plan.bottleneck(on, bottleneck_size(plan), rate, steps)
}

/// Of [`bottleneck`].
pub(crate) fn bottleneck_size(plan: &Plan) -> usize {
    // Beside four matrices of the width a LoRA has 8 width rank a layer, two bottlenecks 4 width size.
    2 * plan.settings().rank
}

/// Stage 1 of Code and Math.
pub(crate) fn experts(plan: &mut Plan, seed: u64, rate: f64) -> Result<Vec<RunIndex>, Error> {
    let base = base(plan, seed)?;
    experts_beside(plan, (base, seed), &ADAPTED, ExpertInit::Copy, rate)
}

/// Stage 1 of some domains, beside a base of a seed, of experts that start in this way.
pub(crate) fn experts_beside(
    plan: &mut Plan,
    (base, seed): (RunIndex, u64),
    domains: &[usize],
    init: ExpertInit,
    rate: f64,
) -> Result<Vec<RunIndex>, Error> {
    let (steps, shape) = (plan.settings().steps, plan.shape(init));
    let of = |&domain: &usize| plan.expert(On::all(base, seed, &[(domain, 1.0)]), shape, rate, steps);
    domains.iter().map(of).collect()
}

/// The learning rate of stage 1, once it is known: each expert is scored alone, by its own domain and English, for it is not meant to know
/// the other.
pub(crate) fn expert_rate(plan: &mut Plan) -> Result<Option<f64>, Error> {
    expert_rate_of(plan, ExpertInit::Copy)
}

/// The same of experts that start in this way.
pub(crate) fn expert_rate_of(plan: &mut Plan, init: ExpertInit) -> Result<Option<f64>, Error> {
    let name = match init {
        ExpertInit::Copy => "expert",
        ExpertInit::ZeroOutput => "expert-zero",
        ExpertInit::Random => "expert-random",
    };
    rate_beside(plan, name, base, init)
}

/// The same beside bases of another kind, under a name of its own.
pub(crate) fn rate_beside(
    plan: &mut Plan,
    name: &str,
    base: impl Fn(&mut Plan, u64) -> Result<RunIndex, Error>,
    init: ExpertInit,
) -> Result<Option<f64>, Error> {
    plan.rate(name, |plan, seed, rate| {
        let base = base(plan, seed)?;
        let experts = experts_beside(plan, (base, seed), &ADAPTED, init, rate)?;
        let alone = |(domain, expert): (usize, RunIndex)| {
            let model = plan.compose(On::all(base, seed, MIXTURE), &[expert], Stage::gates(), rate, 0)?;
            Ok(Tried { runs: vec![expert, model], domains: vec![0, domain], scored: vec![0, domain] })
        };
        ADAPTED.into_iter().zip(experts).map(alone).collect()
    })
}

/// Stage 1 of Code and Math at its own rate, and stage 2 on the mixture.
pub(crate) fn composed(
    plan: &mut Plan,
    seed: u64,
    experts: (ExpertInit, f64),
    stage: Stage,
    rate: f64,
    steps: u64,
) -> Result<Vec<RunIndex>, Error> {
    composed_on(plan, seed, MIXTURE, experts, stage, rate, steps)
}

/// The same with stage 2 on any mixture.
pub(crate) fn composed_on(
    plan: &mut Plan,
    seed: u64,
    data: Mixture,
    (init, of_experts): (ExpertInit, f64),
    stage: Stage,
    rate: f64,
    steps: u64,
) -> Result<Vec<RunIndex>, Error> {
    let base = base(plan, seed)?;
    let mut runs = experts_beside(plan, (base, seed), &ADAPTED, init, of_experts)?;
    runs.push(plan.compose(On::all(base, seed, data), &runs, stage, rate, steps)?);
    Ok(runs)
}

/// Experts that start random and have no stage 1, of Code alone or of Code and Math.
pub(crate) fn uninitialised(
    plan: &mut Plan,
    on: On,
    (count, shape): (usize, Shape),
    rate: f64,
    steps: u64,
) -> Result<RunIndex, Error> {
    let of = |&domain: &usize| plan.expert(On { data: &[(domain, 1.0)], ..on }, shape, rate, 0);
    let experts: Vec<RunIndex> = ADAPTED[..count].iter().map(of).collect::<Result<_, _>>()?;
    plan.compose(on, &experts, Stage::all(), rate, steps)
}
