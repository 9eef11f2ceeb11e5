//! The head and the loss in one, where the forward pass turns round: mean cross-entropy of the next token from the stream, some
//! tokens after the other, in memory for the logits of those alone.
//!
//! hidden h `[tokens, width]`, weight W `[vocabulary, width]`, targets `[tokens]`. Logits z = h W^T, or z = cap tanh(h W^T / cap) with a cap;
//! loss L = mean over tokens t of (log sum_v exp z_tv - z_t,target). With s, the factor of the loss whose gradient is wanted,
//! dz_tv = s / tokens (softmax(z_t)_v - \[v = target_t\]), times 1 - (z_tv / cap)^2 with a cap, then dh = dz W and dW = dz^T h.
//!
//! A token's row of dz needs its own row of z and no other. So of each chunk of tokens (Hsu et al., arXiv 2410.10989, section 3.2) z is
//! computed, becomes dz in its place, and is used up: nothing is kept for a backward pass and nothing is computed again. (A chunk of
//! the vocabulary would have to wait for the sum over the others, and its logits be computed twice.) That is why s is given
//! beforehand and why a loss is no [`Var`]: it is asked for its value alone, [`Loss::evaluate`], or for both, [`Loss::backward`].

use crate::{AutogradError, Gradients, Sink, Tape, Var};
use mode_tensor::{CrossEntropy, Ids, Product, Target, Tensor, matmul_into};

/// Bytes of a chunk's logits.
const CHUNK: usize = 64 << 20;

/// Tokens of a chunk at the least, however large the vocabulary is: dW, which each chunk reads and writes, is as large as W.
const LEAST: usize = 256;

/// Chunks are whole multiples of so many tokens, which tiles and alignment divide.
const STEP: usize = 128;

/// A loss that is yet to be computed.
pub struct Loss {
    hidden: Var,
    weight: Var,
    targets: Ids,
    cap: Option<f32>,
    /// Tokens of a chunk.
    chunk: usize,
}

/// The loss of hidden `[tokens, width]` under the head weight `[vocabulary, width]`, whose logits `cap` bounds if there is one.
/// Operands that do not fit are errors once it is computed.
pub fn linear_cross_entropy(hidden: &Var, weight: &Var, targets: &Ids, cap: Option<f32>) -> Loss {
    let chunk = loss_rows(hidden.value().rows(), weight.value().rows());
    Loss { hidden: hidden.clone(), weight: weight.clone(), targets: targets.clone(), cap, chunk }
}

impl Loss {
    /// What it is, without gradients.
    ///
    /// # Errors
    /// Widths that differ, another number of targets than tokens, or a target out of range.
    pub fn evaluate(&self) -> Result<CrossEntropy, AutogradError> {
        let found = CrossEntropy::empty(self.hidden.value().device(), self.hidden.value().rows())?;
        self.chunks(|first, _, logits| Ok(found.add_rows(logits, &self.targets, first, self.cap, None)?))?;
        Ok(found)
    }

    /// What it is, and the gradients of the mean nll.
    ///
    /// # Errors
    /// As [`Loss::evaluate`] and [`Tape::backward`].
    pub fn backward(self, tape: &Tape) -> Result<(CrossEntropy, Gradients), AutogradError> {
        self.backward_onto(tape, 1.0, None)
    }

    /// What it is, and the gradients of `share` times the mean nll, added to those of the parts of a batch `before`.
    ///
    /// # Errors
    /// As [`Loss::evaluate`] and [`Tape::backward`].
    pub fn backward_onto(
        self,
        tape: &Tape,
        share: f32,
        before: Option<Gradients>,
    ) -> Result<(CrossEntropy, Gradients), AutogradError> {
        let device = self.hidden.value().device();
        let found = CrossEntropy::empty(device, self.hidden.value().rows())?;
        let dloss = Tensor::from_slice(device, &[share], &[1])?;
        let operands = vec![self.hidden.clone(), self.weight.clone()];
        let gradients = tape.backward_from(operands, before, |sink| self.gradients(&found, &dloss, sink))?;
        Ok((found, gradients))
    }

    /// Sends the gradients of both operands, which are let go before the walk goes on from there.
    fn gradients(self, found: &CrossEntropy, dloss: &Tensor, sink: &mut Sink) -> Result<(), AutogradError> {
        let (h, w) = (self.hidden.value(), self.weight.value());
        let dh = if sink.wants(0) { Some(Tensor::empty(h.device(), h.shape())?) } else { None };
        self.chunks(|first, h, logits| {
            found.add_rows(logits, &self.targets, first, self.cap, Some(dloss))?;
            if let Some(dh) = &dh {
                let part = dh.rows_from(first, h.rows())?;
                matmul_into(Product::new(logits, w), Target::Overwrite(&part))?;
            }
            sink.matmul(1, Product::new(logits, h).transpose_a())
        })?;
        dh.map_or(Ok(()), |dh| sink.add(0, dh))
    }

    /// Gives `each` chunk's first token, its rows of h and its logits before they are bent, in the same memory each time.
    fn chunks(
        &self,
        mut each: impl FnMut(usize, &Tensor, &Tensor) -> Result<(), AutogradError>,
    ) -> Result<(), AutogradError> {
        let (h, w) = (self.hidden.value(), self.weight.value());
        let (tokens, vocabulary) = (h.rows(), w.rows());
        let memory = Tensor::empty(h.device(), &[self.chunk * vocabulary])?;
        for first in (0..tokens).step_by(self.chunk) {
            let count = self.chunk.min(tokens - first);
            let (h, logits) = (h.rows_from(first, count)?, memory.window(0, &[count, vocabulary])?);
            matmul_into(Product::new(&h, w).transpose_b(), Target::Overwrite(&logits))?;
            each(first, &h, &logits)?;
        }
        Ok(())
    }
}

