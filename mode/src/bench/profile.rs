//! Where the time goes: a step, or one operation, kernel by kernel, against what this device can do.
//!
//! Two ceilings are measured first: arithmetic as a product of 1,024 x 1,024 matrices reaches it here, and bandwidth as a copy of
//! 128 MB does. A kernel's bound is the greater of flop / arithmetic and bytes / bandwidth, from its own cost function. What lies in
//! the caches from the launch before may go faster than a copy of main memory: more than 100 %.

use crate::Error;
use crate::train::{Recipe, profile_steps};
use mode_kernels::Timing;
use mode_tensor::{Device, Product, Tensor, copy, matmul};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;

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

/// What a device reaches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ceilings {
    /// GFLOP/s of a product of matrices.
    pub gflops: f64,
    /// GB/s of a copy, read and written.
    pub gbytes: f64,
}

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
    /// Its rate as a share of that ceiling, in percent.
    pub percent: f64,
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
    let ceilings = ceilings(device)?;
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

fn ceilings(device: &Device) -> Result<Ceilings, Error> {
    const SIZE: usize = 1_024;
    const COPIED: usize = 1 << 25;
    let square = || Tensor::full(device, &[SIZE, SIZE], 0.5);
    let (a, b) = (square()?, square()?);
    let (from, to) = (Tensor::full(device, &[COPIED], 1.0)?, Tensor::full(device, &[COPIED], 0.0)?);
    let multiply = best(device, || {
        matmul(Product::new(&a, &b))?;
        Ok(())
    })?;
    let copying = best(device, || Ok(copy(&from, &to)?))?;
    drop((a, b, from, to));
    device.trim();
    Ok(Ceilings {
        gflops: 2.0 * (SIZE * SIZE * SIZE) as f64 / multiply / 1e9,
        gbytes: 2.0 * (4 * COPIED) as f64 / copying / 1e9,
    })
}

/// The shortest of some runs, in seconds.
fn best(device: &Device, mut run: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let started = Instant::now();
        run()?;
        device.synchronize()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
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
        let shares = [100.0 * gflops / ceilings.gflops, 100.0 * gbytes / ceilings.gbytes];
        let bound = if shares[0] > shares[1] { "arithmetic" } else { "bandwidth" };
        let rounds = ROUNDS as f64;
        let (launches, ms) = (launches as f64 / rounds, 1e3 * seconds / rounds);
        KernelProfile { kernel, launches, ms, gflops, gbytes, bound, percent: shares[0].max(shares[1]) }
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
