//! LayerNorm: y = (x - m) r weight + bias. Formulas of dx and dw stand with RMSNorm's kernels; db is the sum over dy's rows.

use crate::{AutogradError, Var};
use mode_tensor::{Dtype, rms_norm_dw, rms_norm_dx, sum_rows};

/// LayerNorm over the last dim of x `[tokens, width]` with weight and bias `[width]`; the result is stored as `dtype`.
///
/// # Errors
/// A weight or a bias of another width.
pub fn layer_norm(x: &Var, weight: &Var, bias: &Var, epsilon: f32, dtype: Dtype) -> Result<Var, AutogradError> {
    let (y, scales) = mode_tensor::layer_norm(x.value(), weight.value(), bias.value(), epsilon, dtype)?;
    Var::record("layer_norm", y, &[x, weight, bias], |_| {
        let (x, weight) = (x.value().clone(), weight.value().clone());
        Box::new(move |g, sink| {
            if sink.wants(0) {
                sink.add(0, rms_norm_dx(&x, &weight, 0.0, &scales, g)?)?;
            }
            sink.compute(1, |target| rms_norm_dw(&x, &scales, g, target))?;
            sink.compute(2, |target| sum_rows(g, target))
        })
    })
}
