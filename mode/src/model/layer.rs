//! One decoder layer of the Llama family: h = x + attention(norm x), y = h + down (silu(gate norm h) * up norm h).
//!
//! All streams `[tokens, width]`. Backbone and experts are made of the same layers.

use super::attention::Attention;
use super::config::Config;
use super::context::Context;
use super::init::Start;
use super::lora::Lora;
use super::projection::Projection;
use super::weights::Maker;
use crate::Error;
use mode_autograd::{AutogradError, Param, Tape, Var, add, add_at, linear, recompute, rms_norm, swiglu};
use mode_tensor::Tensor;

/// A decoder layer. Clones are the same parameters.
#[derive(Clone)]
pub struct Layer {
    pub(crate) input_norm: Param,
    pub(crate) attention: Attention,
    pub(crate) post_norm: Param,
    pub(crate) gate: Param,
    pub(crate) up: Param,
    pub(crate) down: Param,
    epsilon: f32,
}

impl Layer {
    /// A layer whose parameters are named after `at`; `output` is how the matrices that write to the stream start.
    pub(crate) fn new(config: &Config, maker: &mut Maker, at: &str, output: Start) -> Result<Self, Error> {
        let (d, f) = (config.width, config.hidden);
        let normal = |width: usize| Start::Normal((width as f64).powf(-0.5));
        let mut param = |name: &str, shape: &[usize], start| maker.param(&format!("{at}{name}.weight"), shape, start);
        let attention = Attention::new(config, |name, shape, start| param(name, &shape, start), output)?;
        Ok(Self {
            attention,
            input_norm: param("input_layernorm", &[d], Start::Constant(1.0))?,
            post_norm: param("post_attention_layernorm", &[d], Start::Constant(1.0))?,
            gate: param("mlp.gate_proj", &[f, d], normal(d))?,
            up: param("mlp.up_proj", &[f, d], normal(d))?,
            down: param("mlp.down_proj", &[d, f], output)?,
            epsilon: config.epsilon as f32,
        })
    }

    /// The layer's output; its last sum is written to `out` if one is given.
    pub(crate) fn forward(&self, context: &Context, x: &Var, out: Option<&Tensor>) -> Result<Var, Error> {
        if !context.recompute || context.cache.is_some() {
            return Ok(self.compute(context, x, out)?);
        }
        let (layer, rotation, length) = (self.clone(), context.rotation.clone(), context.length);
        let params = self.params().chain(self.lora_params()).filter(|param| param.is_trained()).cloned().collect();
        Ok(recompute(context.tape, x, params, out, move |tape: &Tape, x: &Var, out: Option<&Tensor>| {
            layer.compute(&Context { tape, rotation: &rotation, length, recompute: false, cache: None }, x, out)
        })?)
    }

    fn compute(&self, context: &Context, x: &Var, out: Option<&Tensor>) -> Result<Var, AutogradError> {
        let tape = context.tape;
        x.value().device().at(|| self.input_norm.name().trim_end_matches(".input_layernorm.weight").into());
        let normed = rms_norm(x, &tape.param(&self.input_norm), self.epsilon)?;
        let h = add(x, &self.attention.forward(context, self.input_norm.name(), &normed)?)?;
        let normed = rms_norm(&h, &tape.param(&self.post_norm), self.epsilon)?;
        let gate = linear(&normed, &tape.param(&self.gate))?;
        let up = linear(&normed, &tape.param(&self.up))?;
        add_at(&h, &linear(&swiglu(&gate, &up)?, &tape.param(&self.down))?, out)
    }

    fn projections(&self) -> impl Iterator<Item = &Projection> {
        self.attention.projections.iter()
    }

    /// All its parameters but a LoRA's.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        let rest = [&self.gate, &self.up, &self.down, &self.input_norm, &self.post_norm];
        self.projections().map(|projection| &projection.weight).chain(rest)
    }

    /// The parameters of its LoRAs.
    pub fn lora_params(&self) -> impl Iterator<Item = &Param> {
        self.projections().filter_map(|projection| projection.lora.as_ref()).flat_map(Lora::params)
    }

    /// Copies another layer's values.
    pub(crate) fn copy_from(&self, other: &Layer) -> Result<(), Error> {
        for (to, from) in self.params().zip(other.params()) {
            mode_tensor::copy(&from.value(), &to.value())?;
        }
        Ok(())
    }
}
