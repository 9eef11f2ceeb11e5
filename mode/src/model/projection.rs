//! A weight matrix that a LoRA may stand beside: y = x W^T, W `[out, in]`, x `[tokens, in]`.

use super::context::Context;
use super::lora::Lora;
use mode_autograd::{AutogradError, Param, Var, add, linear};

/// A weight matrix `[out, in]`, with a LoRA beside it if there is one. Clones are the same parameters.
#[derive(Clone)]
pub struct Projection {
    /// The matrix.
    pub weight: Param,
    /// What a LoRA adds.
    pub(crate) lora: Option<Lora>,
}

impl Projection {
    pub(crate) fn apply(&self, context: &Context, x: &Var) -> Result<Var, AutogradError> {
        let y = linear(x, &context.tape.param(&self.weight))?;
        match &self.lora {
            Some(lora) => add(&y, &lora.apply(context, x)?),
            None => Ok(y),
        }
    }
}
