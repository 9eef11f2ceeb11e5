//! What a step takes, of a model of which nothing but its shape need be there: two steps are launched on a device that computes nothing, and
//! each launch of the second says what it costs.
//!
//! A product of `[T, a]` and `[a, b]` is 2 T a b FLOP, its gradients 2 T a b each as far as they are wanted; attention's two products are
//! 4 T S d of windows of S, their gradients 2.5 times that, for scores are computed again; the head is 2 T d V forward and again backward,
//! and once more where it is trained. Everything else counts by the bytes that it moves.

use super::frozen;
use super::recipe::{Recipe, Task};
use super::settings::ExpertSettings;
use super::trainer::Trainer;
use crate::Error;
use crate::data::{Mixture, Tokens};
use crate::mesh::Cost;
use crate::model::{Backbone, Expert, ExpertInfo, Gate, Model, Random, Trained, add_bottlenecks, add_lora};
use mode_tensor::{Device, Tensor};
use serde::Serialize;

/// Bytes of an f32.
const F32: u64 = 4;

/// What a step takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DryStep {
    /// Parameters of the whole model.
    pub params_total: u64,
    /// Parameters trained.
    pub params_trained: u64,
    /// What it holds.
    pub memory: StepMemory,
    /// What the launches of a whole step cost.
    pub cost: Cost,
}

/// Bytes that one device holds in a step of one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StepMemory {
    /// Of all weights.
    pub weights: u64,
    /// Of the gradients of what is trained.
    pub gradients: u64,
    /// Of the optimizer's two moments.
    pub moments: u64,
    /// Of all else: above all what the forward pass keeps for the backward one.
    pub activations: u64,
}

impl DryStep {
    /// Floating-point operations of its matrix products and attention.
    pub fn flop(&self) -> f64 {
        self.cost.matmul + self.cost.attention
    }
}

impl StepMemory {
    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.weights + self.gradients + self.moments + self.activations
    }
}

/// Steps a recipe's method on a backbone, which lies on a device that computes nothing; `experts` are those that it trains or composes.
///
/// # Errors
/// Sizes that do not fit each other.
pub fn dry_step(
    recipe: &Recipe,
    backbone: impl Fn(&Device) -> Result<Backbone, Error>,
    experts: &[&ExpertSettings],
) -> Result<DryStep, Error> {
    let one = Recipe { train: super::TrainSettings { batch: 1, ..recipe.train.clone() }, ..recipe.clone() };
    let (held, one) = measure(&one, &backbone, experts)?;
    let (_, whole) = measure(recipe, &backbone, experts)?;
    let (gradients, moments) = (F32 * one.params_trained, 2 * F32 * one.params_trained);
    let weights = held.saturating_sub(gradients + moments);
    let activations = one.peak.saturating_sub(held);
    let Measured { params_total, params_trained, cost, .. } = whole;
    let memory = StepMemory { weights, gradients, moments, activations };
    Ok(DryStep { params_total, params_trained, memory, cost })
}

struct Measured {
    params_total: u64,
    params_trained: u64,
    /// The most bytes that the device held.
    peak: u64,
    cost: Cost,
}

/// Bytes that are held before the first step, and what the second one says.
fn measure(
    recipe: &Recipe,
    backbone: &impl Fn(&Device) -> Result<Backbone, Error>,
    experts: &[&ExpertSettings],
) -> Result<(u64, Measured), Error> {
    let device = Device::dry();
    let model = model(recipe, backbone(&device)?, experts)?;
    let length = recipe.train.length + 1;
    let (name, vocab) = (String::new(), model.backbone.config.vocabulary as u32);
    let window = Tokens { name, vocab, tokenizer: [0; 32], ids: vec![0; length] };
    let mut trainer = Trainer::new(&model, &recipe.train, Mixture::new(0, length, vec![(1.0, window)])?)?;
    let held = device.counters().bytes;
    trainer.step()?;
    device.start_profile()?;
    trainer.step()?;
    let mut cost = Cost::default();
    for timing in device.stop_profile()? {
        match timing.kernel {
            "matmul" => cost.matmul += timing.cost.flop,
            "attention" | "attention_backward" => cost.attention += timing.cost.flop,
            _ => cost.bytes += timing.cost.bytes,
        }
        cost.launches += 1.0;
    }
    let (params_trained, frozen) = (frozen::count(&model, true), frozen::count(&model, false));
    let peak = device.counters().peak_bytes;
    Ok((held, Measured { params_total: params_trained + frozen, params_trained, peak, cost }))
}

/// The model that a recipe trains, without its numbers.
fn model(recipe: &Recipe, mut backbone: Backbone, experts: &[&ExpertSettings]) -> Result<Model, Error> {
    let (device, mut random) = (backbone.device().clone(), Random::new(recipe.seed));
    let empty = |shape: &[usize]| Ok(Tensor::empty(&device, shape)?);
    let (model, trained) = match recipe.task().map_err(Error::Setting)? {
        Task::Pretrain(_) | Task::Full { .. } => (Model::plain(backbone), Trained::Backbone),
        Task::Lora { lora, .. } => {
            add_lora(&mut backbone, lora.rank, lora.alpha, lora.adapted, &mut random)?;
            (Model::plain(backbone), Trained::Adapter)
        }
        Task::Bottleneck { size, .. } => {
            add_bottlenecks(&mut backbone, size, &mut random)?;
            (Model::plain(backbone), Trained::Adapter)
        }
        Task::Expert { .. } => (beside(backbone, infos(experts)?, &empty)?, Trained::Experts),
        Task::Compose { compose, .. } => {
            let mut model = beside(backbone, infos(experts)?, &empty)?;
            model.set_gating(compose.gating, &mut random)?;
            (model, compose.train.trained())
        }
    };
    model.set_trained(trained);
    Ok(model)
}

/// What experts' folders would say.
fn infos(experts: &[&ExpertSettings]) -> Result<Vec<ExpertInfo>, Error> {
    let info = |settings: &&ExpertSettings| {
        let ExpertSettings { name, domain, blocks, layers_per_block, .. } = settings;
        ExpertInfo::new(name, domain, "", *blocks, *layers_per_block)
    };
    experts.iter().map(info).collect()
}

/// Experts beside a backbone, on its device, whose parameters of a shape are made by `tensor`.
pub(crate) fn beside(
    backbone: Backbone,
    experts: Vec<ExpertInfo>,
    tensor: &dyn Fn(&[usize]) -> Result<Tensor, Error>,
) -> Result<Model, Error> {
    let (device, config, branches) = (backbone.device().clone(), backbone.config.clone(), experts.len() + 1);
    let blocks = experts.first().map_or(0, |expert| expert.blocks);
    let expert = |info: ExpertInfo| {
        let prefix = format!("experts.{}.", info.name);
        Expert::remote(&config, info, &prefix)?.shard(&config, &device, &|_, shape| tensor(shape))
    };
    let experts = experts.into_iter().map(expert).collect::<Result<_, Error>>()?;
    let (weight, bias) = (vec![0.0; branches * config.width], vec![0.0; branches]);
    let gate = |block| Gate::from_values(&device, block, config.width, &weight, &bias);
    let gates = (0..blocks).map(gate).collect::<Result<_, _>>()?;
    Model::with_experts(backbone, experts, gates)
}
