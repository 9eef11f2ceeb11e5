//! The loss: cross-entropy of the next token, with next-token accuracy.

use crate::{Ids, Tensor, TensorError};
use mode_kernels::{cross_entropy as forward, cross_entropy_backward as backward};

/// What the forward gives.
pub struct CrossEntropy {
    /// Negative log-likelihood of each target `[rows]`, in nats.
    pub nll: Tensor,
    /// 1 where the target is the likeliest token `[rows]`.
    pub hit: Tensor,
    /// Log sum exp of each row `[rows]`.
    pub lse: Tensor,
    /// Mean nll and mean hit `[2]`.
    pub mean: Tensor,
}

/// Loss of logits `[rows, vocabulary]` against targets `[rows]`.
///
/// # Errors
/// Another number of targets than rows, or a target out of range.
pub fn cross_entropy(logits: &Tensor, targets: &Ids) -> Result<CrossEntropy, TensorError> {
    check(logits, targets)?;
    let device = logits.device();
    let rows = || Tensor::empty(device, &[targets.len()]);
    let loss = CrossEntropy { nll: rows()?, hit: rows()?, lse: rows()?, mean: Tensor::empty(device, &[2])? };
    let outputs = [loss.nll.view(), loss.hit.view(), loss.lse.view(), loss.mean.view()];
    forward::cross_entropy(device, logits.view(), targets.view(), outputs)?;
    Ok(loss)
}

/// Gradient of the logits, given that of the means `[2]`.
///
/// # Errors
/// As [`cross_entropy`].
pub fn cross_entropy_backward(
    logits: &Tensor,
    targets: &Ids,
    lse: &Tensor,
    dmean: &Tensor,
) -> Result<Tensor, TensorError> {
    check(logits, targets)?;
    let d = Tensor::empty(logits.device(), logits.shape())?;
    let (logits, device) = (logits.view(), logits.device());
    backward::cross_entropy_backward(device, logits, targets.view(), lse.view(), dmean.view(), d.view())?;
    Ok(d)
}

fn check(logits: &Tensor, targets: &Ids) -> Result<(), TensorError> {
    targets.check_range(logits.width())?;
    if logits.rows() == targets.len() {
        return Ok(());
    }
    Err(TensorError::shape("cross_entropy", "one target a row of logits is wanted", logits.shape(), &[targets.len()]))
}
