//! `mode check`: does this machine's device compute what the f64 reference computes?

use super::shaders::VARIABLE;
use super::watch::watch;
use super::{DeviceArguments, nearest, print_json};
use crate::Error;
use mode_kernels::check::{Outcome, TOLERANCE, not_run};
use mode_kernels::registry::{ALL, AnyKernel};
use mode_kernels::{Device, KernelError, SEEDS, Sizes};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A case's inputs have seeds of their own, counted on from this one.
const MOST_SEED: i64 = SEEDS as i64 - 1;

/// More than anybody waits for, and few enough that each has a seed of its own.
const MOST_DRAWS: i64 = 1_000_000;

/// What is run of each kernel.
#[derive(Clone, Copy)]
pub(super) enum Launches {
    /// Its cases of odd sizes; of large ones too, if set.
    Cases { large: bool },
    /// So many random ones.
    Draws(u32),
}

/// Compare every kernel of a device with its f64 reference.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Names of kernels, or how several begin: gate [default: all, at odd sizes]
    #[arg(conflicts_with = "all")]
    kernels: Vec<String>,
    /// All kernels, at large sizes too (half a minute on two cores, two minutes on a software GPU)
    #[arg(long)]
    all: bool,
    /// N random launches of each kernel instead, of any shape, type and tier: 1000 take seconds a kernel
    #[arg(long, value_name = "N", conflicts_with_all = ["all", "watch"], value_parser = clap::value_parser!(u32).range(1..=MOST_DRAWS))]
    draws: Option<u32>,
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
    let launches = arguments.draws.map_or(Launches::Cases { large }, Launches::Draws);
    let seed = arguments.seed.unwrap_or_else(fresh_seed);
    let device = arguments.device.open()?;
    if arguments.watch {
        return watch(&kernels, &device, launches, seed);
    }
    let mut rows = Vec::new();
    let (mut wrong, mut failed) = (Vec::new(), Vec::new());
    for kernel in kernels {
        let row = Row::of(kernel, &device, launches, seed);
        if !arguments.json {
            say!("{}", row.line());
        }
        match &row.outcome {
            Ok(outcome) if !outcome.agrees() => wrong.push((kernel.name(), outcome.seed)),
            Ok(_) => {}
            Err(_) => failed.push(kernel.name()),
        }
        rows.push(row);
    }
    if arguments.json {
        let agrees = rows.iter().all(Row::agrees);
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        print_json(&json!({
            "device": device.name(), "seed": seed, "draws": arguments.draws, "tolerance": TOLERANCE, "agrees": agrees,
            "kernels": rows
        }))?;
    } else {
        say!("seed {seed}, device {}, tolerance {TOLERANCE:.0e}", device.name());
    }
    let mut what = Vec::new();
    if !wrong.is_empty() {
        let names = wrong.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let draw = |(name, seed): &(&str, Option<u32>)| seed.map(|seed| format!("{name} --draws 1 --seed {seed}"));
        let draws: Vec<String> = wrong.iter().filter_map(draw).collect();
        let again = if draws.is_empty() { format!("--seed {seed}") } else { draws.join(", and ") };
        let replaced = std::env::var_os(VARIABLE).is_some_and(|folder| !folder.is_empty());
        let then = match (device.is_gpu(), replaced) {
            (true, true) => "look at what MODE_SHADERS puts in place",
            (true, false) => "try a newer driver or --device cpu",
            (false, _) => "report it, for that is a defect of this program",
        };
        what.push(format!("{names} disagrees with the reference; run it again with {again}, and {then}"));
    }
    if !failed.is_empty() {
        what.push(format!("{} could not be run, and its line says why", failed.join(", ")));
    }
    if what.is_empty() { Ok(()) } else { Err(Error::CheckFailed(what.join("; "))) }
}

/// The kernels of these names; a name that is none stands for all that begin with it, `gate` for `gate_merge` and its backward.
pub(super) fn kernels(names: &[String]) -> Result<Vec<&'static dyn AnyKernel>, Error> {
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
    /// What it counts: cases or draws.
    what: &'static str,
    pub(super) outcome: Result<Outcome, KernelError>,
}

impl Row {
    pub(super) fn of(kernel: &dyn AnyKernel, device: &Device, launches: Launches, seed: u32) -> Self {
        let (what, outcome) = match launches {
            Launches::Draws(count) => ("draws", kernel.draws(device, count, seed)),
            Launches::Cases { large } => {
                let odd = kernel.check(device, Sizes::Odd, seed);
                let all = |odd: Outcome| Ok(odd.with(kernel.check(device, Sizes::Large, seed)?));
                ("cases", if large { odd.and_then(all) } else { odd })
            }
        };
        // Large cases are large: what they took goes back before the next kernel's.
        device.trim();
        Self { kernel: kernel.name(), what, outcome }
    }

    pub(super) fn agrees(&self) -> bool {
        self.outcome.as_ref().is_ok_and(Outcome::agrees)
    }

    /// In one line; below it where in a shader an error is.
    pub(super) fn line(&self) -> String {
        let o = match &self.outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                return [&[format!("WRONG  {:24} {error}", self.kernel)], error.excerpt()].concat().join("\n");
            }
        };
        let (word, at) = if o.agrees() { ("ok    ", String::new()) } else { ("WRONG ", format!(" at {}", o.at)) };
        let own = o.seed.map_or_else(String::new, |seed| format!(" (--seed {seed})"));
        let nudged = match o.nudged {
            0 => String::new(),
            some => format!("; {some} to what their inputs' last bits move"),
        };
        let not_run = not_run(&o.not_run);
        let ran = format!("{:24} {:3} {}", self.kernel, o.cases, self.what);
        format!("{word} {ran}, worst error {:.1e}{own}{at}{nudged}{not_run}", o.worst)
    }

    fn json(&self) -> Value {
        let lack = |(file, what): &(&str, &str)| json!({"shader": file, "lacks": what});
        let finite = |worst: f64| worst.is_finite().then_some(worst);
        match &self.outcome {
            Ok(o) => json!({
                "kernel": self.kernel, "cases": o.cases, "worst": finite(o.worst), "at": o.at, "worst_seed": o.seed,
                "nudged": o.nudged, "not_run": o.not_run.iter().map(lack).collect::<Vec<_>>(), "agrees": o.agrees()
            }),
            Err(error) => json!({"kernel": self.kernel, "error": error.to_string(), "agrees": false}),
        }
    }
}
