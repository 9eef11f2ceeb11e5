//! Timed workloads whose inputs and results are the same in every engine and language.
//!
//! Inputs come from [`mode_kernels::fill_hash`]; `check` is the mean absolute value of the result, summed over results, the loss of the third
//! step, or the sum of generated ids. Three untimed runs come first, then at least five and about four seconds of timed ones.

mod calibrate;
mod cards;
mod ceilings;
mod fusion;
mod kernels;
mod mesh;
mod overhead;
mod profile;
mod roofline;
mod run_profile;
mod step;
mod sweep;
mod trace;

pub use calibrate::{CALIBRATED_ON, Calibrated, calibrate};
pub use cards::Card;
pub use ceilings::{Ceilings, Cooperative};
pub use fusion::{Fusion, Gain};
pub use mesh::{MeasuredLayout, MeshBench};
pub use overhead::Overhead;
pub use profile::{KernelProfile, Launch, Profile, Profiles, Rates};
pub(crate) use roofline::svg;
pub(crate) use run_profile::{PROFILED, RunProfile};
pub use sweep::{AXES, Operation, Size};
pub(crate) use trace::{csv, trace};

use crate::{Error, memory};
use cpu_time::ProcessTime;
use mode_tensor::{Device, Dtype};
use profile::Rounds;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Names of the workloads.
pub const ALL: [&str; 10] = ["W1", "W1b", "W2", "W2b", "W3", "W3b", "W4", "W5", "W5f", "W6"];

/// Sizes that keep a GPU busy: taken when no names are given and the device is one. b is stored as f16 in `-f16`; operands may be
/// rounded to it in `-half`.
pub const LARGE: [&str; 10] = [
    "W1-4096",
    "W1-8192",
    "W1-4096-f16",
    "W1-8192-f16",
    "W2-4096",
    "W2-4096-half",
    "W2b-4096",
    "W3-32768",
    "W3b-32768",
    "W4-135M",
];

/// W6 with nothing frozen: the difference is what freezing saves.
pub const UNFROZEN: &str = "W6-unfrozen";

/// Training steps in mixed precision.
pub const MIXED: [&str; 3] = ["W4-f16", "W6-f16", "W4-135M-f16"];

/// The workloads that are training steps.
pub const STEPS: [&str; 7] = ["W4", "W4-f16", "W4-135M", "W4-135M-f16", "W6", "W6-f16", UNFROZEN];

/// What is measured in place of workloads.
pub const CEILINGS: &str = "ceilings";

/// That there is no such workload, and which there are.
pub(crate) fn unknown(name: &str) -> String {
    let [all, large, mixed] = [ALL.join(", "), LARGE.join(", "), MIXED.join(", ")];
    format!("no workload '{name}'; there are {all}, {UNFROZEN}, {large}, {mixed} and {CEILINGS}")
}

/// A workload's result: one JSON line.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Always "mode".
    pub engine: &'static str,
    /// What computed.
    pub device: String,
    /// Its name.
    pub workload: String,
    /// Median time of a run.
    pub median_ms: f64,
    /// Shortest time of a run.
    pub min_ms: f64,
    /// CPU time of all threads, per run.
    pub cpu_ms: f64,
    /// Nominal FLOP over the median time.
    pub gflops: f64,
    /// Most memory this process ever held; null where the system does not say.
    pub peak_rss_mb: Option<f64>,
    /// Tokens over the median time: trained on, or generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_s: Option<f64>,
    /// The number that must agree with every other engine's.
    pub check: f64,
}

/// What is timed.
pub(crate) struct Workload<'a> {
    /// Nominal FLOP of a run.
    flop: f64,
    /// Tokens of a run, trained on or generated.
    tokens: Option<usize>,
    /// One run, waited for; its check value.
    run: Box<dyn FnMut() -> Result<f64, Error> + 'a>,
    /// Computes the check value apart from the timed runs, if it is not `run`'s own.
    check: Option<Box<dyn FnOnce() -> Result<f64, Error> + 'a>>,
}

fn by_name(name: &str, device: &Device) -> Result<Workload<'static>, Error> {
    let mixed = MIXED.contains(&name);
    Ok(match name {
        "W1" => kernels::matmul(device, [1024; 3], Dtype::F32)?,
        "W1b" => kernels::matmul(device, [512, 2048, 512], Dtype::F32)?,
        "W1-4096" => kernels::matmul(device, [4096; 3], Dtype::F32)?,
        "W1-8192" => kernels::matmul(device, [8192; 3], Dtype::F32)?,
        "W1-4096-f16" => kernels::matmul(device, [4096; 3], Dtype::F16)?,
        "W1-8192-f16" => kernels::matmul(device, [8192; 3], Dtype::F16)?,
        "W2" => kernels::attention(device, [256, 64], false, false)?,
        "W2b" => kernels::attention(device, [256, 64], true, false)?,
        "W2-4096" => kernels::attention(device, [4096, 128], false, false)?,
        "W2-4096-half" => kernels::attention(device, [4096, 128], false, true)?,
        "W2b-4096" => kernels::attention(device, [4096, 128], true, false)?,
        "W3" => kernels::gate_merge(device, [3, 4096, 512], false)?,
        "W3b" => kernels::gate_merge(device, [3, 4096, 512], true)?,
        "W3-32768" => kernels::gate_merge(device, [3, 32_768, 2048], false)?,
        "W3b-32768" => kernels::gate_merge(device, [3, 32_768, 2048], true)?,
        "W4" | "W4-f16" => step::full(device, mixed)?,
        "W4-135M" | "W4-135M-f16" => step::full_large(device, mixed)?,
        "W5" => step::decode(device)?,
        "W5f" => step::forward(device)?,
        "W6" | "W6-f16" => step::stage1(device, true, mixed)?,
        UNFROZEN => step::stage1(device, false, false)?,
        _ => return Err(Error::Setting(unknown(name))),
    })
}

/// Times workload `name` in this process.
///
/// # Errors
/// An unknown name, or what the device reports.
pub fn bench(name: &str, device: &Device) -> Result<Measured, Error> {
    let mut workload = by_name(name, device)?;
    let mut third = 0.0;
    for _ in 0..3 {
        third = (workload.run)()?;
    }
    let mut times = Vec::new();
    let (cpu, started) = (ProcessTime::now(), Instant::now());
    while times.len() < 5 || started.elapsed() < Duration::from_secs(4) {
        let run = Instant::now();
        (workload.run)()?;
        times.push(1e3 * run.elapsed().as_secs_f64());
    }
    let cpu_ms = 1e3 * cpu.elapsed().as_secs_f64() / times.len() as f64;
    times.sort_by(f64::total_cmp);
    let median_ms = times[times.len() / 2];
    Ok(Measured {
        engine: "mode",
        device: device.name(),
        workload: name.into(),
        median_ms,
        min_ms: times[0],
        cpu_ms,
        gflops: workload.flop / median_ms / 1e6,
        peak_rss_mb: memory::peak().map(|bytes| bytes as f64 / (1024.0 * 1024.0)),
        tokens_per_s: workload.tokens.map(|tokens| 1e3 * tokens as f64 / median_ms),
        check: match workload.check {
            Some(check) => check()?,
            None => third,
        },
    })
}
