//! Device memory: a buffer of 32-bit elements, which goes back to its device's pool when it is dropped.

use crate::{Device, KernelError};
use std::sync::{Arc, RwLock};

/// Where a buffer's elements live.
pub(crate) enum Storage {
    /// f32 words in main memory (u32 data by its bits).
    Cpu(RwLock<Vec<f32>>),
    /// A wgpu storage buffer.
    Gpu(wgpu::Buffer),
    /// The oracle's f64 elements (u32 data by value).
    Reference(RwLock<Vec<f64>>),
    /// Nothing, as many times as there would be elements.
    Dry(RwLock<Vec<()>>),
}

/// Memory for `len` 32-bit elements on one device. Its contents start out undefined.
pub struct Buffer {
    pub(crate) storage: Storage,
    pub(crate) len: usize,
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
/// [`Device::ALIGNMENT`] elements.
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

    /// Element count and device checked against a launch of `kernel` on `device`.
    pub(crate) fn check(&self, kernel: &'static str, device: &Device) -> Result<(), KernelError> {
        if !self.buffer.device.same(device) {
            return Err(KernelError::WrongDevice(self.buffer.device.name()));
        }
        if self.len > u32::MAX as usize {
            let what = format!("{} elements in one tensor; kernels count to {} at most", self.len, u32::MAX);
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