/// Of so many tokens, how many have their logits, of a vocabulary or of a device's part of one, in memory at once.
pub fn loss_rows(tokens: usize, vocabulary: usize) -> usize {
    even(tokens, most_tokens(vocabulary))
}

/// Tokens of a chunk at the most.
fn most_tokens(vocabulary: usize) -> usize {
    (CHUNK / size_of::<f32>() / vocabulary.max(1) / STEP * STEP).max(LEAST)
}

/// Tokens of a chunk, of which the last has about as many as the others.
fn even(tokens: usize, most: usize) -> usize {
    if tokens <= most { tokens.max(1) } else { tokens.div_ceil(tokens.div_ceil(most)).next_multiple_of(STEP) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Param;
    use mode_tensor::Device;

    #[test]
    fn chunks_are_bounded_and_even() {
        let sizes = [(100, 512), (1_024, 512), (2_048, 49_152), (2_000, 32_000), (700, 262_144)];
        let chunks = sizes.map(|(tokens, vocabulary)| even(tokens, most_tokens(vocabulary)));
        assert_eq!(chunks, [100, 1_024, 256, 512, 256]);
    }

    /// nll, means, dh and dW of 300 tokens in chunks of `chunk`, twice onto the same gradients.
    fn found(device: &Device, chunk: usize) -> Result<Vec<Vec<f64>>, AutogradError> {
        let param = |name: &str, seed: usize, shape: &[usize]| {
            // Numbers between -2 and 2 that do not come again.
            let values = (0..shape[0] * shape[1]).map(|i| ((i + seed) * 7_919 % 1_009) as f32 / 252.0 - 2.0);
            let param = Param::new(name, Tensor::from_slice(device, &values.collect::<Vec<_>>(), shape)?);
            param.set_trained(true);
            Ok::<_, AutogradError>(param)
        };
        let (hidden, weight) = (param("h", 1, &[300, 5])?, param("w", 2, &[37, 5])?);
        let targets = Ids::new(device, &(0..300).map(|token| token * 31 % 37).collect::<Vec<_>>())?;
        let mut all = None;
        for share in [0.25, 0.5] {
            let tape = Tape::new();
            let loss = linear_cross_entropy(&tape.param(&hidden), &tape.param(&weight), &targets, Some(3.0));
            let loss = Loss { chunk, ..loss };
            let value = loss.evaluate()?;
            let (found, gradients) = loss.backward_onto(&tape, share, all.take().map(|(_, gradients)| gradients))?;
            assert_eq!((value.nll.to_f64()?, value.mean.to_f64()?), (found.nll.to_f64()?, found.mean.to_f64()?));
            all = Some((found, gradients));
        }
        let Some((found, gradients)) = all else { return Ok(Vec::new()) };
        let (dh, dw) = (gradients.of(&hidden)?, gradients.of(&weight)?);
        [&found.nll, &found.mean, dh, dw].into_iter().map(|tensor| Ok(tensor.to_f64()?)).collect()
    }

    #[test]
    fn chunks_change_nothing() -> Result<(), AutogradError> {
        let whole = found(&Device::reference(), 300)?;
        for (device, tolerance) in [(Device::reference(), 1e-12), (Device::cpu(), 1e-5)] {
            for chunk in [128, 256, 300] {
                for (got, want) in found(&device, chunk)?.into_iter().flatten().zip(whole.iter().flatten()) {
                    assert!((got - want).abs() <= tolerance * (1.0 + want.abs()), "{chunk}: {got} and {want}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn operands_that_do_not_fit_are_errors() -> Result<(), AutogradError> {
        let device = Device::cpu();
        let tensor = |shape: &[usize]| Tensor::full(&device, shape, 1.0).map(Var::constant);
        let (hidden, weight, narrow) = (tensor(&[3, 4])?, tensor(&[5, 4])?, tensor(&[5, 3])?);
        let wrong = |hidden: &Var, weight: &Var, targets: &[u32]| -> Result<String, AutogradError> {
            let loss = linear_cross_entropy(hidden, weight, &Ids::new(&device, targets)?, None).evaluate();
            Ok(loss.err().map(|error| error.to_string()).unwrap_or_default())
        };
        assert!(wrong(&hidden, &narrow, &[0, 1, 2])?.contains("inner dims of the product differ: [3, 4] and [5, 3]"));
        assert!(wrong(&hidden, &weight, &[0, 1])?.contains("one target a row of logits is wanted: [3] and [2]"));
        assert!(wrong(&hidden, &weight, &[0, 1, 2, 3])?.contains("one target a row of logits is wanted: [3] and [4]"));
        assert!(wrong(&hidden, &weight, &[0, 1, 5])?.contains("token 5 is out of range"));
        let loss = linear_cross_entropy(&hidden, &weight, &Ids::new(&device, &[0, 1, 2])?, None);
        assert!(matches!(loss.backward(&Tape::new()), Err(AutogradError::NothingTrained)));
        Ok(())
    }
}
