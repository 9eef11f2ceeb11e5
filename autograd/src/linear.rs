//! y = x W^T, W `[out, in]` as in Hugging Face's files: dx = dy W, dW = dy^T x. Two products, never an outer one.
//!
//! y and dx are stored like x, and where that is f16 the products are of f16 operands, with sums in f32; dW is f32, as W is that is
//! trained.

use crate::{AutogradError, Var};
use mode_tensor::{Dtype, Product, matmul};

/// x `[tokens, in]` times W^T `[out, in]`: `[tokens, out]`.
///
/// # Errors
/// Widths that differ.
pub fn linear(x: &Var, weight: &Var) -> Result<Var, AutogradError> {
    let y = matmul(Product::new(x.value(), weight.value()).transpose_b().among(x.value().dtype()))?;
    Var::record("linear", y, &[x, weight], |_| {
        // Keeps x only if W wants its gradient.
        let saved_x = weight.requires_grad().then(|| x.value().clone());
        let (weight, dtype) = (weight.value().clone(), x.value().dtype());
        Box::new(move |g, sink| {
            sink.matmul(0, Product::new(g, &weight).among(dtype))?;
            match &saved_x {
                Some(x) => {
                    sink.matmul(1, Product { dtype: Dtype::F32, ..Product::new(g, x).transpose_a().among(dtype) })
                }
                None => Ok(()),
            }
        })
    })
}
