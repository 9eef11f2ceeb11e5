//! `mode tune`: which of a GPU's ways to the same result are fastest on this machine.

use super::shaders::Folder;
use super::{DeviceArguments, check, print_json};
use crate::tune::{Cache, Head};
use crate::{Error, files, folders};
use mode_kernels::registry::AnyKernel;
use mode_kernels::tune::{Choice, KNOBS, Knob, Round, Trial, number, texts, tune};
use mode_kernels::{AdapterSummary, Device, Tuning};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Of the draws that a number must pass.
const SEED: u32 = 7;

/// Find the fastest tiers and tiles of this GPU, and keep them for later runs
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Names of kernels, or how several begin: matmul, attention, gate [default: all that have something to choose]
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
    let seconds = digits.parse::<f64>().ok().map(|count| count * unit);
    let seconds = seconds.filter(|seconds| (1.0..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give a time from 1s to 1440m, such as 60s or 5m".into())
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let knobs = knobs(&arguments.kernels)?;
    let device = arguments.device.open()?;
    let Some(adapter) = device.adapter() else {
        let what = "only a GPU has several ways to a result; name one with --device gpu";
        return Err(Error::Setting(format!("there is nothing to tune on {}: {what}", device.name())));
    };
    if arguments.dry_run {
        return list(&knobs, &device, arguments.json);
    }
    let Some((head, path)) = file(adapter)? else {
        let what = "set it to a folder for what is found";
        return Err(Error::Setting(format!("there is no cache folder, or {} is off; {what}", folders::CACHE)));
    };
    // What an earlier run found of other numbers stays; a file that is not believed is replaced.
    let before = Cache::read(&path, &head, &adapter.capabilities).ok().flatten();
    let mut cache = before.unwrap_or_else(|| Cache::new(head));
    can_be_written(&path)?;
    let (found, left) = find(&knobs, &device, arguments.budget, &mut |choice| {
        if !arguments.json {
            say!("{}", line(choice));
        }
        cache.put(choice);
        cache.write(&path)
    })?;
    if found.is_empty() {
        let what = "nothing was tried to its end; give more, or name one kernel";
        return Err(Error::Setting(format!("--budget {:.0}s: {what}", arguments.budget.as_secs_f64())));
    }
    if arguments.json {
        let choices: Vec<Value> = found.iter().map(as_json).collect();
        return print_json(&json!({"device": device.name(), "file": path, "choices": choices, "not_tried": left}));
    }
    say!("written to {}", path.display());
    if !left.is_empty() {
        say!("no time was left for {}; give a longer --budget, or name their kernels", left.join(", "));
    }
    Ok(())
}

/// What the file of an adapter must say, and where it is; none without a cache folder. `MODE_SHADERS` counts, for other shaders may
/// want other numbers.
fn file(adapter: &AdapterSummary) -> Result<Option<(Head, PathBuf)>, Error> {
    let Some(cache) = folders::cache() else { return Ok(None) };
    let folder = Folder::from_environment()?;
    let own = |path: &str| folder.as_ref().and_then(|folder| folder.text(path));
    let texts = texts();
    let head = Head::new(adapter, texts.iter().map(|(path, text)| (*path, own(path).unwrap_or(text))));
    let path = cache.join("tune").join(head.file(folder.is_none()));
    Ok(Some((head, path)))
}

/// What was found on an adapter, if that is believed; why not is an error of one line.
type Found = Option<(PathBuf, Result<Cache, String>)>;

/// What is kept of an adapter.
pub(super) fn found(adapter: &AdapterSummary) -> Result<Found, Error> {
    let Some((head, path)) = file(adapter)? else { return Ok(None) };
    let cache = Cache::read(&path, &head, &adapter.capabilities).transpose();
    Ok(cache.map(|cache| (path, cache)))
}

/// Why a file is ignored, for a person.
pub(super) fn ignored(path: &Path, why: &str) -> String {
    format!("{} is ignored: {why}; mode tune writes it anew", path.display())
}

/// Lets a GPU choose by what was found on its adapter earlier, if that still holds; a line for people if it does otherwise than without.
pub(super) fn load(device: &Device) -> Result<Option<String>, Error> {
    let Some(adapter) = device.adapter() else { return Ok(None) };
    Ok(match found(adapter)? {
        Some((path, Ok(cache))) => {
            device.set_tuning(cache.apply(device.tuning()));
            cache.summary().map(|summary| format!("tuning: {summary}, by {}", path.display()))
        }
        Some((path, Err(why))) => Some(format!("tuning: {}", ignored(&path, &why))),
        None => None,
    })
}

/// The numbers that change launches of these kernels.
fn knobs(names: &[String]) -> Result<Vec<&'static Knob>, Error> {
    let any = |knob: &Knob, kernels: &[&dyn AnyKernel]| kernels.iter().any(|of| knob.kernels.contains(&of.name()));
    let mut wanted = Vec::new();
    for name in names {
        let kernels = check::kernels(std::slice::from_ref(name))?;
        if !KNOBS.iter().any(|knob| any(knob, &kernels)) {
            let all: BTreeSet<&str> = KNOBS.iter().flat_map(|knob| knob.kernels).copied().collect();
            let all: Vec<&str> = all.into_iter().collect();
            return Err(Error::Setting(format!("'{name}' has nothing to choose; {} have", all.join(", "))));
        }
        wanted.extend(kernels);
    }
    Ok(KNOBS.iter().filter(|knob| names.is_empty() || any(knob, &wanted)).collect())
}

