//! The tensor: a shape over a view of a device's buffer.

use crate::{Device, TensorError};
use mode_kernels::{Dtype, View};

/// A contiguous row-major array on a device, of f32, or of halves: weights that are only read, and in mixed precision activations
/// of f16. Clones share memory; only optimizers and [`Target`] write in place.
///
/// ```
/// use mode_tensor::{Device, Tensor};
///
/// let x = Tensor::from_slice(&Device::cpu(), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
/// assert_eq!((x.rows(), x.width()), (2, 3));
/// assert_eq!(x.reshape(&[3, 2])?.to_vec()?, x.to_vec()?);
/// assert!(x.reshape(&[4]).is_err());
/// # Ok::<(), mode_tensor::TensorError>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    shape: Vec<usize>,
    view: View,
}

/// Where an operation puts its result.
pub enum Target<'a> {
    /// Fresh memory.
    New,
    /// This tensor, whatever it holds.
    Overwrite(&'a Tensor),
    /// Added to the contents of this tensor.
    Add(&'a Tensor),
}

impl Target<'_> {
    /// The memory to write to, of `shape` and stored as `dtype` if it is fresh, and whether to add to what it holds.
    ///
    /// # Errors
    /// What the device reports.
    pub(crate) fn place(self, device: &Device, dtype: Dtype, shape: &[usize]) -> Result<(Tensor, bool), TensorError> {
        Ok(match self {
            Self::New => (Tensor::empty_as(device, dtype, shape)?, false),
            Self::Overwrite(place) => (place.clone(), false),
            Self::Add(sum) => (sum.clone(), true),
        })
    }

    /// The memory to add to: zeros of `shape`, stored as `dtype`, unless it holds what came before.
    ///
    /// # Errors
    /// What the device reports.
    pub fn to_add_to(self, device: &Device, dtype: Dtype, shape: &[usize]) -> Result<Tensor, TensorError> {
        match self {
            Self::New => {
                let zeros = Tensor::empty_as(device, dtype, shape)?;
                crate::fill(&zeros, 0.0)?;
                Ok(zeros)
            }
            Self::Overwrite(place) => {
                crate::fill(place, 0.0)?;
                Ok(place.clone())
            }
            Self::Add(sum) => Ok(sum.clone()),
        }
    }
}

impl Tensor {
    /// Memory for a tensor, contents undefined.
    ///
    /// # Errors
    /// A device without room.
    pub fn empty(device: &Device, shape: &[usize]) -> Result<Self, TensorError> {
        Self::empty_as(device, Dtype::F32, shape)
    }

    /// Memory for a tensor stored as `dtype`, contents undefined.
    ///
    /// # Errors
    /// A device without room.
    pub fn empty_as(device: &Device, dtype: Dtype, shape: &[usize]) -> Result<Self, TensorError> {
        let view = View::whole(device.alloc_as(dtype, elements(shape))?);
        Ok(Self { shape: shape.into(), view })
    }

    /// Memory for a tensor of this one's shape, stored like it, contents undefined.
    ///
    /// # Errors
    /// A device without room.
    pub fn empty_like(&self) -> Result<Self, TensorError> {
        Self::empty_as(self.device(), self.dtype(), &self.shape)
    }

    /// A tensor of `value`.
    ///
    /// # Errors
    /// A device without room.
    pub fn full(device: &Device, shape: &[usize], value: f32) -> Result<Self, TensorError> {
        let tensor = Self::empty(device, shape)?;
        crate::fill(&tensor, value)?;
        Ok(tensor)
    }

    /// A tensor of `values` in row-major order.
    ///
    /// # Errors
    /// Another number of values than the shape has.
    pub fn from_slice(device: &Device, values: &[f32], shape: &[usize]) -> Result<Self, TensorError> {
        let tensor = Self::empty(device, shape)?;
        tensor.write(values)?;
        Ok(tensor)
    }

    /// A weight of halves, as they are: what [`crate::matmul`] takes for its b and [`crate::embedding()`] for its table.
    ///
    /// # Errors
    /// Another number of halves than the shape has.
    pub fn from_halves(device: &Device, dtype: Dtype, halves: &[u16], shape: &[usize]) -> Result<Self, TensorError> {
        let tensor = Self::empty_as(device, dtype, shape)?;
        device.write_halves(&tensor.view, halves)?;
        Ok(tensor)
    }

    /// A tensor of doubles; only the reference device keeps more than f32 holds.
    ///
    /// # Errors
    /// Another number of values than the shape has.
    pub fn from_f64(device: &Device, values: &[f64], shape: &[usize]) -> Result<Self, TensorError> {
        let tensor = Self::empty(device, shape)?;
        device.write_f64(&tensor.view, values)?;
        Ok(tensor)
    }

    /// `count` tensors of one shape in one buffer, each at the same distance from the one before: what
    /// [`crate::gate_merge`] takes without a copy.
    ///
    /// # Errors
    /// A device without room.
    pub fn slots(device: &Device, count: usize, shape: &[usize]) -> Result<Vec<Self>, TensorError> {
        let len = elements(shape);
        let stride = len.checked_next_multiple_of(Device::ALIGNMENT).unwrap_or(usize::MAX);
        let buffer = device.alloc(count.saturating_mul(stride))?;
        let slot = |i| Self { shape: shape.into(), view: View { buffer: buffer.clone(), offset: i * stride, len } };
        Ok((0..count).map(slot).collect())
    }

