//! LoRA (Hu et al., arXiv 2106.09685) beside a matrix: y = x W^T + (alpha / rank) (x A^T) B^T.
//!
//! A `[rank, in]` starts random, B `[out, rank]` zero, so that step 0 is the base model. Beside the embedding, a token's row is its
//! own column of A: y = E[id] + (alpha / rank) A[id] B^T, A `[vocabulary, rank]` zero, B `[width, rank]` random; the head of a tied model
//! stays as it is. How adapters are put beside a model
//! and written to files stands in `adapter.rs`.

use super::context::Context;
use mode_autograd::{Added, AutogradError, Param, Var, embedding, linear, linear_to};
use mode_tensor::Ids;

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

    /// (alpha / rank) A[ids] B^T added to the embedding's rows x `[tokens, width]`.
    pub(crate) fn add_rows(&self, context: &Context, ids: &Ids, x: &Var) -> Result<Var, AutogradError> {
        let low = embedding(ids, &context.tape.param(&self.a), None)?;
        let added = Added { alpha: self.factor, residual: Some(x), ..Added::default() };
        linear_to(&low, &context.tape.param(&self.b), added)
    }

    pub(crate) fn params(&self) -> [&Param; 2] {
        [&self.a, &self.b]
    }
}
