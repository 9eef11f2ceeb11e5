//! LoRA (Hu et al., arXiv 2106.09685) beside a matrix: y = x W^T + (alpha / rank) (x A^T) B^T.
//!
//! A `[rank, in]` starts random, B `[out, rank]` zero, so that step 0 is the base model. How adapters are put beside a model
//! and written to files stands in `adapter.rs`.

use super::context::Context;
use mode_autograd::{Added, AutogradError, Param, Var, linear, linear_to};

/// The two factors beside one matrix.
#[derive(Clone)]
pub(crate) struct Lora {
    pub(crate) a: Param,
    pub(crate) b: Param,
    /// alpha / rank.
    pub(crate) factor: f32,
}

impl Lora {
    /// (alpha / rank) (x A^T) B^T and what is `added` to it: the matrix' own product.
    pub(crate) fn add_to(&self, context: &Context, x: &Var, added: Added) -> Result<Var, AutogradError> {
        let low = linear(x, &context.tape.param(&self.a))?;
        linear_to(&low, &context.tape.param(&self.b), Added { alpha: self.factor, ..added })
    }

    pub(crate) fn params(&self) -> [&Param; 2] {
        [&self.a, &self.b]
    }
}
