//! Where the time goes: a step, or one operation, launch by launch, against what this device can do.
//!
//! A launch's rates are its kernel's own cost over its time; the [ceiling](Ceilings) that binds it is that of which it reaches the
//! greater share. A launch whose shader multiplies by cooperative matrices is held against what those reach. What lies in the caches
//! from the launch before may go faster than a copy of main memory: more than 100 %.

use super::ceilings::Work;
use super::sweep::{Operation, Size};
use super::{Ceilings, Fusion, Workload, fusion, kernels};
use crate::Error;
use mode_kernels::{Cost, Settings, Timing};
use mode_tensor::{Device, Dtype, Tensor, fill};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Instant;

/// Rounds before anything is timed, rounds timed whole, and rounds timed launch by launch.
const WARM: usize = 3;
const PLAIN: usize = 3;
const PROFILED: usize = 5;

/// Profiles of one device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profiles {
    /// What computed.
    pub device: String,
    /// What it reaches.
    pub ceilings: Ceilings,
    /// The least time that its clock can tell, in nanoseconds.
    pub tick_ns: f64,
    /// Microseconds that timing a launch adds to it.
    pub timing_us: f64,
    /// One of each combination of sizes.
    pub profiles: Vec<Profile>,
}

/// One profile: of several rounds the one whose launches took least.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// What was profiled.
    pub what: &'static str,
    /// Its sizes.
    #[serde(serialize_with = "map")]
    pub sizes: Vec<Size>,
    /// Milliseconds of the round's launches.
    pub ms: f64,
    /// What they reach together.
    #[serde(flatten)]
    pub rates: Rates,
    /// Milliseconds of a round by the wall clock, unprofiled; the best of some.
    pub plain_ms: Option<f64>,
    /// Milliseconds of a round by the wall clock while every launch was timed; the best of some.
    pub profiled_ms: f64,
    /// By kernel, the slowest first.
    pub kernels: Vec<KernelProfile>,
    /// By launch, in order; on a GPU by dispatch.
    pub launches: Vec<Launch>,
    /// What fusing gains, of the gate merge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fusion: Option<Fusion>,
}

/// Rates, and the ceiling that binds them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// GFLOP/s.
    pub gflops: f64,
    /// GB/s.
    pub gbytes: f64,
    /// `arithmetic`, `cooperative` (arithmetic, most of it by cooperative matrices) or `bandwidth`.
    pub bound: &'static str,
    /// The rate as a share of that ceiling, in percent; none if it is not believed.
    pub percent: Option<f64>,
}

/// One kernel's share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelProfile {
    /// The kernel.
    pub kernel: &'static str,
    /// Launches; on a GPU dispatches.
    pub launches: usize,
    /// Milliseconds of all of them.
    pub ms: f64,
    /// Their FLOP.
    pub flop: f64,
    /// Their bytes, at the least.
    pub bytes: f64,
    /// What they reach.
    #[serde(flatten)]
    pub rates: Rates,
}

/// One launch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Launch {
    /// The kernel.
    pub kernel: &'static str,
    /// The shader's entry point, on a GPU.
    pub entry: Option<&'static str>,
    /// Its parameters that are whole numbers.
    #[serde(serialize_with = "map")]
    pub settings: Settings,
    /// True if its shader multiplies by cooperative matrices.
    pub cooperative: bool,
    /// Milliseconds after the round's start.
    pub begin_ms: f64,
    /// Milliseconds.
    pub ms: f64,
    /// Its FLOP.
    pub flop: f64,
    /// Its bytes, at the least.
    pub bytes: f64,
    /// What it reaches.
    #[serde(flatten)]
    pub rates: Rates,
}

