//! Chunks of memory in which an optimizer keeps its parameters, their gradients and their moments, each side by side, so that
//! one launch serves many parameters.

use crate::{AutogradError, Gradients, Param};
use mode_tensor::{Device, Tensor, copy};

/// Elements of a chunk at the most, unless one parameter alone has more: 128 MiB, which every GPU binds at once.
const MOST: usize = 1 << 25;

/// Parameters of one kind, one after the other. The gaps between them hold zeros, which a step leaves zeros.
pub(crate) struct Chunk {
    /// True for matrices, false for vectors.
    pub(crate) matrices: bool,
    /// Each `[len]`.
    pub(crate) values: Tensor,
    gradients: Tensor,
    pub(crate) m: Tensor,
    pub(crate) v: Tensor,
    pub(crate) residents: Vec<Resident>,
}

/// A parameter and its windows.
pub(crate) struct Resident {
    pub(crate) param: Param,
    /// Where its windows begin.
    first: usize,
    value: Tensor,
    gradient: Tensor,
    pub(crate) m: Tensor,
    pub(crate) v: Tensor,
}

/// Moves `params` into chunks on their device, in order, matrices apart from vectors. Halves become f32.
pub(crate) fn chunks(params: &[Param], device: &Device) -> Result<Vec<Chunk>, AutogradError> {
    let mut chunks: Vec<Chunk> = Vec::new();
    for matrices in [true, false] {
        let mut group: Vec<&Param> = Vec::new();
        let mut len = 0;
        for param in params.iter().filter(|param| (param.value().shape().len() > 1) == matrices) {
            let size = padded(param);
            if !group.is_empty() && len + size > MOST {
                chunks.push(Chunk::new(&std::mem::take(&mut group), matrices, device)?);
                len = 0;
            }
            group.push(param);
            len += size;
        }
        if !group.is_empty() {
            chunks.push(Chunk::new(&group, matrices, device)?);
        }
    }
    Ok(chunks)
}

/// Elements that a parameter takes up.
fn padded(param: &Param) -> usize {
    param.value().len().next_multiple_of(Device::ALIGNMENT)
}

impl Chunk {
    fn new(params: &[&Param], matrices: bool, device: &Device) -> Result<Self, AutogradError> {
        let len = params.iter().map(|param| padded(param)).sum();
        let zeros = || Tensor::full(device, &[len], 0.0);
        let (values, gradients, m, v) = (zeros()?, zeros()?, zeros()?, zeros()?);
        let mut residents = Vec::new();
        let mut first = 0;
        for &param in params {
            let before = param.value();
            let window = |of: &Tensor| of.window(first, before.shape());
            let (value, gradient, m, v) = (window(&values)?, window(&gradients)?, window(&m)?, window(&v)?);
            copy(&before, &value)?;
            param.move_to(value.clone(), gradient.clone());
            residents.push(Resident { param: param.clone(), first, value, gradient, m, v });
            first += padded(param);
        }
        // Where the parameters were before is of no use to anyone.
        device.trim();
        Ok(Self { matrices, values, gradients, m, v, residents })
    }

    /// The gradients `[len]`: the chunk's own memory if they lie there, else a copy, for another pass's may lie there and be needed
    /// yet.
    ///
    /// # Errors
    /// A parameter that has no gradient, or has been taken over by another optimizer.
    pub(crate) fn gather(&self, gradients: &Gradients) -> Result<Tensor, AutogradError> {
        let found = self.residents.iter().map(|Resident { param, value, .. }| {
            let gradient = gradients.of(param)?;
            let ours = param.value().is_same_memory(value);
            if ours { Ok(gradient) } else { Err(AutogradError::TakenOver { name: param.name().into() }) }
        });
        let found = found.collect::<Result<Vec<_>, _>>()?;
        if found.iter().zip(&self.residents).all(|(gradient, resident)| gradient.is_same_memory(&resident.gradient)) {
            return Ok(self.gradients.clone());
        }
        let all = Tensor::full(self.gradients.device(), self.gradients.shape(), 0.0)?;
        for (gradient, resident) in found.into_iter().zip(&self.residents) {
            copy(gradient, &all.window(resident.first, gradient.shape())?)?;
        }
        Ok(all)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.param.leave_place(&self.gradient);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdamW, AdamWSettings, Tape, scale};
    use mode_tensor::Dtype;

