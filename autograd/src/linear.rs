//! y = alpha x W^T, W `[out, in]` as in Hugging Face's files: dx = alpha dy W, dW = alpha dy^T x. Two products, never an outer one.
//!
//! What is added is added on the way: y = f(alpha x W^T + b + r), bias b `[out]`, residual r like y. db is the sum over dy's rows, dr
//! is dy itself. The slope of an activation f is taken where it stood, which no one keeps: f is part of the product only where no
//! gradient is wanted, in frozen parts and without a tape; else it is an operation of its own, which keeps what it was given.
//!
//! y is stored like the residual, or if there is none like x; dx like x. Where x is f16 the products are of f16 operands, with sums in
//! f32; dW is f32, as W is that is trained.

use crate::{AutogradError, Var, activation};
use mode_tensor::{Activation, Dtype, Product, Target, Tensor, matmul_into, sum_rows};

/// What is added to a product, and where that is put.
#[derive(Clone, Copy)]
pub struct Added<'a> {
    /// Factor of the product.
    pub alpha: f32,
    /// `[out]`.
    pub bias: Option<&'a Var>,
    /// `[tokens, out]`.
    pub residual: Option<&'a Var>,
    /// Of the sum.
    pub activation: Option<Activation>,
    /// Memory for the result, `[tokens, out]`, where there is no activation; a branch of a merge ends in the merge's own.
    pub out: Option<&'a Tensor>,
}

impl Default for Added<'_> {
    fn default() -> Self {
        Self { alpha: 1.0, bias: None, residual: None, activation: None, out: None }
    }
}

/// x `[tokens, in]` times W^T `[out, in]`: `[tokens, out]`.
///
/// # Errors
/// Widths that differ.
pub fn linear(x: &Var, weight: &Var) -> Result<Var, AutogradError> {
    linear_to(x, weight, Added::default())
}

/// The same and what is `added` to it.
///
/// # Errors
/// Shapes that do not fit.
pub fn linear_to(x: &Var, weight: &Var, added: Added) -> Result<Var, AutogradError> {
    let Added { alpha, bias, residual, activation: bend, out } = added;
    let y_dtype = residual.unwrap_or(x).value().dtype();
    let operands: Vec<&Var> = [x, weight].into_iter().chain(bias).chain(residual).collect();
    // Of f16 it is always that, for within the product it would be of a sum that nobody has rounded, with a tape of one that was.
    let apart = bend.filter(|_| operands.iter().any(|operand| operand.requires_grad()) || y_dtype != Dtype::F32);
    let product = Product {
        bias: bias.map(Var::value),
        residual: residual.map(Var::value),
        activation: if apart.is_none() { bend } else { None },
        dtype: y_dtype,
        ..Product::new(x.value(), weight.value()).transpose_b().alpha(alpha).among(x.value().dtype())
    };
    let y = matmul_into(product, out.map_or(Target::New, Target::Overwrite))?;
    let y = Var::record("linear", y, &operands, |_| {
        // Keeps x only if W wants its gradient.
        let saved_x = weight.requires_grad().then(|| x.value().clone());
        let (weight, dtype) = (weight.value().clone(), x.value().dtype());
        let bias = bias.is_some().then_some(2);
        let residual = residual.is_some().then_some(2 + usize::from(bias.is_some()));
        Box::new(move |g, sink| {
            if let Some(residual) = residual {
                sink.add(residual, g.clone())?;
            }
            sink.matmul(0, Product::new(g, &weight).alpha(alpha).among(dtype))?;
            if let Some(x) = &saved_x {
                let product = Product::new(g, x).transpose_a().alpha(alpha).among(dtype);
                sink.matmul(1, Product { dtype: Dtype::F32, ..product })?;
            }
            bias.map_or(Ok(()), |bias| sink.compute(bias, |target| sum_rows(g, target)))
        })
    })?;
    apart.map_or(Ok(y.clone()), |bend| activation(bend, &y))
}
