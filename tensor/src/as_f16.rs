//! bf16 as f16, where f16 holds it: what multiplies halves on a GPU takes f16 alone.
//!
//! bf16 has 8 bits of precision over the range of f32, f16 has 11 over one of its own. So a number of bf16 from 2^-14 to 65,504 is one of
//! f16, exactly. Past that f16 has none: a matrix with such a number stays as it is. Below it f16's numbers are coarser, to the
//! nearest 2^-24, and a GPU may take them for 0, so that all of those must count as lost. Of a row w, with the lost ones l among its
//! numbers, a product with x changes by
//!
//! ```text
//! |l x| <= |l| |x|,      and |l| <= 2^-11 |w| is asked of every row,
//! ```
//!
//! which bounds it by what rounding x to f16 does to the same product, up to 2^-11 |w| |x|: whoever asks for half precision has that
//! in any case. For the gradient of x, dy W, it holds of the matrix as a whole: |dy L| <= |L|_F |dy| <= 2^-11 |W|_F |dy|. Weights near 0.02,
//! as models have them, lose 2^-13 of a row: one in 400 of them is that small.

use crate::{Dtype, Tensor, TensorError};

/// The least normal number of f16, 2^-14, and the greatest.
const NORMAL: std::ops::RangeInclusive<f32> = 6.103_515_6e-5..=65_504.0;

/// The most of a row's norm that may be lost, squared: 2^-22.
const LOST: f64 = 1.0 / (1 << 22) as f64;

/// A matrix stored as bf16, as f16; none if it is stored otherwise, or f16 does not hold it.
///
/// # Errors
/// What the device reports.
pub fn as_f16(matrix: &Tensor) -> Result<Option<Tensor>, TensorError> {
    if matrix.dtype() != Dtype::BF16 {
        return Ok(None);
    }
    let values = matrix.to_vec()?;
    if !values.chunks(matrix.width().max(1)).all(held) {
        return Ok(None);
    }
    Tensor::from_halves(matrix.device(), Dtype::F16, &Dtype::F16.encode(&values), matrix.shape()).map(Some)
}

/// True if f16 holds a row well enough.
fn held(row: &[f32]) -> bool {
    let (mut all, mut lost) = (0.0, 0.0);
    for value in row {
        let square = f64::from(*value) * f64::from(*value);
        all += square;
        if value.abs() < *NORMAL.start() {
            lost += square;
        }
    }
    // What is no number is not at most anything.
    row.iter().all(|value| value.abs() <= *NORMAL.end()) && lost <= LOST * all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    fn stored(dtype: Dtype, values: &[f32], shape: &[usize]) -> Tensor {
        Tensor::from_halves(&Device::cpu(), dtype, &dtype.encode(values), shape).expect("fits")
    }

    #[test]
    fn what_f16_holds_is_the_same_there() -> Result<(), TensorError> {
        // The ends of the normal numbers, all eight bits in use, and a row of zeros; then a number that is lost beside greater ones.
        let least = *NORMAL.start();
        let values = [65_280.0, -1.992_187_5, least, 0.0, 0.0, 0.0, 1.0, least / 4.0, -0.5];
        let matrix = as_f16(&stored(Dtype::BF16, &values, &[3, 3]))?.expect("f16 holds it");
        assert_eq!((matrix.dtype(), matrix.shape(), matrix.to_vec()?), (Dtype::F16, &[3, 3][..], values.to_vec()));
        Ok(())
    }

    #[test]
    fn what_f16_does_not_hold_stays() -> Result<(), TensorError> {
        let least = *NORMAL.start();
        // Too great; no number; a row that is lost whole, and one that loses a little more than it may, below one that loses less.
        for row in [[65_536.0, 1.0], [f32::INFINITY, 1.0], [f32::NAN, 1.0], [0.0, 1e-30], [0.125, 0.99 * least]] {
            let matrix = stored(Dtype::BF16, &[[1.0, 2.0], row].concat(), &[2, 2]);
            assert_eq!(as_f16(&matrix)?.is_some(), row == [0.125, 0.99 * least], "{row:?}");
        }
        let near = [0.123, 0.99 * least];
        assert!(as_f16(&stored(Dtype::BF16, &[near, [1.0, 2.0]].concat(), &[2, 2]))?.is_none());
        // Others are not its business.
        assert!(as_f16(&stored(Dtype::F16, &[1.0], &[1, 1]))?.is_none());
        assert!(as_f16(&Tensor::full(&Device::cpu(), &[1, 1], 1.0)?)?.is_none());
        Ok(())
    }
}
