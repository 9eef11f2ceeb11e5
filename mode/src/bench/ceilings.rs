//! What a device reaches at the most: arithmetic by chains of multiply-adds in registers, bandwidth by a copy that no cache holds.
//!
//! A copy is made twice, by the device's own copy and by a kernel; the faster counts. Where a ceiling lies far under the data sheet of
//! a known card, something is wrong with the measurement, and a share of it would be a boast.

use super::cards::{Card, known};
use crate::{Error, memory};
use cpu_time::ProcessTime;
use mode_kernels::Timing;
use mode_kernels::fma::{Params, fma};
use mode_tensor::{Device, Tensor, copy};
use serde::Serialize;
use std::time::Instant;

/// Chains: more than a GPU has threads for, or of each thread of the CPU as many as its nearest cache holds.
const CHAINS: [usize; 2] = [1 << 22, 1 << 15];
/// Seconds of a launch that neither its start nor its memory matter for, and that no driver takes for a hang. On a CPU that has
/// other work too, short ones find it free now and then.
const LONG: [f64; 2] = [0.02, 0.001];
/// Bytes copied, twice the greatest cache of a GPU; and the least that is tried on a device of little memory.
const COPIED: [usize; 2] = [1 << 28, 1 << 22];
/// Measurements of each ceiling at the least, and seconds of them; the best counts.
const REPEATS: usize = 5;
const SECONDS: f64 = 0.5;
/// Launches in one measurement, where a GPU has no timestamps.
const LAUNCHES: usize = 4;
/// The least share of a data sheet that is believed.
const BELIEVED: f64 = 0.8;

/// What a device reaches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceilings {
    /// What computed.
    pub device: String,
    /// GFLOP/s of f32 multiply-adds, two a multiply-add.
    pub gflops: f64,
    /// GB/s of a copy, read and written.
    pub gbytes: f64,
    /// Bytes that were copied.
    pub copied: usize,
    /// What timed launches: `clocks` (the system's) or `timestamps` (a GPU's own).
    pub timer: &'static str,
    /// What the vendor says, of a known card.
    pub data_sheet: Option<Card>,
    /// True if shares of these ceilings mean something.
    pub believed: bool,
    /// What to know of them.
    pub warnings: Vec<String>,
}

impl Ceilings {
    /// The ceilings of `device`, measured now.
    ///
    /// # Errors
    /// What the device reports.
    pub fn measure(device: &Device) -> Result<Self, Error> {
        let stamped = device.start_profile().and_then(|()| device.stop_profile()).is_ok();
        let (cpu, started) = (ProcessTime::now(), Instant::now());
        let flops = arithmetic(device, stamped)?;
        let had = cpu.elapsed().as_secs_f64() / started.elapsed().as_secs_f64() / rayon::current_num_threads() as f64;
        device.trim();
        let (bytes, copied) = bandwidth(device, stamped)?;
        device.trim();
        let name = device.name();
        let data_sheet = if device.is_hardware_gpu() { known(&name) } else { None };
        let mut warnings = Vec::new();
        if copied < COPIED[0] {
            warnings.push(format!(
                "the copy is of {} MB, for there is no room for {} MB: a cache may hold it",
                copied / 1_000_000,
                COPIED[0] / 1_000_000
            ));
        }
        if !device.is_gpu() && had < BELIEVED {
            warnings.push(format!(
                "the processors were free for {:.0} % of the time: wait until other programs are done, or both ceilings are too low",
                100.0 * had
            ));
        }
        let timer = if stamped && device.is_gpu() { "timestamps" } else { "clocks" };
        let (gflops, gbytes) = (flops / 1e9, bytes / 1e9);
        let mut ceilings = Self { device: name, gflops, gbytes, copied, timer, data_sheet, believed: true, warnings };
        ceilings.compare();
        Ok(ceilings)
    }

    /// Ceilings that nobody measured.
    #[cfg(test)]
    pub(super) fn for_tests(gflops: f64, gbytes: f64) -> Self {
        let (device, data_sheet, warnings) = Default::default();
        Self { device, gflops, gbytes, copied: COPIED[0], timer: "clocks", data_sheet, believed: true, warnings }
    }

    /// Holds them against the data sheet.
    fn compare(&mut self) {
        let Some(card) = self.data_sheet else { return };
        let sheet = [
            ("arithmetic", self.gflops, card.tflops.map(|t| 1e3 * t), "GFLOP/s"),
            ("bandwidth", self.gbytes, Some(card.gbytes), "GB/s"),
        ];
        for (what, measured, sheet, unit) in sheet {
            if let Some(sheet) = sheet.filter(|sheet| measured < BELIEVED * sheet) {
                self.believed = false;
                self.warnings.push(format!(
                    "{what}: {measured:.0} {unit} is {:.0} % of the data sheet's {sheet:.0} for {}: no percentages; is the card \
                     busy, hot or its power limited?",
                    100.0 * measured / sheet,
                    card.name
                ));
            }
        }
    }

