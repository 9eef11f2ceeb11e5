//! Where the time goes: a step, or one operation, kernel by kernel, against what this device can do.
//!
//! The [ceilings](Ceilings) are measured first. A kernel's bound is the greater of flop / arithmetic and bytes / bandwidth, from its own cost function. What lies in
//! the caches from the launch before may go faster than a copy of main memory: more than 100 %.

use super::Ceilings;
use crate::Error;
use crate::train::{Recipe, profile_steps};
use mode_kernels::Timing;
use mode_tensor::Device;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is profiled.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A recipe's training steps.
    Step(&'a Recipe),
    /// The gate merge, forward and backward: 4,096 tokens of 512, three branches.
    Gate,
    /// Causal attention, forward and backward: 4 windows of 256 tokens, 4 heads of 64.
    Attention,
    /// A product of 1,024 x 1,024 matrices.
    Matmul,
}

/// Rounds that are profiled, after two that are not.
const ROUNDS: usize = 5;

/// One kernel's share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelProfile {
    /// The kernel.
    pub kernel: &'static str,
    /// Launches a round; on a GPU dispatches.
    pub launches: f64,
    /// Milliseconds a round.
    pub ms: f64,
    /// GFLOP/s.
    pub gflops: f64,
    /// GB/s.
    pub gbytes: f64,
    /// The ceiling that binds it, `arithmetic` or `bandwidth`.
    pub bound: &'static str,
    /// Its rate as a share of that ceiling, in percent; none if those are not believed.
    pub percent: Option<f64>,
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// What computed.
    pub device: String,
    /// What it reaches.
    pub ceilings: Ceilings,
    /// Milliseconds a round, all kernels together.
    pub ms: f64,
    /// By kernel, the slowest first.
    pub kernels: Vec<KernelProfile>,
}

/// Profiles `subject` on `device`.
///
/// # Errors
/// A GPU without timestamps, or what a recipe's run would report.
pub fn profile(subject: Subject, device: &Device) -> Result<Profile, Error> {
    let ceilings = Ceilings::measure(device)?;
    let timings = match subject {
        Subject::Step(recipe) => profile_steps(recipe, device, ROUNDS)?,
        Subject::Gate => rounds(device, super::by_name("W3b", device)?)?,
        Subject::Attention => rounds(device, super::by_name("W2b", device)?)?,
        Subject::Matmul => rounds(device, super::by_name("W1", device)?)?,
    };
    Ok(summarise(device.name(), ceilings, &timings))
}

fn rounds(device: &Device, mut workload: super::Workload) -> Result<Vec<Timing>, Error> {
    for _ in 0..2 {
        (workload.run)()?;
    }
    device.start_profile()?;
    for _ in 0..ROUNDS {
        (workload.run)()?;
    }
    Ok(device.stop_profile()?)
}

fn summarise(device: String, ceilings: Ceilings, timings: &[Timing]) -> Profile {
    let mut by_kernel: BTreeMap<&'static str, (usize, f64, f64, f64)> = BTreeMap::new();
    for timing in timings {
        let (launches, seconds, flop, bytes) = by_kernel.entry(timing.kernel).or_default();
        *launches += 1;
        *seconds += timing.seconds;
        *flop += timing.cost.flop;
        *bytes += timing.cost.bytes;
    }
    let row = |(kernel, (launches, seconds, flop, bytes)): (&'static str, (usize, f64, f64, f64))| {
        let (gflops, gbytes) = (flop / seconds.max(1e-12) / 1e9, bytes / seconds.max(1e-12) / 1e9);
        let (bound, percent) = ceilings.share(gflops, gbytes);
        let rounds = ROUNDS as f64;
        let (launches, ms) = (launches as f64 / rounds, 1e3 * seconds / rounds);
        KernelProfile { kernel, launches, ms, gflops, gbytes, bound, percent }
    };
    let mut kernels: Vec<KernelProfile> = by_kernel.into_iter().map(row).collect();
    kernels.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Profile { device, ceilings, ms: kernels.iter().map(|kernel| kernel.ms).sum(), kernels }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mode_kernels::Cost;

    #[test]
    fn rates_and_the_binding_ceiling_come_from_the_cost() {
        let timing = |kernel, flop, bytes, seconds| Timing { kernel, cost: Cost { flop, bytes }, seconds };
        // Five rounds of two launches of one kernel, and one launch of another.
        let mut timings = vec![timing("product", 1e9, 1e6, 0.01); 10];
        timings.extend(vec![timing("sum", 1e6, 1e9, 0.1); 5]);
        let profile = summarise("CPU".into(), Ceilings { gflops: 200.0, gbytes: 20.0 }, &timings);
        let [sum, product] = profile.kernels.as_slice() else { panic!("two kernels") };
        assert_eq!((sum.kernel, sum.bound, product.bound), ("sum", "bandwidth", "arithmetic"));
        approx::assert_relative_eq!(product.gflops, 100.0, epsilon = 1e-9);
        approx::assert_relative_eq!(product.percent, 50.0, epsilon = 1e-9);
        approx::assert_relative_eq!(sum.percent, 50.0, epsilon = 1e-9);
        approx::assert_relative_eq!(profile.ms, 120.0, epsilon = 1e-9);
        assert_eq!(product.launches, 2.0);
    }
}