    fn param(values: &[f32]) -> Param {
        let value = Tensor::from_slice(&Device::cpu(), values, &[values.len()]).expect("fits");
        let param = Param::new("p", value);
        param.set_trained(true);
        param
    }

    /// Gradients of sum(factor * param).
    fn gradients(param: &Param, factor: f32) -> Gradients {
        let tape = Tape::new();
        let y = scale(&tape.param(param), factor).expect("scales");
        let ones = Tensor::full(y.value().device(), y.value().shape(), 1.0).expect("memory");
        tape.backward(&y, ones).expect("a gradient")
    }

    #[test]
    fn gradients_that_live_side_by_side_do_not_share_memory() -> Result<(), AutogradError> {
        let param = param(&[1.0, 2.0]);
        let mut optimizer = AdamW::new([&param], AdamWSettings { clip: 0.0, ..AdamWSettings::default() })?;
        let (one, two) = (gradients(&param, 1.0), gradients(&param, -2.0));
        assert_eq!(one.of(&param)?.to_vec()?, [1.0, 1.0]);
        assert_eq!(two.of(&param)?.to_vec()?, [-2.0, -2.0]);
        // The second is not in the optimizer's memory, where the first is.
        optimizer.step(&two, 0.0)?;
        assert!((optimizer.gradient_norm()? - 8f32.sqrt()).abs() < 1e-6);
        assert_eq!(one.of(&param)?.to_vec()?, [1.0, 1.0], "the first's are what they were");
        optimizer.step(&one, 0.0)?;
        assert!((optimizer.gradient_norm()? - 2f32.sqrt()).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn two_optimizers_of_one_parameter_are_told_apart() -> Result<(), AutogradError> {
        let param = param(&[1.0]);
        let mut first = AdamW::new([&param], AdamWSettings::default())?;
        let mut second = AdamW::new([&param], AdamWSettings::default())?;
        let error = first.step(&gradients(&param, 1.0), 0.1).expect_err("taken over").to_string();
        assert!(error.contains("another one has taken over parameter 'p'"), "{error}");
        drop(first);
        second.step(&gradients(&param, 1.0), 0.1)?;
        assert!(param.value().to_vec()?[0] < 1.0, "the parameter has moved");
        Ok(())
    }

    #[test]
    fn halves_are_widened_and_numbers_are_kept() -> Result<(), AutogradError> {
        let device = Device::cpu();
        let halves = Dtype::BF16.encode(&[1.5, -2.0, 3.0, 0.25]);
        let matrix = Param::new("m", Tensor::from_halves(&device, Dtype::BF16, &halves, &[2, 2])?);
        matrix.set_trained(true);
        let vector = param(&[7.0; 70]);
        let optimizer = AdamW::new([&vector, &matrix], AdamWSettings::default())?;
        assert_eq!(optimizer.states().map(|(param, ..)| param.name().to_string()).collect::<Vec<_>>(), ["m", "p"]);
        assert_eq!((matrix.value().dtype(), matrix.value().to_vec()?), (Dtype::F32, vec![1.5, -2.0, 3.0, 0.25]));
        assert_eq!((vector.value().shape(), vector.value().to_vec()?), (&[70][..], vec![7.0; 70]));
        Ok(())
    }

    #[test]
    fn a_chunk_holds_no_more_than_one_binding() -> Result<(), AutogradError> {
        let device = Device::dry();
        let matrix = |rows| Tensor::empty(&device, &[rows, 1024]).map(|value| Param::new("m", value));
        let params = [matrix(40_000)?, matrix(16_000)?, matrix(16_000)?, matrix(1_000)?];
        let chunks = chunks(&params, &device)?;
        let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.values.len() / 1024).collect();
        assert_eq!(sizes, [40_000, 32_000, 1_000]);
        Ok(())
    }
}
