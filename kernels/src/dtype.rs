//! How a buffer's elements are stored: as f32, or, for weights that are only read, as f16 or bf16, two to a 32-bit word.
//! Arithmetic is f32 everywhere: a half is widened when it is read, which is exact, but that a GPU may take f16's subnormals
//! (below 6.1e-5) for zero.

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

/// The type of a buffer's elements.
///
/// ```
/// use mode_kernels::Dtype;
///
/// let mut back = [0.0; 2];
/// Dtype::BF16.decode(&Dtype::BF16.encode(&[1.0, 3.14159]), &mut back);
/// assert_eq!(back, [1.0, 3.140625]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floating point; also ids, by their bits.
    F32,
    /// IEEE's half: 11 bits of precision, to 65,504.
    F16,
    /// The upper half of an f32: 8 bits of precision, its whole range.
    BF16,
}

impl Dtype {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::BF16];

    /// Its number in launches: `DTYPE` in `shaders/shared/weight.wgsl`.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The type of a number.
    pub(crate) fn from_code(code: u32) -> Self {
        Self::ALL.into_iter().find(|dtype| dtype.code() == code).unwrap_or(Self::F32)
    }

    /// As messages and files know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }

    /// 32-bit words that hold `len` elements.
    pub fn words(self, len: usize) -> usize {
        if self == Self::F32 { len } else { len.div_ceil(2) }
    }

    /// Widens halves. `Self::F32` has none.
    pub fn decode(self, halves: &[u16], values: &mut [f32]) {
        match self {
            Self::F16 => halves.reinterpret_cast::<f16>().convert_to_f32_slice(values),
            Self::F32 | Self::BF16 => halves.reinterpret_cast::<bf16>().convert_to_f32_slice(values),
        }
    }

    /// The nearest halves of `values`. `Self::F32` has none.
    pub fn encode(self, values: &[f32]) -> Vec<u16> {
        let mut halves = vec![0; values.len()];
        match self {
            Self::F16 => halves.reinterpret_cast_mut::<f16>().convert_from_f32_slice(values),
            Self::F32 | Self::BF16 => halves.reinterpret_cast_mut::<bf16>().convert_from_f32_slice(values),
        }
        halves
    }

    /// What is left of `values` once they have been stored so.
    pub(crate) fn round(self, values: &[f32]) -> Vec<f32> {
        let mut rounded = values.to_vec();
        if self != Self::F32 {
            self.decode(&self.encode(values), &mut rounded);
        }
        rounded
    }
}

/// The halves in a buffer's words; the low half of each comes first.
pub(crate) fn as_halves(words: &[f32]) -> &[u16] {
    bytemuck::cast_slice(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_by_hand() {
        let mut back = [0.0; 3];
        assert_eq!(Dtype::F16.encode(&[1.0, -2.0, 70_000.0]), [0x3c00, 0xc000, 0x7c00]);
        Dtype::F16.decode(&[0x3c00, 0xc000, 0x3555], &mut back);
        assert_eq!(back, [1.0, -2.0, 0.333_251_95]);
        assert_eq!(Dtype::BF16.encode(&[1.0, -2.0, 1.007_812_5]), [0x3f80, 0xc000, 0x3f81]);
        Dtype::BF16.decode(&[0x3f80, 0xc000, 0x7149], &mut back);
        assert_eq!(back, [1.0, -2.0, f32::from_bits(0x7149_0000)]);
        assert_eq!((Dtype::F32.words(3), Dtype::BF16.words(3)), (3, 2));
    }
}
