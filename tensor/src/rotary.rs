//! Rotary position embedding: the table of angles, and the turn.

use crate::{Device, Tensor, TensorError};
use mode_kernels::rotary::{self as kernel, Params};

/// Cosines and sines `[length, width / 2]` of each position's angles, computed in f64.
#[derive(Clone)]
pub struct Rotation {
    /// Position of each window's first token.
    first: usize,
    length: usize,
    width: usize,
    cosine: Tensor,
    sine: Tensor,
}

impl Rotation {
    /// Angles position * frequencies\[i\] for positions below `length`, one frequency for each pair of a head's elements; usually
    /// theta^(-2i / width). What is turned is also made longer by `factor`, usually 1.
    ///
    /// # Errors
    /// No positions, no frequencies, or what the device reports.
    pub fn new(device: &Device, length: usize, frequencies: &[f64], factor: f64) -> Result<Self, TensorError> {
        let half = frequencies.len();
        if length == 0 || half == 0 {
            let what = "the table needs a position or more, and a frequency for each pair of a head";
            return Err(TensorError::shape("rotary", what, &[length], &[half]));
        }
        let angle = |at: usize| (at / half) as f64 * frequencies[at % half];
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f64> = (0..length * half).map(|at| factor * f(angle(at))).collect();
            Tensor::from_f64(device, &values, &[length, half])
        };
        Ok(Self { first: 0, length, width: 2 * half, cosine: table(f64::cos)?, sine: table(f64::sin)? })
    }

    /// Positions that it has, from the first token's on.
    pub fn length(&self) -> usize {
        self.length - self.first
    }

    /// The same angles for windows whose first token has position `first`, which the table may not have.
    pub fn starting_at(&self, first: usize) -> Self {
        Self { first: first.min(self.length), ..self.clone() }
    }
}

/// x `[tokens, heads * width]`, whose windows are `length` tokens each, turned by its tokens' angles; or back.
///
/// # Errors
/// A width that is no multiple of the head's, or more positions than the table has.
pub fn rotary(x: &Tensor, rotation: &Rotation, length: usize, back: bool) -> Result<Tensor, TensorError> {
    let fits = (1..=rotation.length()).contains(&length) && x.rows().is_multiple_of(length);
    if !fits || !x.width().is_multiple_of(rotation.width) {
        let table = [rotation.length(), rotation.width];
        return Err(TensorError::shape("rotary", "positions or heads do not fit the table", x.shape(), &table));
    }
    let y = x.empty_like()?;
    let params = Params {
        tokens: x.rows() as u32,
        length: length as u32,
        heads: (x.width() / rotation.width) as u32,
        width: rotation.width as u32,
        sign: if back { -1.0 } else { 1.0 },
        first: rotation.first as u32,
        dtype: x.dtype().code(),
    };
    kernel::rotary(x.device(), params, x.view(), rotation.cosine.view(), rotation.sine.view(), y.view())?;
    Ok(y)
}
