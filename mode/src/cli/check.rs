//! `mode check`: does this machine's device compute what the f64 reference computes?

use super::watch::watch;
use super::{DeviceArguments, nearest, print_json};
use crate::Error;
use mode_kernels::check::{Outcome, TOLERANCE, not_run};
use mode_kernels::registry::{ALL, AnyKernel};
use mode_kernels::{Device, KernelError, Sizes};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A case's inputs have seeds of their own, counted on from this one.
const MOST_SEED: i64 = 4_000_000_000;

/// Compare every kernel of a device with its f64 reference.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Names of kernels, or how several begin: gate [default: all, at odd sizes]
    #[arg(conflicts_with = "all")]
    kernels: Vec<String>,
    /// All kernels, at large sizes too (half a minute on two cores, two minutes on a software GPU)
    #[arg(long)]
    all: bool,
    /// Seed of the random inputs [default: another one each time]
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=MOST_SEED))]
    seed: Option<u32>,
    /// Check and time again whenever a shader in the folder MODE_SHADERS is saved, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let kernels = kernels(&arguments.kernels)?;
    // A kernel that is named is checked whole.
    let large = arguments.all || !arguments.kernels.is_empty();
    let seed = arguments.seed.unwrap_or_else(fresh_seed);
    let device = arguments.device.open()?;
    if arguments.watch {
        return watch(&kernels, &device, large, seed);
    }
    let mut rows = Vec::new();
    let (mut wrong, mut failed) = (Vec::new(), Vec::new());
    for kernel in kernels {
        let row = Row::of(kernel, &device, large, seed);
        if !arguments.json {
            say!("{}", row.line());
        }
        match &row.outcome {
            Ok(outcome) if !outcome.agrees() => wrong.push(kernel.name()),
            Ok(_) => {}
            Err(_) => failed.push(kernel.name()),
        }
        rows.push(row);
    }
    if arguments.json {
        let agrees = rows.iter().all(Row::agrees);
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        print_json(&json!({
            "device": device.name(), "seed": seed, "tolerance": TOLERANCE, "agrees": agrees, "kernels": rows
        }))?;
    } else {
        say!("seed {seed}, device {}, tolerance {TOLERANCE:.0e}", device.name());
    }
    let mut what = Vec::new();
    if !wrong.is_empty() {
        let names = wrong.join(", ");
        what.push(format!(
            "{names} disagrees with the reference; run it again with --seed {seed}, and try a newer driver or --device cpu"
        ));
    }
    if !failed.is_empty() {
        what.push(format!("{} could not be run, and its line says why", failed.join(", ")));
    }
    if what.is_empty() { Ok(()) } else { Err(Error::CheckFailed(what.join("; "))) }
}

/// The kernels of these names; a name that is none stands for all that begin with it, `gate` for `gate_merge` and its backward.
fn kernels(names: &[String]) -> Result<Vec<&'static dyn AnyKernel>, Error> {
    if names.is_empty() {
        return Ok(ALL.to_vec());
    }
    let find = |name: &String| {
        let exact: Vec<_> = ALL.iter().copied().filter(|kernel| kernel.name() == name).collect();
        let begins =
            |kernel: &&dyn AnyKernel| kernel.name().strip_prefix(name).is_some_and(|rest| rest.starts_with('_'));
        let found = if exact.is_empty() { ALL.iter().copied().filter(begins).collect() } else { exact };
        if found.is_empty() {
            let near = nearest(name, ALL.iter().map(|kernel| kernel.name()));
            return Err(Error::Setting(format!("no kernel '{name}'; did you mean '{near}'?")));
        }
        Ok(found)
    };
    Ok(names.iter().map(find).collect::<Result<Vec<_>, _>>()?.concat())
}

/// A seed that nobody chose.
fn fresh_seed() -> u32 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |time| (time.subsec_nanos() ^ time.as_secs() as u32) % 1_000_000_000)
}

/// How one kernel fared: its worst error over all cases, or why it did not run.
pub(super) struct Row {
    kernel: &'static str,
    cases: usize,
    /// Shaders of the cases that the device can't run, and why.
    not_run: Vec<(&'static str, &'static str)>,
    pub(super) outcome: Result<Outcome, KernelError>,
}

impl Row {
    pub(super) fn of(kernel: &dyn AnyKernel, device: &Device, large: bool, seed: u32) -> Self {
        let sizes = if large { &[Sizes::Odd, Sizes::Large][..] } else { &[Sizes::Odd] };
        let none = Outcome { kernel: kernel.name(), cases: 0, not_run: Vec::new(), worst: 0.0, at: String::new() };
        let mut row = Self { kernel: kernel.name(), cases: 0, not_run: Vec::new(), outcome: Ok(none) };
        for &sizes in sizes {
            match kernel.check(device, sizes, seed) {
                Ok(outcome) => {
                    row.cases += outcome.cases;
                    row.not_run.extend(&outcome.not_run);
                    let worse = row.outcome.as_ref().map_or(true, |before| outcome.worst > before.worst);
                    if worse {
                        row.outcome = Ok(outcome);
                    }
                }
                Err(error) => return Self { outcome: Err(error), ..row },
            }
            // Large cases are large: what they took goes back before the next kernel's.
            device.trim();
        }
        row
    }

    pub(super) fn agrees(&self) -> bool {
        self.outcome.as_ref().is_ok_and(Outcome::agrees)
    }

    /// In one line; below it where in a shader an error is.
    pub(super) fn line(&self) -> String {
        let (kernel, cases) = (self.kernel, self.cases);
        let not_run = not_run(&self.not_run);
        match &self.outcome {
            Ok(o) if o.agrees() => format!("ok     {kernel:24} {cases:3} cases, worst error {:.1e}{not_run}", o.worst),
            Ok(o) => format!("WRONG  {kernel:24} {cases:3} cases, worst error {:.1e} at {}{not_run}", o.worst, o.at),
            Err(error) => [&[format!("WRONG  {kernel:24} {error}")], error.excerpt()].concat().join("\n"),
        }
    }

    fn json(&self) -> Value {
        let lack = |(file, what): &(&str, &str)| json!({"shader": file, "lacks": what});
        let not_run: Vec<Value> = self.not_run.iter().map(lack).collect();
        let finite = |worst: f64| worst.is_finite().then_some(worst);
        match &self.outcome {
            Ok(o) => json!({
                "kernel": self.kernel, "cases": self.cases, "not_run": not_run, "worst": finite(o.worst), "at": o.at,
                "agrees": o.agrees()
            }),
            Err(error) => json!({
                "kernel": self.kernel, "cases": self.cases, "error": error.to_string(), "agrees": false
            }),
        }
    }
}
