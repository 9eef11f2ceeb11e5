//! What devices are given for a step, what they find in it, and what they have trained after it.

use std::sync::Arc;
use std::time::Instant;

/// What a step is given.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct StepBatch {
    /// All windows of the step, the last of whose ids is only predicted.
    pub(in crate::mesh) windows: Arc<Vec<Vec<u32>>>,
    /// The learning rate.
    pub(in crate::mesh) rate: f64,
    /// How many of the windows count where they are only scored: the rest fills them up.
    pub(in crate::mesh) counted: usize,
}

impl StepBatch {
    pub(super) fn new(windows: Vec<Vec<u32>>, rate: f64) -> Self {
        Self { counted: windows.len(), windows: Arc::new(windows), rate }
    }
}

/// What a device found in a step.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct StepMetrics {
    /// Of all devices, and the same on all of them.
    pub(in crate::mesh) sums: Sums,
    /// When each of its entries began and ended.
    pub(super) spans: Vec<[Instant; 2]>,
}

/// What devices measure of a step, as it is summed over them.
#[derive(Debug, Clone, Copy)]
pub(in crate::mesh) struct Sums {
    /// The square of the gradient's norm, before clipping.
    pub(super) squares: f32,
    /// Negative log-likelihood of all tokens, in nats, before the step.
    pub(in crate::mesh) nll: f32,
    /// How many they are.
    pub(in crate::mesh) tokens: f32,
}

/// A device's shard of a trained parameter, and of AdamW's moments.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::mesh) struct ParamState {
    pub(in crate::mesh) name: String,
    /// The shard's.
    pub(in crate::mesh) shape: Vec<usize>,
    pub(in crate::mesh) value: Vec<f32>,
    pub(in crate::mesh) m: Vec<f32>,
    pub(in crate::mesh) v: Vec<f32>,
}