    /// Replaces the contents, in place, rounded to what it stores.
    ///
    /// # Errors
    /// Another number of values than the tensor has.
    pub fn write(&self, values: &[f32]) -> Result<(), TensorError> {
        Ok(self.device().write(&self.view, values)?)
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How its elements are stored.
    pub fn dtype(&self) -> Dtype {
        self.view.dtype()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.view.len
    }

    /// True if it has no elements.
    pub fn is_empty(&self) -> bool {
        self.view.len == 0
    }

    /// The device it lives on.
    pub fn device(&self) -> &Device {
        self.view.buffer.device()
    }

    /// The memory that kernels bind.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The last dim, `width` of `[tokens, width]`.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The product of all dims but the last.
    pub fn rows(&self) -> usize {
        self.len() / self.width().max(1)
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// A shape of another number of elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self, TensorError> {
        if elements(shape) != self.len() {
            return Err(TensorError::shape("reshape", "another number of elements", &self.shape, shape));
        }
        Ok(Self { shape: shape.into(), view: self.view.clone() })
    }

    /// Some of a vector's elements, from `first` on, under a shape; `first` is a multiple of [`Device::ALIGNMENT`]; not of halves.
    ///
    /// # Errors
    /// More elements than there are from there on.
    pub fn window(&self, first: usize, shape: &[usize]) -> Result<Self, TensorError> {
        let len = elements(shape);
        if self.dtype() != Dtype::F32
            || !first.is_multiple_of(Device::ALIGNMENT)
            || first.checked_add(len).is_none_or(|end| end > self.len())
        {
            return Err(TensorError::shape("window", "no such part", &self.shape, shape));
        }
        let view = View { buffer: self.view.buffer.clone(), offset: self.view.offset + first, len };
        Ok(Self { shape: shape.into(), view })
    }

    /// `count` rows from row `first` on, where they are; they begin at a multiple of [`Device::ALIGNMENT`] elements.
    ///
    /// # Errors
    /// More rows than there are from there on, or a beginning elsewhere.
    pub fn rows_from(&self, first: usize, count: usize) -> Result<Self, TensorError> {
        let len = self.len();
        self.reshape(&[len])?.window(first * self.width(), &[count, self.width()])
    }

    /// A copy of the elements in main memory, halves widened; waits for the device.
    ///
    /// # Errors
    /// What the device reports.
    pub fn to_vec(&self) -> Result<Vec<f32>, TensorError> {
        Ok(self.device().read(&self.view)?)
    }

    /// The same at the device's own precision.
    ///
    /// # Errors
    /// What the device reports.
    pub fn to_f64(&self) -> Result<Vec<f64>, TensorError> {
        Ok(self.device().read_f64(&self.view)?)
    }

    /// True if no other tensor uses this one's buffer, so that it may be written to.
    pub fn is_sole_owner(&self) -> bool {
        std::sync::Arc::strong_count(&self.view.buffer) == 1
    }

    /// True if both are the same elements of one buffer.
    pub fn is_same_memory(&self, other: &Tensor) -> bool {
        let (one, other) = (&self.view, &other.view);
        std::sync::Arc::ptr_eq(&one.buffer, &other.buffer) && (one.offset, one.len) == (other.offset, other.len)
    }

    /// An error unless both shapes are equal.
    pub(crate) fn same_shape(&self, other: &Tensor, op: &'static str) -> Result<(), TensorError> {
        if self.shape == other.shape {
            return Ok(());
        }
        Err(TensorError::shape(op, "shapes differ", &self.shape, &other.shape))
    }
}

/// Elements of a shape; a count that overflows is more than any memory holds, which the device will say.
fn elements(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product: usize, &size| product.saturating_mul(size))
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor{:?}", self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_apart_and_aligned() {
        let device = Device::cpu();
        let slots = Tensor::slots(&device, 3, &[2, 5]).expect("memory");
        for (i, slot) in slots.iter().enumerate() {
            slot.write(&[i as f32; 10]).expect("ten values");
        }
        for (i, slot) in slots.iter().enumerate() {
            assert_eq!(slot.to_vec().expect("readable"), [i as f32; 10]);
            assert_eq!(slot.view().offset % Device::ALIGNMENT, 0);
        }
        assert!(!slots[0].is_sole_owner());
    }

    #[test]
    fn shapes_are_checked() {
        let device = Device::cpu();
        let x = Tensor::from_slice(&device, &[1.0; 6], &[2, 3]).expect("six values");
        assert!(x.reshape(&[3, 2]).is_ok());
        assert!(x.window(0, &[5]).is_ok() && x.window(0, &[7]).is_err() && x.window(1, &[2]).is_err());
        let error = x.reshape(&[4]).expect_err("another count").to_string();
        assert_eq!(error, "reshape: another number of elements: [2, 3] and [4]");
        assert!(Tensor::from_slice(&device, &[1.0; 5], &[2, 3]).is_err());
        assert!(Tensor::empty(&device, &[usize::MAX, usize::MAX]).is_err(), "no wrapping around");
        assert!(Tensor::slots(&device, 3, &[usize::MAX / 2, 2]).is_err());
    }
}
