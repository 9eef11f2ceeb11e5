//! `mode tune`: which of a GPU's ways to the same result are fastest on this machine.

use super::shaders::Folder;
use super::watch::stopped;
use super::{DeviceArguments, nearest, print_json};
use crate::tune::{Cache, Head};
use crate::{Error, tune};
use mode_kernels::tune::{Choice, KNOBS, Knob, number};
use mode_kernels::{AdapterSummary, Device, Tuning, registry, shaders};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// Of the draws that a number must pass.
const SEED: u32 = 7;

/// Find the fastest tiers and tiles of this GPU, and keep them for later runs
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Names of kernels: matmul, attention, .. [default: all that have something to choose]
    kernels: Vec<String>,
    /// Time for all of it: 90s, 5m
    #[arg(long, default_value = "60s", value_parser = budget)]
    budget: Duration,
    /// Say what would be tried, on which shapes, and stop
    #[arg(long)]
    dry_run: bool,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Seconds, or minutes.
fn budget(text: &str) -> Result<Duration, String> {
    let (digits, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60.0),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds =
        digits.parse::<f64>().ok().map(|count| count * unit).filter(|seconds| (1.0..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give a time from 1s to 1440m, such as 60s or 5m".into())
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let knobs = knobs(&arguments.kernels)?;
    let device = arguments.device.open()?;
    let Some(adapter) = device.adapter() else {
        // No failure: whoever tunes before a run goes on to the run.
        if arguments.json {
            return print_json(&json!({"device": device.name(), "choices": []}));
        }
        say!("there is nothing to tune on {}: only a GPU has several ways; name one with --device gpu", device.name());
        return Ok(());
    };
    if arguments.dry_run {
        return list(&knobs, &device, arguments.json);
    }
    let head = head(adapter)?;
    let Some(path) = head.path() else {
        return Err(Error::Setting(format!(
            "no home folder is known; set {} to a folder for what is found",
            tune::VARIABLE
        )));
    };
    let (found, whole) = find(&knobs, &device, arguments.budget, !arguments.json)?;
    let kept = keep(&path, head, &found)?;
    if arguments.json {
        let choices: Vec<Value> = found.iter().map(choice_json).collect();
        return print_json(&json!({
            "device": device.name(), "file": kept.then_some(&path), "whole": whole, "choices": choices
        }));
    }
    match (kept, whole) {
        (false, _) => {
            say!("nothing was timed to the end; give more than --budget {:.0}s", arguments.budget.as_secs_f64())
        }
        (true, true) => say!("written to {}", path.display()),
        (true, false) => say!("written to {}; not all was tried: a longer --budget goes on to the end", path.display()),
    }
    Ok(())
}

/// What a file of this adapter must say: `MODE_SHADERS` counts, for other shaders may want other numbers.
fn head(adapter: &AdapterSummary) -> Result<Head, Error> {
    let folder = Folder::from_environment()?;
    let texts = shaders::texts();
    let own = |path: &str| folder.as_ref().and_then(|folder| folder.text(path));
    Ok(Head::new(adapter, texts.iter().map(|(path, text)| (*path, own(path).unwrap_or(text)))))
}

/// Lets a GPU choose by what was found on its adapter earlier, if that still holds; says in one line which it does.
pub(super) fn load(device: &Device) -> Result<(), Error> {
    let Some(adapter) = device.adapter() else { return Ok(()) };
    let head = head(adapter)?;
    let Some(path) = head.path() else { return Ok(()) };
    match Cache::read(&path, &head) {
        Ok(None) => {}
        Ok(Some(cache)) => {
            device.set_tuning(cache.apply(device.tuning()));
            let changed = cache.choices.iter().filter(|chosen| !chosen.is_built_in()).count();
            tell!("tuning: {changed} of {} numbers are not as built in, by {}", KNOBS.len(), path.display());
        }
        Err(why) => tell!("tuning: {} is ignored: {why}; mode tune writes it anew", path.display()),
    }
    Ok(())
}

/// The numbers that change launches of these kernels.
fn knobs(names: &[String]) -> Result<Vec<&'static Knob>, Error> {
    let tunable: BTreeSet<&str> = KNOBS.iter().flat_map(|knob| knob.kernels).copied().collect();
    for name in names.iter().filter(|name| !tunable.contains(name.as_str())) {
        let known = registry::ALL.iter().any(|kernel| kernel.name() == name);
        let near = nearest(name, tunable.iter().copied());
        return Err(Error::Setting(match known {
            true => {
                let all: Vec<&str> = tunable.into_iter().collect();
                format!("kernel '{name}' has nothing to choose; {} have", all.join(", "))
            }
            false => format!("no kernel '{name}'; did you mean '{near}'?"),
        }));
    }
    let wanted = |knob: &&Knob| names.is_empty() || names.iter().any(|name| knob.kernels.contains(&name.as_str()));
    Ok(KNOBS.iter().filter(wanted).collect())
}

/// Tunes one number after the other, each with what was found before it; and whether there was time for all.
fn find(knobs: &[&Knob], device: &Device, budget: Duration, print: bool) -> Result<(Vec<Choice>, bool), Error> {
    let receiver = stopped()?;
    let pressed = std::cell::Cell::new(false);
    let stop = || {
        pressed.set(pressed.get() || receiver.try_recv().is_ok());
        pressed.get()
    };
    let (end, mut found, mut whole) = (Instant::now() + budget, Vec::new(), true);
    let mut tuning = device.tuning();
    let built_in = Tuning::built_in(&device.capabilities());
    for knob in knobs {
        // What an earlier run found is tried anew.
        tuning = knob.with(tuning, built_in.get(knob.name).unwrap_or_default());
    }
    for (number_of, knob) in knobs.iter().enumerate() {
        if stop() || Instant::now() >= end {
            whole = false;
            break;
        }
        let left = (knobs.len() - number_of) as u32;
        let until = Instant::now() + end.saturating_duration_since(Instant::now()) / left;
        device.set_tuning(tuning);
        let choice = mode_kernels::tune::tune(device, knob, SEED, until, &stop)?;
        tuning = knob.with(tuning, choice.value);
        whole &= choice.whole;
        if print {
            say!("{}", line(&choice));
        }
        found.push(choice);
    }
    device.set_tuning(tuning);
    Ok((found, whole))
}

fn line(choice: &Choice) -> String {
    let (value, built_in) = (number(choice.value), number(choice.built_in));
    let change = if value == built_in { format!("{value} stays") } else { format!("{built_in} -> {value}") };
    format!("{:16} {change}: {}", choice.name, choice.reason)
}

/// Puts what was found into the adapter's file, beside what an earlier run found of other numbers; false if nothing was.
fn keep(path: &Path, head: Head, found: &[Choice]) -> Result<bool, Error> {
    // A file that is not believed is replaced.
    let mut cache = Cache::read(path, &head).ok().flatten().unwrap_or_else(|| Cache::new(head));
    let tried = |choice: &&Choice| choice.whole || choice.trials.iter().any(|trial| trial.ratio.is_some());
    let found: Vec<&Choice> = found.iter().filter(tried).collect();
    found.iter().for_each(|choice| cache.put(choice));
    if !found.is_empty() {
        cache.write(path)?;
    }
    Ok(!found.is_empty())
}

/// What would be tried.
fn list(knobs: &[&Knob], device: &Device, json: bool) -> Result<(), Error> {
    let (capabilities, tuning) = (device.capabilities(), device.tuning());
    let mut rows = Vec::new();
    for knob in knobs {
        let (now, candidates) = (tuning.get(knob.name).unwrap_or_default(), knob.candidates(&capabilities));
        let shapes = knob.names(device.is_hardware_gpu());
        if json {
            rows.push(json!({
                "name": knob.name, "kernels": knob.kernels, "what": knob.what, "now": now, "candidates": candidates,
                "shapes": shapes
            }));
            continue;
        }
        let words: Vec<String> = candidates.iter().map(|&value| number(value)).collect();
        say!("{:16} {} ({})", knob.name, knob.what, knob.kernels.join(", "));
        match words.is_empty() {
            true => say!("{:16} now {}; this device has no other way", "", number(now)),
            false => say!("{:16} now {}; to be tried: {}; on {}", "", number(now), words.join(", "), shapes.join("; ")),
        }
    }
    if json { print_json(&json!({"device": device.name(), "numbers": rows})) } else { Ok(()) }
}

fn choice_json(choice: &Choice) -> Value {
    let trial = |trial: &mode_kernels::tune::Trial| {
        let times =
            trial.times.iter().map(|t| json!({"shape": t.shape, "ms": t.own, "other_ms": t.other, "ratio": t.ratio}));
        json!({
            "value": trial.value, "against": trial.against, "ratio": trial.ratio, "refused": trial.refused,
            "times": times.collect::<Vec<_>>()
        })
    };
    json!({
        "name": choice.name, "value": choice.value, "built_in": choice.built_in, "reason": choice.reason,
        "whole": choice.whole, "trials": choice.trials.iter().map(trial).collect::<Vec<_>>()
    })
}
