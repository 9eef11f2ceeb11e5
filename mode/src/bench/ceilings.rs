//! What a device reaches at the most: arithmetic by chains of multiply-adds in registers, of f32 and, where it has them, of f16 and of
//! cooperative matrices; bandwidth by a copy that no cache holds.
//!
//! A copy is made twice, by the device's own copy and by a kernel; the faster counts. Where a ceiling lies far under the data sheet of
//! a known card, something is wrong with the measurement, and a share of it would be a boast. What launches cost beside their work is
//! measured with them.
//!
//! That holds for cooperative matrices too, but there it need not be the measurement: a data sheet may count instructions that Vulkan does
//! not have ([`Card::beyond_vulkan`]). What the chains reach is then the most that this interface gives, and still no share of it is
//! told, for it would be read as a share of the card. The rates are; other launches keep their percentages.

use super::cards::{Card, known};
use super::overhead::Overhead;
use crate::{Error, memory};
use cpu_time::ProcessTime;
use mode_kernels::fill_hash::fill;
use mode_kernels::fma::{self, fma};
use mode_kernels::mma::{self, mma};
use mode_kernels::registry::Mma;
use mode_kernels::{Cost, Kernel, Timing};
use mode_tensor::{Device, Tensor, copy};
use serde::Serialize;
use std::iter::Sum;
use std::time::Instant;

/// Chains: more than a GPU has threads for, or of each thread of the CPU as many as its nearest cache holds.
const CHAINS: [usize; 2] = [1 << 22, 1 << 15];
/// Workgroups of eight subgroups with eight sums each: many rounds of a GPU's multiprocessors, or some of what software makes of one.
const WORKGROUPS: [u32; 2] = [4_096, 32];
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

/// What some launches do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    /// FLOP.
    pub(super) flop: f64,
    /// Those of them that are done by cooperative matrices.
    pub(super) cooperative_flop: f64,
    /// Bytes, at the least.
    pub(super) bytes: f64,
}

impl Work {
    pub(super) fn of(Cost { flop, bytes }: Cost, cooperative: bool) -> Self {
        Self { flop, cooperative_flop: if cooperative { flop } else { 0.0 }, bytes }
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            flop: sum.flop + one.flop,
            cooperative_flop: sum.cooperative_flop + one.cooperative_flop,
            bytes: sum.bytes + one.bytes,
        })
    }
}

/// What a device reaches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceilings {
    /// What computed.
    pub device: String,
    /// GFLOP/s of f32 multiply-adds, two a multiply-add.
    pub gflops: f64,
    /// The same of f16; none where the device has no f16 arithmetic.
    pub half_gflops: Option<f64>,
    /// Of products of f16 added up in f32, by each size of cooperative matrices that it has.
    pub cooperative: Vec<Cooperative>,
    /// GB/s of a copy, read and written.
    pub gbytes: f64,
    /// Bytes that were copied.
    pub copied: usize,
    /// What launches cost beside their work.
    #[serde(flatten)]
    pub overhead: Overhead,
    /// What timed launches: `clocks` (the system's) or `timestamps` (a GPU's own).
    pub timer: &'static str,
    /// What the vendor says, of a known card.
    pub data_sheet: Option<Card>,
    /// True if shares of these ceilings mean something.
    pub believed: bool,
    /// True if shares of what cooperative matrices reach do.
    pub cooperative_believed: bool,
    /// What to know of them.
    pub warnings: Vec<String>,
}

/// What a device reaches by cooperative matrices of one size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cooperative {
    /// Rows and columns of a matrix.
    pub size: u32,
    /// GFLOP/s, two a multiply-add.
    pub gflops: f64,
}

impl Ceilings {
    /// The ceilings of `device`, measured now.
    ///
    /// # Errors
    /// What the device reports.
    pub fn measure(device: &Device) -> Result<Self, Error> {
        let stamped = device.start_profile().and_then(|()| device.stop_profile()).is_ok();
        let (cpu, started) = (ProcessTime::now(), Instant::now());
        let flops = arithmetic(device, stamped, false)?;
        let had = cpu.elapsed().as_secs_f64() / started.elapsed().as_secs_f64() / rayon::current_num_threads() as f64;
        let can = device.capabilities();
        let half_gflops = if can.f16 { Some(arithmetic(device, stamped, true)? / 1e9) } else { None };
        let mut cooperative = Vec::new();
        let sizes = [(8, can.cooperative_8), (16, can.cooperative_16)];
        for (size, _) in sizes.into_iter().filter(|(_, has)| *has && can.subgroup_size().is_some()) {
            cooperative.push(Cooperative { size, gflops: matrices(device, stamped, size)? / 1e9 });
        }
        device.trim();
        let (bytes, copied) = bandwidth(device, stamped)?;
        device.trim();
        let overhead = Overhead::measure(device)?;
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
        let mut ceilings = Self {
            device: name,
            gflops,
            half_gflops,
            cooperative,
            gbytes,
            copied,
            overhead,
            timer,
            data_sheet,
            believed: true,
            cooperative_believed: true,
            warnings,
        };
        ceilings.compare();
        Ok(ceilings)
    }

