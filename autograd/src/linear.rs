//! y = x W^T, W `[out, in]` as in Hugging Face's files: dx = dy W, dW = dy^T x. Two products, never an outer one.

use crate::{AutogradError, Var};
use mode_tensor::{Product, matmul};

/// x `[tokens, in]` times W^T `[out, in]`: `[tokens, out]`.
///
/// # Errors
/// Widths that differ.
pub fn linear(x: &Var, weight: &Var) -> Result<Var, AutogradError> {
    let y = matmul(Product::new(x.value(), weight.value()).transpose_b())?;
    Var::record("linear", y, &[x, weight], |_| {
        // Keeps x only if W wants its gradient.
        let saved_x = weight.requires_grad().then(|| x.value().clone());
        let weight = weight.value().clone();
        Box::new(move |g, sink| {
            sink.matmul(0, Product::new(g, &weight))?;
            match &saved_x {
                Some(x) => sink.matmul(1, Product::new(g, x).transpose_a()),
                None => Ok(()),
            }
        })
    })
}
