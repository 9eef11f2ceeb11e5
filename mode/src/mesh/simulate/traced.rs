//! A step that was carried out, on devices or in the simulator: when each entry of its schedule began and ended.

use crate::mesh::plan::Schedule;
use std::sync::Arc;

/// A step that was carried out.
#[derive(Debug, Clone)]
pub struct Traced {
    /// What was carried out.
    pub schedule: Arc<Schedule>,
    /// For each device when each of its entries began and ended; nothing for one in another process. A GPU was waited for at each end.
    pub spans: Vec<Vec<[f64; 2]>>,
    /// How long all of it took.
    pub seconds: f64,
}

impl Traced {
    /// The share of the step in which each device computes.
    pub fn busy(&self) -> Vec<f64> {
        let computing = |(device, spans): (usize, &Vec<[f64; 2]>)| self.schedule.computing(device, spans);
        self.spans.iter().enumerate().map(computing).map(|seconds| seconds / self.seconds).collect()
    }
}
