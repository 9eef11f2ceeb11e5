//! W4, W5, W5f and W6: a training step of a model of 3.4 M parameters, its generation, its forward alone, and stage 1 beside it
//! frozen; and for GPUs a training step of a model of SmolLM2-135M's shape. Those of training also in mixed precision.
//!
//! Vocabulary 512, width 256, 4 layers, 4 heads, feed-forward 688, untied head; 4 windows of 256 tokens. Matrices `fill` at
//! scale sqrt(3 / in): embedding seed 1 (scale .1), head seed 3, layer l seeds 10 + 10 l and on for q k v o gate up down.

use super::Workload;
use super::kernels::timed;
use crate::Error;
use crate::generate::generate;
use crate::model::{Backbone, Config, Expert, ExpertInfo, Gate, Model, Trained};
use crate::train::{check_mixed, one_step};
use mode_autograd::{AdamW, AdamWSettings, Decayed, LossScale, Tape};
use mode_kernels::fill_hash::{fill, hash};
use mode_tensor::{Device, Ids};
use std::rc::Rc;

const WINDOWS: usize = 4;
const LENGTH: usize = 256;
const WIDTH: usize = 256;
const HIDDEN: usize = 688;
const LAYERS: usize = 4;
const VOCABULARY: usize = 512;
/// W6: blocks, each with one expert layer.
const BLOCKS: usize = 2;

fn config() -> Config {
    Config {
        vocabulary: VOCABULARY,
        width: WIDTH,
        hidden: HIDDEN,
        layers: LAYERS,
        heads: 4,
        kv_heads: 4,
        head_width: WIDTH / 4,
        positions: 1_024,
        ..Config::default()
    }
}

/// SmolLM2-135M's, with random weights.
fn large_config() -> Config {
    Config {
        vocabulary: 49_152,
        width: 576,
        hidden: 1_536,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        head_width: 64,
        positions: 1_024,
        tied: true,
        ..Config::default()
    }
}

/// A layer's matrices, in the order of their seeds.
const MATRICES: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// A parameter's values by its name; `layer` gives the first seed of layer number n.
fn rule(layer: impl Fn(usize) -> u32) -> impl Fn(&str, &[usize]) -> Vec<f32> {
    move |name, shape| {
        let count = shape.iter().product();
        let scale = (3.0 / shape[shape.len() - 1] as f32).sqrt();
        let number = name.split('.').filter_map(|part| part.parse::<usize>().ok()).next().unwrap_or(0);
        match MATRICES.iter().position(|matrix| name.contains(matrix)) {
            Some(i) => fill(layer(number) + i as u32, count, scale),
            None if name.contains("embed_tokens") => fill(1, count, 0.1),
            None if name.contains("lm_head") => fill(3, count, scale),
            None => vec![1.0; count],
        }
    }
}

fn backbone(device: &Device) -> Result<Backbone, Error> {
    Backbone::by_rule(config(), device, &rule(|layer| 10 + 10 * layer as u32))
}

/// Parameters of a layer, and FLOP a token of attention's two products over the full square.
fn layer_cost(config: &Config, length: usize) -> (f64, f64) {
    let [d, f, q, kv] =
        [config.width, config.hidden, config.heads * config.head_width, config.kv_heads * config.head_width]
            .map(|v| v as f64);
    (2.0 * d * (q + kv) + 3.0 * d * f + 2.0 * d, 4.0 * length as f64 * q)
}

/// FLOP of a token's forward pass.
fn forward_cost(config: &Config, length: usize) -> f64 {
    let (p, attention) = layer_cost(config, length);
    config.layers as f64 * (2.0 * p + attention) + 2.0 * (config.width * config.vocabulary) as f64
}

/// W5f: logits of one window, ids the hash of seed 99.
pub(super) fn forward(device: &Device) -> Result<Workload<'static>, Error> {
    let model = Rc::new(Model::plain(backbone(device)?));
    let ids: Vec<u32> = (0..LENGTH).map(|column| hash(99, column as u32) % VOCABULARY as u32).collect();
    let logits = move || {
        let tape = Tape::frozen();
        let output = model.forward(&tape, &Ids::new(model.backbone.device(), &ids)?, LENGTH)?;
        Ok(vec![model.logits(&tape, &output.hidden)?.value().clone()])
    };
    let flop = LENGTH as f64 * forward_cost(&config(), LENGTH);
    Ok(Workload { tokens: Some(LENGTH), ..timed(device, flop, logits) })
}

