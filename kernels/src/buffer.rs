//! Device memory: a buffer of f32 elements, or of halves two to a word, which goes back to its device's pool when it is dropped.

use crate::gpu::Slab;
use crate::memory::Memory;
use crate::{Device, Dtype, KernelError};
use std::ops::Range;
use std::sync::{Arc, RwLock};

/// Elements of a view at the most: counting past the last of them in steps of a workgroup, a u32 does not wrap.
const MOST: usize = u32::MAX as usize - 65_535;

/// Where a buffer's elements live.
pub(crate) enum Storage {
    /// f32 words in main memory (u32 data by its bits).
    Cpu(RwLock<Memory<f32>>),
    /// A wgpu storage buffer.
    Gpu(Slab),
    /// The oracle's f64 elements (u32 data by value).
    Reference(RwLock<Memory<f64>>),
    /// Nothing, as many times as there would be elements.
    Dry(RwLock<Memory<()>>),
}

/// Memory for `len` elements on one device. Its contents start out undefined.
pub struct Buffer {
    pub(crate) storage: Storage,
    pub(crate) len: usize,
    pub(crate) dtype: Dtype,
    pub(crate) device: Device,
}

impl Buffer {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a buffer of no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device it belongs to.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.device.clone().recycle(self);
    }
}

/// A window of a buffer: what a kernel binds. Offsets of windows that a GPU binds are multiples of
/// [`Device::ALIGNMENT`] words, and those of halves of a word.
#[derive(Clone)]
pub struct View {
    /// The buffer.
    pub buffer: Arc<Buffer>,
    /// First element.
    pub offset: usize,
    /// Number of elements.
    pub len: usize,
}

impl View {
    /// The whole of a buffer.
    pub fn whole(buffer: Arc<Buffer>) -> Self {
        let len = buffer.len;
        Self { buffer, offset: 0, len }
    }

    /// How its elements are stored.
    pub fn dtype(&self) -> Dtype {
        self.buffer.dtype
    }

    /// The 32-bit words that hold its elements.
    pub(crate) fn words(&self) -> Range<usize> {
        let first = self.dtype().words(self.offset);
        first..first + self.dtype().words(self.len)
    }

    /// The elements of the reference's buffer, which has one for each of ours.
    pub(crate) fn elements(&self) -> Range<usize> {
        self.offset..self.offset + self.len
    }

    /// Element count and device checked against a launch of `kernel` on `device`.
    pub(crate) fn check(&self, kernel: &'static str, device: &Device) -> Result<(), KernelError> {
        if !self.buffer.device.same(device) {
            return Err(KernelError::WrongDevice(self.buffer.device.name()));
        }
        if self.len > MOST {
            let what = format!("{} elements in one tensor; kernels count to {MOST} at most", self.len);
            return Err(KernelError::Launch { kernel, what });
        }
        if self.len == 0 || self.offset + self.len > self.buffer.len {
            let what = format!(
                "a view of {} elements at {} does not fit a buffer of {}",
                self.len, self.offset, self.buffer.len
            );
            return Err(KernelError::Launch { kernel, what });
        }
        Ok(())
    }
}
