//! The buffers of one launch, as slices, for the CPU body (f32) and the reference (f64).

/// Inputs (read) and outputs (read and write) of a launch, in the order of the kernel's bindings.
pub struct Bindings<'a, T> {
    pub(crate) inputs: Vec<&'a [T]>,
    pub(crate) outputs: Vec<&'a mut [T]>,
}

impl<'a, T> Bindings<'a, T> {
    /// Bindings over slices that the caller holds.
    pub fn new(inputs: Vec<&'a [T]>, outputs: Vec<&'a mut [T]>) -> Self {
        Self { inputs, outputs }
    }

    /// The slices by number: `let ([x, w], [y]) = bindings.take();`
    ///
    /// # Panics
    /// When the kernel's body takes other counts than its definition lists. [`crate::launch`] checks the counts against
    /// the definition, and the registry's tests run every body once, so no launch of a registered kernel can get here.
    pub fn take<const I: usize, const O: usize>(self) -> ([&'a [T]; I], [&'a mut [T]; O]) {
        match (self.inputs.try_into(), self.outputs.try_into()) {
            (Ok(inputs), Ok(outputs)) => (inputs, outputs),
            _ => unreachable!("a kernel body takes the bindings that its definition lists"),
        }
    }
}

/// Token ids and other u32 data, which buffers hold by their bits.
pub(crate) fn as_ids(words: &[f32]) -> &[u32] {
    bytemuck::cast_slice(words)
}
