//! The loss: cross-entropy of the next token, with next-token accuracy, some tokens after the other.

use crate::{Device, Ids, Tensor, TensorError};
use mode_kernels::cross_entropy::{self as kernel, Params};

/// What the loss of some tokens is.
pub struct CrossEntropy {
    /// Negative log-likelihood of each target `[tokens]`, in nats.
    pub nll: Tensor,
    /// 1 where the target is the likeliest token `[tokens]`.
    pub hit: Tensor,
    /// Mean nll and mean hit `[2]`.
    pub mean: Tensor,
}

impl CrossEntropy {
    /// Memory for what [`CrossEntropy::add_rows`] finds, contents undefined until it has been given all of `tokens`.
    ///
    /// # Errors
    /// A device without room.
    pub fn empty(device: &Device, tokens: usize) -> Result<Self, TensorError> {
        let room = |len| Tensor::empty(device, &[len]);
        Ok(Self { nll: room(tokens)?, hit: room(tokens)?, mean: room(2)? })
    }

    /// The loss of the tokens from `first` on, from their logits `[rows, vocabulary]` and all targets `[tokens]`; after the last ones
    /// the means. Logits become what `cap` bends them to, if there is one (`cap tanh(logits / cap)`), and where `dloss` `[1]`, the gradient
    /// of the mean nll, is given, their own gradient.
    ///
    /// # Errors
    /// More rows than there are tokens from `first` on, or a target out of range.
    pub fn add_rows(
        &self,
        logits: &Tensor,
        targets: &Ids,
        first: usize,
        cap: Option<f32>,
        dloss: Option<&Tensor>,
    ) -> Result<(), TensorError> {
        let tokens = self.nll.len();
        if targets.len() != tokens || first + logits.rows() > tokens {
            let what = "one target a row of logits is wanted";
            return Err(TensorError::shape("cross_entropy", what, &[first + logits.rows()], &[targets.len()]));
        }
        targets.check_range(logits.width())?;
        let device = logits.device();
        let params = Params {
            rows: logits.rows() as u32,
            vocabulary: logits.width() as u32,
            first: first as u32,
            tokens: tokens as u32,
            cap: cap.unwrap_or(0.0),
            gradient: dloss.is_some().into(),
        };
        let outputs = [logits.view(), self.nll.view(), self.hit.view(), self.mean.view()];
        // Without a gradient nothing reads dloss.
        let inputs = [targets.view(), dloss.map_or(targets.view(), Tensor::view)];
        Ok(kernel::cross_entropy(device, params, inputs, outputs)?)
    }

    /// Mean nll in nats, and mean hit. Waits for the device.
    ///
    /// # Errors
    /// What the device reports.
    pub fn read(&self) -> Result<(f32, f32), TensorError> {
        let mean = self.mean.to_vec()?;
        Ok((mean.first().copied().unwrap_or(f32::NAN), mean.get(1).copied().unwrap_or(f32::NAN)))
    }
}
