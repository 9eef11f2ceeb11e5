//! Numbers on their way from a device to the host, which goes on meanwhile.
//!
//! A read that waits leaves a GPU without work while the host prepares more. [`Device::read_later`] records a copy behind what has
//! been launched; whatever is launched after it, the numbers are those of that moment.

use crate::device::Backend;
use crate::{Device, Dtype, KernelError, View, gpu};
use std::time::Instant;

/// Some numbers that have come from a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrived {
    /// The numbers.
    pub values: Vec<f32>,
    /// Since when they have been there, as far as anybody looked: a GPU is asked whenever something is submitted.
    pub at: Instant,
}

/// Some numbers that a device has been asked for.
#[must_use = "a read that nobody waits for is lost"]
pub struct Reading(Way);

enum Way {
    /// In main memory kernels have run by the time that they are launched.
    Here(Arrived),
    Gpu(Device, gpu::Reading),
}

impl Device {
    /// Asks for the numbers of f32 views, one after the other, as everything that has been launched so far leaves them.
    ///
    /// # Errors
    /// A view of another device or of halves, or what a GPU reports.
    ///
    /// ```
    /// use mode_kernels::{Device, View, fill::fill};
    ///
    /// let device = Device::cpu();
    /// let (x, y) = (View::whole(device.alloc(2)?), View::whole(device.alloc(1)?));
    /// fill(&device, 1.0, &x)?;
    /// fill(&device, 2.0, &y)?;
    /// let reading = device.read_later(&[&x, &y])?;
    /// fill(&device, 3.0, &x)?;
    /// assert_eq!(reading.wait()?.values, [1.0, 1.0, 2.0]);
    /// # Ok::<(), mode_kernels::KernelError>(())
    /// ```
    pub fn read_later(&self, views: &[&View]) -> Result<Reading, KernelError> {
        for view in views {
            view.check("read", self)?;
            if view.dtype() != Dtype::F32 {
                let what = format!("a buffer of {} can't be read later; read it at once", view.dtype().name());
                return Err(KernelError::Launch { kernel: "read", what });
            }
        }
        if let Backend::Gpu(gpu) = self.backend()
            && !views.is_empty()
        {
            return Ok(Reading(Way::Gpu(self.clone(), gpu.read_later(views)?)));
        }
        let mut values = Vec::new();
        for view in views {
            values.extend(self.read(view)?);
        }
        Ok(Reading(Way::Here(Arrived { values, at: Instant::now() })))
    }
}

impl Reading {
    /// The numbers, once the device has them.
    ///
    /// # Errors
    /// What a GPU reports.
    pub fn wait(self) -> Result<Arrived, KernelError> {
        match self.0 {
            Way::Here(arrived) => Ok(arrived),
            Way::Gpu(device, reading) => match device.backend() {
                Backend::Gpu(gpu) => gpu.finish(reading),
                _ => Err(KernelError::WrongDevice(device.name())),
            },
        }
    }
}