    /// GB/s of a copy alone, measured now; none where that is too far under the data sheet to be believed.
    ///
    /// # Errors
    /// What the device reports.
    pub(crate) fn copy(device: &Device) -> Result<Option<f64>, Error> {
        let stamped = device.start_profile().and_then(|()| device.stop_profile()).is_ok();
        let gbytes = bandwidth(device, stamped)?.0 / 1e9;
        device.trim();
        let sheet = known(&device.name()).filter(|_| device.is_hardware_gpu()).map_or(0.0, |card| card.gbytes);
        Ok(Some(gbytes).filter(|gbytes| *gbytes >= BELIEVED * sheet))
    }

    /// Ceilings that nobody measured.
    #[cfg(test)]
    pub(super) fn for_tests(gflops: f64, gbytes: f64) -> Self {
        Self {
            device: String::new(),
            gflops,
            half_gflops: None,
            cooperative: Vec::new(),
            gbytes,
            copied: COPIED[0],
            overhead: Overhead { launch_us: 1.0, chain_us: 2.0 },
            timer: "clocks",
            data_sheet: None,
            believed: true,
            cooperative_believed: true,
            warnings: Vec::new(),
        }
    }

    /// The most of cooperative matrices, by the faster of their sizes: a kernel that takes the slower leaves that much.
    pub(crate) fn cooperative_gflops(&self) -> Option<f64> {
        self.cooperative.iter().map(|cooperative| cooperative.gflops).max_by(f64::total_cmp)
    }

    /// Holds them against the data sheet.
    fn compare(&mut self) {
        let Some(card) = self.data_sheet else { return };
        const BUSY: &str = "is the card busy, hot or its power limited?";
        const BEYOND: &str = "those count instructions that Vulkan does not have, this is what it reaches";
        let (gflops, gbytes) = (|tflops: f64| 1e3 * tflops, card.gbytes);
        let sheet = [
            ("arithmetic", Some(self.gflops), card.tflops.map(gflops), "GFLOP/s", BUSY),
            ("bandwidth", Some(self.gbytes), Some(gbytes), "GB/s", BUSY),
            (
                "cooperative",
                self.cooperative_gflops(),
                card.matrix_tflops.map(gflops),
                "GFLOP/s",
                if card.beyond_vulkan { BEYOND } else { BUSY },
            ),
        ];
        for (what, measured, sheet, unit, why) in sheet {
            let (Some(measured), Some(sheet)) = (measured, sheet) else { continue };
            if measured < BELIEVED * sheet {
                let (believed, of) = match what {
                    "cooperative" => (&mut self.cooperative_believed, " of cooperative matrices"),
                    _ => (&mut self.believed, ""),
                };
                *believed = false;
                self.warnings.push(format!(
                    "{what}: {measured:.0} {unit} is {:.0} % of the data sheet's {sheet:.0} for {}: no percentages{of}; {why}",
                    100.0 * measured / sheet,
                    card.name
                ));
            }
        }
    }

    /// The ceiling that binds what does `work` in so many seconds, and its share of that in percent. Each launch's FLOP count against the
    /// ceiling of the units that did them; of several launches, what those would take one after the other.
    pub(super) fn share(&self, work: Work, seconds: f64) -> (&'static str, Option<f64>) {
        let percent = |what: f64, ceiling: f64| 100.0 * what / seconds.max(1e-12) / 1e9 / ceiling;
        let scalar = percent(work.flop - work.cooperative_flop, self.gflops);
        let cooperative = percent(work.cooperative_flop, self.cooperative_gflops().unwrap_or(self.gflops));
        let bandwidth = percent(work.bytes, self.gbytes);
        if scalar + cooperative <= bandwidth {
            return ("bandwidth", self.believed.then_some(bandwidth));
        }
        let believed = self.believed && (cooperative == 0.0 || self.cooperative_believed);
        let bound = if cooperative > scalar { "cooperative" } else { "arithmetic" };
        (bound, believed.then_some(scalar + cooperative))
    }
}

