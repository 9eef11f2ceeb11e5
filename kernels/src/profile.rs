//! How long each launch took.
//!
//! On the CPU a launch is timed as it runs. On a GPU each dispatch gets a compute pass of its own, whose beginning and end the GPU
//! writes down; that keeps launches from overlapping, so a profiled step is slower than a step.

use crate::Cost;

/// One launch, or one dispatch of it on a GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// The kernel.
    pub kernel: &'static str,
    /// What it costs at the least; of several dispatches the first has all of it.
    pub cost: Cost,
    /// How long it took.
    pub seconds: f64,
}
