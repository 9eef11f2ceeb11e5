//! How a buffer's elements are stored: as f32, or as halves, two to a 32-bit word: weights that are only read as f16 or bf16, and
//! in mixed precision activations as f16. Arithmetic is f32 everywhere: a half is widened when it is read, which is exact, but
//! that a GPU may take f16's subnormals (below 6.1e-5) for zero, and what is stored as f16 is rounded when it is written: to the
//! nearest, or on a GPU perhaps towards zero.

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

/// The least normal number of f16, 2^-14.
pub(crate) const LEAST_NORMAL: f32 = 1.0 / 16_384.0;

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

    /// How an activation of this number is stored, which may be halves of f16 alone: what was meant for another is refused.
    pub(crate) fn activation(code: u32) -> Self {
        if code == Self::F16.code() { Self::F16 } else { Self::F32 }
    }

    /// An element's type in shaders that declare `enable f16;` for it, and that of four of them.
    pub(crate) fn wgsl(self) -> [&'static str; 2] {
        if self == Self::F16 { ["f16", "vec4<f16>"] } else { ["f32", "vec4f"] }
    }

    /// Bytes of an element.
    pub(crate) fn bytes(self) -> f64 {
        if self == Self::F32 { 4.0 } else { 2.0 }
    }

    /// How far what is stored of `value` may lie from it. In main memory that is half of what lies between two neighbours, for the
    /// nearest is stored; a GPU may store the next towards zero, and zero for what is no normal number.
    pub(crate) fn rounding(self, value: f64, on_gpu: bool) -> f64 {
        // Neighbours of f16 lie 2^-10 of themselves apart at the most, and those that are no normal numbers 2^-24; of bf16 2^-7.
        match self {
            Self::F32 => 0.0,
            Self::BF16 => value.abs() / if on_gpu { 128.0 } else { 256.0 },
            Self::F16 if on_gpu => (value.abs() / 1024.0).max(f64::from(LEAST_NORMAL)),
            Self::F16 => (value.abs() / 2048.0).max(f64::from(LEAST_NORMAL) / 2048.0),
        }
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
        self.encode_into(values, &mut halves);
        halves
    }

    /// The same, put into as many `halves`.
    pub(crate) fn encode_into(self, values: &[f32], halves: &mut [u16]) {
        match self {
            Self::F16 => halves.reinterpret_cast_mut::<f16>().convert_from_f32_slice(values),
            Self::F32 | Self::BF16 => halves.reinterpret_cast_mut::<bf16>().convert_from_f32_slice(values),
        }
    }

    /// What is left of `values` once they have been stored so.
    pub(crate) fn round(self, values: &[f32]) -> Vec<f32> {
        let mut rounded = values.to_vec();
        if self != Self::F32 {
            self.decode(&self.encode(values), &mut rounded);
        }
        rounded
    }

    /// The same of one number in f64.
    pub(crate) fn rounded(self, value: f64) -> f64 {
        match self {
            Self::F32 => value,
            Self::F16 => f16::from_f64(value).to_f64(),
            Self::BF16 => bf16::from_f64(value).to_f64(),
        }
    }
}

/// The halves in a buffer's words, to be written.
pub(crate) fn as_halves_mut(words: &mut [f32]) -> &mut [u16] {
    bytemuck::cast_slice_mut(words)
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