/// FLOP a second of f32, or of f16.
fn arithmetic(device: &Device, stamped: bool, half: bool) -> Result<f64, Error> {
    let chains = if device.is_gpu() { CHAINS[0] } else { CHAINS[1] * rayon::current_num_threads() };
    let (x, y) = (Tensor::full(device, &[chains], 0.5)?, Tensor::full(device, &[chains], 0.0)?);
    // f16 has no number next to 1 that near.
    let (alpha, beta) = if half { (-1.0, 0.25) } else { (0.9999, 1e-4) };
    rate(device, stamped, 2.0 * chains as f64, |steps| {
        let params = fma::Params { count: chains as u32, steps, alpha, beta, half: half.into() };
        Ok(fma(device, params, x.view(), y.view())?)
    })
}

/// FLOP a second of cooperative matrices.
fn matrices(device: &Device, stamped: bool, size: u32) -> Result<f64, Error> {
    let workgroups = WORKGROUPS[usize::from(!device.is_hardware_gpu())];
    let params = mma::Params { steps: 1, size, workgroups };
    let [a, b, y] = params.elements();
    let factors = |seed, count| Tensor::from_slice(device, &fill(seed, count, 1.0), &[count]);
    let (a, b, y) = (factors(1, a)?, factors(2, b)?, Tensor::full(device, &[y], 0.0)?);
    let flop = Mma::cost(&params).flop;
    rate(device, stamped, flop, |steps| {
        Ok(mma(device, mma::Params { steps, ..params }, [a.view(), b.view()], y.view())?)
    })
}

/// FLOP a second of a launch of as many steps, of `flop` each, as take long.
fn rate(device: &Device, stamped: bool, flop: f64, run: impl Fn(u32) -> Result<(), Error>) -> Result<f64, Error> {
    let long = LONG[usize::from(!device.is_gpu())];
    let mut steps = 16;
    // To compile a shader takes long, too.
    once(device, &|| run(steps))?;
    loop {
        let seconds = once(device, &|| run(steps))?;
        if seconds < long && steps < 1 << 20 {
            steps *= ((long / seconds.max(1e-6)) as u32 + 1).clamp(2, 16);
            continue;
        }
        return Ok(f64::from(steps) * flop / shortest(device, stamped, || run(steps))?);
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
        let work = |gflop: f64, gbyte: f64| Work::of(Cost { flop: 1e9 * gflop, bytes: 1e9 * gbyte }, false);
        assert_eq!(good.share(work(17_000.0, 1.0), 1.0), ("arithmetic", Some(50.0)));
        let slow = compared(34_000.0, 500.0);
        assert!(!slow.believed && slow.warnings[0].contains("53 % of the data sheet's 936"), "{:?}", slow.warnings);
        assert_eq!(slow.share(work(1.0, 250.0), 1.0), ("bandwidth", None));
    }

    #[test]
    fn cooperative_launches_have_a_ceiling_of_their_own() {
        let compared = |adapter, gflops| {
            let cooperative =
                [8, 16].map(|size| Cooperative { size, gflops: gflops * f64::from(size) / 16.0 }).to_vec();
            let mut ceilings =
                Ceilings { data_sheet: known(adapter), cooperative, ..Ceilings::for_tests(66_000.0, 3_000.0) };
            ceilings.compare();
            ceilings
        };
        let work =
            |gflop: f64, cooperative: f64| Work { flop: 1e9 * gflop, cooperative_flop: 1e9 * cooperative, bytes: 1e9 };
        let unknown = compared("no known card", 200_000.0);
        assert_eq!(unknown.share(work(50_000.0, 50_000.0), 1.0), ("cooperative", Some(25.0)));
        // Half a second's worth of one and a quarter of the other.
        assert_eq!(unknown.share(work(83_000.0, 50_000.0), 1.0), ("arithmetic", Some(75.0)));
        assert!(compared("NVIDIA H100 80GB HBM3", 800_000.0).cooperative_believed);
        // What Vulkan reaches of an H100 is no share of the card; what other launches reach still is.
        let hopper = compared("NVIDIA H100 80GB HBM3", 600_000.0);
        assert!(hopper.believed && !hopper.cooperative_believed);
        assert_eq!(hopper.share(work(50_000.0, 50_000.0), 1.0), ("cooperative", None));
        assert_eq!(hopper.share(work(33_000.0, 0.0), 1.0), ("arithmetic", Some(50.0)));
        assert_eq!(hopper.share(Work { bytes: 1.5e12, ..work(1.0, 1.0) }, 1.0), ("bandwidth", Some(50.0)));
        let says = &hopper.warnings[0];
        assert!(says.contains("61 % of the data sheet's 989000") && says.contains("Vulkan does not have"), "{says}");
        let busy = &compared("NVIDIA A100-SXM4-80GB", 200_000.0).warnings;
        assert!(
            busy.iter().any(|says| says.contains("64 % of the data sheet's 312000") && says.contains("busy")),
            "{busy:?}"
        );
    }
}