/// An error before any time is spent, if nothing can be put there.
fn can_be_written(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Err(Error::Setting(format!("{} is a folder, where what is found would be written", path.display())));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
    let trial = path.with_extension("trial");
    files::write(&trial, "")?;
    std::fs::remove_file(&trial).map_err(Error::file(&trial))
}

/// Tunes one number after the other, each with what was found before it, and hands out each choice as it is made; all of them, and the
/// names of the numbers that there was no time for.
fn find(
    knobs: &[&Knob],
    device: &Device,
    budget: Duration,
    found_one: &mut dyn FnMut(&Choice) -> Result<(), Error>,
) -> Result<(Vec<Choice>, Vec<&'static str>), Error> {
    let (end, mut found, mut left) = (Instant::now() + budget, Vec::new(), Vec::new());
    let built_in = Tuning::built_in(&device.capabilities());
    // What an earlier run found is tried anew.
    let fresh = |tuning, knob: &&Knob| knob.with(tuning, built_in.get(knob.name).unwrap_or_default());
    device.set_tuning(knobs.iter().fold(device.tuning(), fresh));
    for (place, knob) in knobs.iter().enumerate() {
        let until = Instant::now() + end.saturating_duration_since(Instant::now()) / (knobs.len() - place) as u32;
        let Some(choice) = tune(device, knob, SEED, until, end)? else {
            left.push(knob.name);
            continue;
        };
        device.set_tuning(knob.with(device.tuning(), choice.value));
        found_one(&choice)?;
        found.push(choice);
    }
    Ok((found, left))
}

fn line(choice: &Choice) -> String {
    let (value, built_in) = (number(choice.value), number(choice.built_in));
    let change = if value == built_in { format!("{value} stays") } else { format!("{built_in} -> {value}") };
    format!("{:21} {change}: {}", choice.name, choice.reason)
}

/// What would be tried.
fn list(knobs: &[&Knob], device: &Device, json: bool) -> Result<(), Error> {
    let (capabilities, tuning) = (device.capabilities(), device.tuning());
    let built_in = Tuning::built_in(&capabilities);
    let mut rows = Vec::new();
    for knob in knobs {
        let [now, built_in] = [tuning, built_in].map(|tuning| tuning.get(knob.name).unwrap_or_default());
        let others = knob.candidates(&capabilities);
        let shapes = knob.shapes(device.is_hardware_gpu());
        if json {
            rows.push(json!({
                "name": knob.name, "kernels": knob.kernels, "what": knob.what, "now": now, "built_in": built_in,
                "others": others, "shapes": shapes
            }));
            continue;
        }
        let words: Vec<String> = others.iter().map(|&value| number(value)).collect();
        say!("{:21} {} ({})", knob.name, knob.what, knob.kernels.join(", "));
        match words.is_empty() {
            true => say!("{:21} now {}; there is no other way on this device", "", number(now)),
            false => {
                let (now, built_in) = (number(now), number(built_in));
                say!(
                    "{:21} now {now}, built in {built_in}, others, if a shape goes another way then, {}; on {}",
                    "",
                    words.join(", "),
                    shapes.join("; ")
                );
            }
        }
    }
    if json { print_json(&json!({"device": device.name(), "numbers": rows})) } else { Ok(()) }
}

fn as_json(choice: &Choice) -> Value {
    let round = |round: &Round| {
        let times = round.times.iter();
        let times: Vec<Value> = times
            .map(|t| json!({"shape": t.shape, "ms": t.own, "built_in_ms": t.built_in, "ratio": t.ratio}))
            .collect();
        json!({"ratio": round.ratio, "times": times})
    };
    let trial = |trial: &Trial| {
        let rounds: Vec<Value> = trial.rounds.iter().map(round).collect();
        json!({"value": trial.value, "rounds": rounds, "refused": trial.refused})
    };
    json!({
        "name": choice.name, "value": choice.value, "built_in": choice.built_in, "reason": choice.reason,
        "trials": choice.trials.iter().map(trial).collect::<Vec<_>>()
    })
}