/// Pairs as an object.
fn map<V: Serialize, S: Serializer>(pairs: &[(&'static str, V)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

impl Launch {
    fn work(&self) -> Work {
        Work::of(Cost { flop: self.flop, bytes: self.bytes }, self.cooperative)
    }
}

impl Rates {
    fn new(work: Work, seconds: f64, ceilings: &Ceilings) -> Self {
        let [gflops, gbytes] = [work.flop, work.bytes].map(|what| what / seconds.max(1e-12) / 1e9);
        let (bound, percent) = ceilings.share(work, seconds);
        Self { gflops, gbytes, bound, percent }
    }
}

/// What was timed of some rounds.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Seconds of a round by the wall clock, unprofiled.
    pub(crate) plain: Vec<f64>,
    /// The same of rounds that were profiled, and their launches.
    pub(crate) profiled: Vec<(f64, Vec<Timing>)>,
}

impl Rounds {
    /// Some rounds of `run`, which waits for the device.
    pub(super) fn of(device: &Device, run: &mut dyn FnMut() -> Result<(), Error>) -> Result<Self, Error> {
        let mut timed = || -> Result<f64, Error> {
            let started = Instant::now();
            run()?;
            Ok(started.elapsed().as_secs_f64())
        };
        (0..WARM).try_for_each(|_| timed().map(|_| ()))?;
        let plain = (0..PLAIN).map(|_| timed()).collect::<Result<_, _>>()?;
        let profiled = |_| {
            device.start_profile()?;
            let seconds = timed();
            let timings = device.stop_profile()?;
            Ok::<_, Error>((seconds?, timings))
        };
        Ok(Self { plain, profiled: (0..PROFILED).map(profiled).collect::<Result<_, _>>()? })
    }

    /// These rounds too.
    pub(super) fn extend(&mut self, other: Self) {
        self.plain.extend(other.plain);
        self.profiled.extend(other.profiled);
    }

    /// The launches of the round that took least.
    pub(super) fn best(&self) -> &[Timing] {
        let sum = |timings: &[Timing]| timings.iter().map(|timing| timing.seconds).sum::<f64>();
        let rounds = self.profiled.iter().map(|(_, timings)| timings.as_slice());
        rounds.min_by(|a, b| sum(a).total_cmp(&sum(b))).unwrap_or_default()
    }
}

impl Profile {
    /// What `rounds` say of `what`.
    pub(crate) fn new(what: &'static str, sizes: Vec<Size>, rounds: &Rounds, ceilings: &Ceilings) -> Self {
        let launch = |timing: &Timing| Launch {
            kernel: timing.kernel,
            entry: timing.entry,
            settings: timing.settings.clone(),
            cooperative: timing.cooperative,
            begin_ms: 1e3 * timing.begin,
            ms: 1e3 * timing.seconds,
            flop: timing.cost.flop,
            bytes: timing.cost.bytes,
            rates: Rates::new(Work::of(timing.cost, timing.cooperative), timing.seconds, ceilings),
        };
        let launches: Vec<Launch> = rounds.best().iter().map(launch).collect();
        let ms = launches.iter().map(|launch| launch.ms).sum::<f64>();
        let all = launches.iter().map(Launch::work).sum();
        let least =
            |seconds: &mut dyn Iterator<Item = f64>| seconds.min_by(f64::total_cmp).map(|seconds| 1e3 * seconds);
        Self {
            what,
            sizes,
            ms,
            rates: Rates::new(all, 1e-3 * ms, ceilings),
            plain_ms: least(&mut rounds.plain.iter().copied()),
            profiled_ms: least(&mut rounds.profiled.iter().map(|(seconds, _)| *seconds)).unwrap_or_default(),
            kernels: by_kernel(&launches, ceilings),
            launches,
            fusion: None,
        }
    }
}

/// Microseconds that timing a launch adds to it: of a launch that does next to nothing.
fn timing_us(device: &Device) -> Result<f64, Error> {
    const LAUNCHES: usize = 100;
    let tensor = Tensor::full(device, &[1], 0.0)?;
    let seconds = || -> Result<f64, Error> {
        let started = Instant::now();
        (0..LAUNCHES).try_for_each(|_| fill(&tensor, 1.0))?;
        device.synchronize()?;
        Ok(started.elapsed().as_secs_f64())
    };
    let (mut plain, mut timed) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..WARM + PROFILED {
        plain = plain.min(seconds()?);
        device.start_profile()?;
        let profiled = seconds();
        device.stop_profile()?;
        timed = timed.min(profiled?);
    }
    Ok((1e6 * (timed - plain) / LAUNCHES as f64).max(0.0))
}

fn by_kernel(launches: &[Launch], ceilings: &Ceilings) -> Vec<KernelProfile> {
    let mut of: BTreeMap<&'static str, Vec<&Launch>> = BTreeMap::new();
    launches.iter().for_each(|launch| of.entry(launch.kernel).or_default().push(launch));
    let row = |(kernel, launches): (_, Vec<&Launch>)| {
        let (ms, work) = (launches.iter().map(|l| l.ms).sum::<f64>(), launches.iter().map(|l| l.work()).sum::<Work>());
        let (launches, rates) = (launches.len(), Rates::new(work, 1e-3 * ms, ceilings));
        KernelProfile { kernel, launches, ms, flop: work.flop, bytes: work.bytes, rates }
    };
    let mut kernels: Vec<KernelProfile> = of.into_iter().map(row).collect();
    kernels.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    kernels
}

impl Profiles {
    /// No profiles yet; the ceilings are measured.
    ///
    /// # Errors
    /// A GPU without timestamps, or what the device reports.
    pub fn new(device: &Device) -> Result<Self, Error> {
        device.start_profile()?;
        device.stop_profile()?;
        let ceilings = Ceilings::measure(device)?;
        let (tick_ns, timing_us) = (1e9 * device.tick(), timing_us(device)?);
        Ok(Self { device: device.name(), ceilings, tick_ns, timing_us, profiles: Vec::new() })
    }

    /// Profiles `operation`, forward and where it has one backward, at some sizes; with `half` of operands that may be rounded to f16.
    ///
    /// # Errors
    /// What the device reports.
    pub fn add(&mut self, device: &Device, operation: Operation, sizes: &[Size], half: bool) -> Result<(), Error> {
        let size = |i: usize| sizes.get(i).map_or(1, |(_, size)| *size);
        let mut workload: Workload = match operation {
            Operation::Gate => kernels::gate_merge(device, [size(0), size(1), size(2)], true)?,
            Operation::Matmul => {
                let dtype = if half { Dtype::F16 } else { Dtype::F32 };
                kernels::matmul(device, [size(0), size(1), size(2)], dtype)?
            }
            Operation::Attention => kernels::attention(device, [size(0), size(1)], true, half)?,
        };
        let rounds = Rounds::of(device, &mut || (workload.run)().map(|_| ()))?;
        drop(workload);
        let mut profile = Profile::new(operation.name(), sizes.to_vec(), &rounds, &self.ceilings);
        if operation == Operation::Gate {
            profile.fusion = Some(fusion::compare(device, [size(0), size(1), size(2)], &self.ceilings)?);
        }
        device.trim();
        self.profiles.push(profile);
        Ok(())
    }

    /// Profiles the steps of a workload, one of [`STEPS`](super::STEPS).
    ///
    /// # Errors
    /// Another name, or what the device reports.
    pub fn add_workload(&mut self, device: &Device, name: &'static str) -> Result<(), Error> {
        let mut workload = super::by_name(name, device)?;
        let rounds = Rounds::of(device, &mut || (workload.run)().map(|_| ()))?;
        self.profiles.push(Profile::new(name, Vec::new(), &rounds, &self.ceilings));
        Ok(())
    }

    /// Profiles a recipe's training steps.
    ///
    /// # Errors
    /// What a recipe's run would report.
    pub fn add_step(&mut self, device: &Device, recipe: &crate::train::Recipe) -> Result<(), Error> {
        let rounds = crate::train::with_steps(recipe, device, |step| Rounds::of(device, step))?;
        self.profiles.push(Profile::new("step", Vec::new(), &rounds, &self.ceilings));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ceilings::Cooperative;
    use super::*;

    #[test]
    fn rates_and_the_binding_ceiling_come_from_the_cost() {
        let timing = |kernel, flop, bytes, seconds| Timing {
            kernel,
            entry: None,
            settings: vec![("m", 3)],
            cooperative: false,
            cost: Cost { flop, bytes },
            begin: 0.5,
            seconds,
        };
        // Two launches of one kernel, and one of another; the second round is slower.
        let round = |factor: f64| {
            vec![
                timing("product", 1e9, 1e6, 0.01 * factor),
                timing("sum", 1e6, 1e9, 0.1 * factor),
                timing("product", 1e9, 1e6, 0.01 * factor),
            ]
        };
        let rounds = Rounds { plain: vec![0.2, 0.117], profiled: vec![(0.12, round(1.0)), (0.3, round(2.0))] };
        let ceilings = Ceilings::for_tests(200.0, 20.0);
        let profile = Profile::new("gate", vec![("tokens", 7)], &rounds, &ceilings);
        let [sum, product] = profile.kernels.as_slice() else { panic!("two kernels") };
        assert_eq!((sum.kernel, sum.rates.bound, product.rates.bound), ("sum", "bandwidth", "arithmetic"));
        approx::assert_relative_eq!(product.rates.gflops, 100.0, epsilon = 1e-9);
        assert_eq!((product.rates.percent, sum.rates.percent), (Some(50.0), Some(50.0)));
        approx::assert_relative_eq!(profile.ms, 120.0, epsilon = 1e-9);
        approx::assert_relative_eq!(profile.plain_ms.unwrap_or_default(), 117.0, epsilon = 1e-9);
        assert_eq!((product.launches, profile.launches.len()), (2, 3));
        let json = serde_json::to_value(&profile).expect("plain data");
        assert_eq!(
            (json["sizes"]["tokens"].as_u64(), json["launches"][0]["settings"]["m"].as_u64()),
            (Some(7), Some(3))
        );
        // The same products by cooperative matrices that reach 800 are bound by those, the whole by what it takes most of.
        let rounds = round(1.0).into_iter().map(|timing| Timing { cooperative: timing.kernel == "product", ..timing });
        let rounds = Rounds { plain: Vec::new(), profiled: vec![(0.12, rounds.collect())] };
        let cooperative = vec![Cooperative { size: 16, gflops: 800.0 }];
        let ceilings = Ceilings { cooperative, ..ceilings };
        let profile = Profile::new("gate", Vec::new(), &rounds, &ceilings);
        assert_eq!((profile.kernels[1].rates.bound, profile.kernels[1].rates.percent), ("cooperative", Some(12.5)));
        assert_eq!((profile.rates.bound, profile.kernels[0].rates.bound), ("bandwidth", "bandwidth"));
        let doubtful = Ceilings { believed: false, ..ceilings };
        assert_eq!(Profile::new("gate", Vec::new(), &rounds, &doubtful).kernels[0].rates.percent, None);
    }
}