/// W5: 64 tokens generated after a prompt of 16; the sum of their ids.
pub(super) fn decode(device: &Device) -> Result<Workload<'static>, Error> {
    const PROMPT: usize = 16;
    const NEW: usize = 64;
    let model = Model::plain(backbone(device)?);
    let prompt: Vec<u32> = (0..PROMPT).map(|column| hash(99, column as u32) % VOCABULARY as u32).collect();
    let (p, _) = layer_cost(&config(), LENGTH);
    let token = |past: usize| LAYERS as f64 * (2.0 * p + 4.0 * (past + 1) as f64 * WIDTH as f64);
    let head = 2.0 * (WIDTH * VOCABULARY) as f64;
    Ok(Workload {
        flop: (0..PROMPT + NEW - 1).map(token).sum::<f64>() + NEW as f64 * head,
        tokens: Some(NEW),
        run: Box::new(move || {
            let made = generate(&model, &prompt, NEW, &[])?;
            Ok(made.ids.into_iter().map(f64::from).sum())
        }),
        check: None,
    })
}

/// Steps of a model in which what is trained has been set, on [`WINDOWS`] of `length`.
fn workload(model: Model, length: usize, flop_a_token: f64) -> Result<Workload<'static>, Error> {
    let settings =
        AdamWSettings { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.01, clip: 0.0, decayed: Decayed::All };
    let mut optimizer = AdamW::new(model.params(), settings)?;
    if model.mixed {
        check_mixed(model.backbone.device())?;
        optimizer.set_loss_scale(LossScale::default());
    }
    let vocabulary = model.backbone.config.vocabulary as u32;
    let token = |row: usize, column: usize| hash(99, (row * (length + 1) + column) as u32) % vocabulary;
    let windows: Vec<Vec<u32>> =
        (0..WINDOWS).map(|row| (0..=length).map(|column| token(row, column)).collect()).collect();
    let tokens = WINDOWS * length;
    Ok(Workload {
        flop: flop_a_token * tokens as f64,
        tokens: Some(tokens),
        run: Box::new(move || {
            let stepped = one_step(&model, &mut optimizer, &windows, 1, 1e-3)?;
            model.backbone.device().synchronize()?;
            Ok(f64::from(stepped.loss))
        }),
        check: None,
    })
}

/// W4: everything is trained; three times the forward.
pub(super) fn full(device: &Device, mixed: bool) -> Result<Workload<'static>, Error> {
    let mut model = Model::plain(backbone(device)?);
    model.mixed = mixed;
    model.set_trained(Trained::Backbone);
    workload(model, LENGTH, 3.0 * forward_cost(&config(), LENGTH))
}

/// W4-135M: the same of a model as large as SmolLM2-135M, on windows of 512 tokens.
pub(super) fn full_large(device: &Device, mixed: bool) -> Result<Workload<'static>, Error> {
    const LENGTH: usize = 512;
    let flop = 3.0 * forward_cost(&large_config(), LENGTH);
    let mut model = Model::plain(Backbone::by_rule(large_config(), device, &rule(|layer| 10 + 10 * layer as u32))?);
    model.mixed = mixed;
    model.set_trained(Trained::Backbone);
    workload(model, LENGTH, flop)
}

/// W6: one expert of one layer beside each of two blocks; experts and gates are trained, and in W6-unfrozen the backbone too.
pub(super) fn stage1(device: &Device, frozen: bool, mixed: bool) -> Result<Workload<'static>, Error> {
    let backbone = backbone(device)?;
    let info = ExpertInfo::new("bench", "bench", "", BLOCKS, 1)?;
    let expert = Expert::by_rule(&backbone, info, &rule(|block| 100 + 10 * block as u32))?;
    let gate = |i: usize| {
        let weight = fill(200 + i as u32, 2 * WIDTH, (3.0 / WIDTH as f32).sqrt());
        Gate::from_values(device, i, WIDTH, &weight, &[0.0, 0.0])
    };
    let gates = (0..BLOCKS).map(gate).collect::<Result<Vec<_>, _>>()?;
    let (p, attention) = layer_cost(&config(), LENGTH);
    let head = 2.0 * (WIDTH * VOCABULARY) as f64;
    let (layers, experts) = (LAYERS as f64, BLOCKS as f64);
    let forward = (layers + experts) * (2.0 * p + attention) + head;
    // Experts: dx and dW; the backbone's second block: dx alone; its first: nothing.
    let backward = match frozen {
        true => experts * (4.0 * p + 2.0 * attention) + layers / 2.0 * (2.0 * p + 2.0 * attention) + head,
        false => 2.0 * forward,
    };
    // Two branches at 4K - 1 forward and 8K - 1 backward, both blocks; the first sends no gradient into x.
    let merges = experts * (7.0 + 15.0) * WIDTH as f64;
    let mut model = Model::with_experts(backbone, vec![expert], gates)?;
    model.mixed = mixed;
    model.set_trained(Trained::Experts);
    if !frozen {
        model.backbone.params().for_each(|param| param.set_trained(true));
    }
    workload(model, LENGTH, forward + backward + merges)
}