    /// The ceiling that binds what does `gflops` and `gbytes` a second, and its share of that in percent.
    pub(super) fn share(&self, gflops: f64, gbytes: f64) -> (&'static str, Option<f64>) {
        let shares = [100.0 * gflops / self.gflops, 100.0 * gbytes / self.gbytes];
        let bound = if shares[0] > shares[1] { "arithmetic" } else { "bandwidth" };
        (bound, self.believed.then_some(shares[0].max(shares[1])))
    }
}

/// FLOP a second.
fn arithmetic(device: &Device, stamped: bool) -> Result<f64, Error> {
    let (chains, long) = match device.is_gpu() {
        true => (CHAINS[0], LONG[0]),
        false => (CHAINS[1] * rayon::current_num_threads(), LONG[1]),
    };
    let (x, y) = (Tensor::full(device, &[chains], 0.5)?, Tensor::full(device, &[chains], 0.0)?);
    let mut steps = 64;
    loop {
        let params = Params { count: chains as u32, steps, alpha: 0.9999, beta: 1e-4 };
        let run = || Ok(fma(device, params, x.view(), y.view())?);
        let seconds = once(device, &run)?;
        if seconds < long && steps < 1 << 20 {
            steps *= ((long / seconds.max(1e-6)) as u32 + 1).clamp(2, 16);
            continue;
        }
        let seconds = shortest(device, stamped, run)?;
        return Ok(2.0 * f64::from(steps) * chains as f64 / seconds);
    }
}

/// Bytes a second, and of how many bytes the copy was.
pub(super) fn bandwidth(device: &Device, stamped: bool) -> Result<(f64, usize), Error> {
    let fits = |bytes: &usize| memory::require(device, (bytes / 2) as u64, "a copy").is_ok();
    let sizes = std::iter::successors(Some(COPIED[0]), |bytes| Some(bytes / 2).filter(|&bytes| bytes >= COPIED[1]));
    let mut failed = None;
    for bytes in sizes.filter(fits) {
        let place = |value| Tensor::full(device, &[bytes / 4], value);
        let (from, to) = match place(1.0).and_then(|from| Ok((from, place(0.0)?))) {
            Ok(both) => both,
            Err(error) => {
                failed = Some(error);
                continue;
            }
        };
        let copied = shortest(device, false, || Ok(device.copy(from.view(), to.view())?))?;
        let launched = shortest(device, stamped, || Ok(copy(&from, &to)?))?;
        return Ok((2.0 * bytes as f64 / copied.min(launched), bytes));
    }
    Err(failed.map_or_else(|| Error::Setting("no memory for a copy of 4 MB".into()), Error::from))
}

/// Seconds of one run, waited for.
fn once(device: &Device, run: &impl Fn() -> Result<(), Error>) -> Result<f64, Error> {
    let started = Instant::now();
    run()?;
    device.synchronize()?;
    Ok(started.elapsed().as_secs_f64())
}

/// The shortest time of a launch in seconds, by timestamps if it is `stamped`.
fn shortest(device: &Device, stamped: bool, run: impl Fn() -> Result<(), Error>) -> Result<f64, Error> {
    once(device, &run)?;
    let launches = if stamped || !device.is_gpu() { 1 } else { LAUNCHES };
    let several = || (0..launches).try_for_each(|_| run());
    if stamped {
        device.start_profile()?;
    }
    let (started, mut times) = (Instant::now(), Vec::new());
    let mut ran = Ok(());
    while ran.is_ok() && (times.len() < REPEATS || started.elapsed().as_secs_f64() < SECONDS) {
        ran = once(device, &several).map(|seconds| times.push(seconds / launches as f64));
    }
    let stamps: Vec<Timing> = if stamped { device.stop_profile()? } else { Vec::new() };
    ran?;
    let stamps = stamps.iter().map(|timing| timing.seconds).filter(|&seconds| seconds > 0.0).min_by(f64::total_cmp);
    // A clock that stands still is none.
    Ok(stamps.unwrap_or(times.into_iter().fold(f64::INFINITY, f64::min)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_below_the_data_sheet_nothing_is_a_share() {
        let card = known("NVIDIA GeForce RTX 3090");
        let compared = |gflops, gbytes| {
            let mut ceilings = Ceilings { data_sheet: card, ..Ceilings::for_tests(gflops, gbytes) };
            ceilings.compare();
            ceilings
        };
        let good = compared(34_000.0, 850.0);
        assert!(good.believed && good.warnings.is_empty());
        assert_eq!(good.share(17_000.0, 1.0), ("arithmetic", Some(50.0)));
        let slow = compared(34_000.0, 500.0);
        assert!(!slow.believed && slow.warnings[0].contains("53 % of the data sheet's 936"), "{:?}", slow.warnings);
        assert_eq!(slow.share(1.0, 250.0), ("bandwidth", None));
    }
}
