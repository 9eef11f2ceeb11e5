//! LoRA (Hu et al., arXiv 2106.09685) beside a matrix: y = x W^T + (alpha / rank) (x A^T) B^T.
//!
//! A `[rank, in]` starts random, B `[out, rank]` zero, so that step 0 is the base model. How adapters are put beside a model
//! and written to files stands in `adapter.rs`.

use super::context::Context;
use mode_autograd::{AutogradError, Param, Var, linear, scale};

/// The two factors beside one matrix.
#[derive(Clone)]
pub(crate) struct Lora {
    pub(crate) a: Param,
    pub(crate) b: Param,
    /// alpha / rank.
    pub(crate) factor: f32,
}

impl Lora {
    pub(crate) fn apply(&self, context: &Context, x: &Var) -> Result<Var, AutogradError> {
        let low = linear(x, &context.tape.param(&self.a))?;
        scale(&linear(&low, &context.tape.param(&self.b))?, self.factor)
    }

    pub(crate) fn params(&self) -> [&Param; 2] {
        [&self.a, &self.b]
    }
}
