//! A weight matrix that a bias and a LoRA may stand beside: y = x W^T + b, W `[out, in]`, b `[out]`, x `[tokens, in]`.

use super::context::Context;
use super::init::Start;
use super::lora::Lora;
use super::weights::Maker;
use crate::Error;
use mode_autograd::{AutogradError, Param, Var, add, bias, linear};

/// A weight matrix `[out, in]`, with a bias and a LoRA beside it if there are. Clones are the same parameters.
#[derive(Clone)]
pub struct Projection {
    /// The matrix.
    pub weight: Param,
    /// `[out]`.
    pub bias: Option<Param>,
    /// What a LoRA adds.
    pub(crate) lora: Option<Lora>,
}

impl Projection {
    /// The projection `name` of `[out, in]`; a bias starts at zero.
    pub(crate) fn new(
        maker: &mut Maker,
        name: &str,
        shape: [usize; 2],
        start: Start,
        biased: bool,
    ) -> Result<Self, Error> {
        let weight = maker.param(&format!("{name}.weight"), &shape, start)?;
        let bias = match biased {
            true => Some(maker.param(&format!("{name}.bias"), &shape[..1], Start::Constant(0.0))?),
            false => None,
        };
        Ok(Self { weight, bias, lora: None })
    }

    pub(crate) fn apply(&self, context: &Context, x: &Var) -> Result<Var, AutogradError> {
        let mut y = linear(x, &context.tape.param(&self.weight))?;
        if let Some(shift) = &self.bias {
            y = bias(&y, &context.tape.param(shift))?;
        }
        match &self.lora {
            Some(lora) => add(&y, &lora.apply(context, x)?),
            None => Ok(y),
        }
    }

    /// All its parameters but a LoRA's.
    pub(crate) fn params(&self) -> impl Iterator<Item = &Param> {
        std::iter::once(&self.weight).chain(&self.bias)
    }
}
