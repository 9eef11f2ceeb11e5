//! A norm over the stream or over each head: RMSNorm, the same with weights stored as their difference from 1, or LayerNorm.
//!
//! RMSNorm: y = x / rms(x) * (offset + weight). LayerNorm: y = (x - mean) / rms(x - mean) * weight + bias, where that rms is the
//! standard deviation. x, y `[rows, width]`, weight, bias `[width]`.

use super::config::{Config, NormKind};
use super::init::Start;
use super::weights::Maker;
use crate::Error;
use mode_autograd::{AutogradError, Param, Tape, Var, layer_norm, rms_norm};
use mode_tensor::Dtype;

/// A norm. Clones are the same parameters.
#[derive(Clone)]
pub struct Norm {
    /// `[width]`.
    pub weight: Param,
    /// `[width]`, LayerNorm's only.
    pub bias: Option<Param>,
    epsilon: f32,
    offset: f32,
}

impl Norm {
    /// The norm `name` of rows of `width`, which multiplies by `factor` at first.
    pub(crate) fn new(
        config: &Config,
        maker: &mut Maker,
        name: &str,
        width: usize,
        factor: f32,
    ) -> Result<Self, Error> {
        let offset = if config.norm == NormKind::RmsPlusOne { 1.0 } else { 0.0 };
        let mut param = |part: &str, start| maker.param(&format!("{name}.{part}"), &[width], Start::Constant(start));
        Ok(Self {
            weight: param("weight", factor - offset)?,
            bias: if config.norm == NormKind::Layer { Some(param("bias", 0.0)?) } else { None },
            epsilon: config.epsilon as f32,
            offset,
        })
    }

    /// Of x, stored as `dtype`.
    pub(crate) fn apply(&self, tape: &Tape, x: &Var, dtype: Dtype) -> Result<Var, AutogradError> {
        let weight = tape.param(&self.weight);
        match &self.bias {
            None => rms_norm(x, &weight, self.epsilon, self.offset, dtype),
            Some(bias) => layer_norm(x, &weight, &tape.param(bias), self.epsilon, dtype),
        }
    }

    pub(crate) fn params(&self) -> impl Iterator<Item = &Param> {
        std::iter::once(&self.weight).chain(&self.bias)
    }
}
