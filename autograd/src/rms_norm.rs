//! RMSNorm: y = x r (offset + weight). Formulas of dx and dw stand with their kernels.

use crate::{AutogradError, Var};
use mode_tensor::{Dtype, rms_norm_dw, rms_norm_dx};

/// RMSNorm over the last dim of x `[tokens, width]` with weight `[width]`, to which `offset` is added; the result is stored as
/// `dtype`.
///
/// # Errors
/// A weight of another width.
pub fn rms_norm(x: &Var, weight: &Var, epsilon: f32, offset: f32, dtype: Dtype) -> Result<Var, AutogradError> {
    let (y, scales) = mode_tensor::rms_norm(x.value(), weight.value(), [epsilon, offset], dtype)?;
    Var::record("rms_norm", y, &[x, weight], |_| {
        let (x, weight) = (x.value().clone(), weight.value().clone());
        Box::new(move |g, sink| {
            if sink.wants(0) {
                sink.add(0, rms_norm_dx(&x, &weight, offset, &scales, g)?)?;
            }
            sink.compute(1, |target| rms_norm_dw(&x, &scales, g, target))
        })
    })
}
