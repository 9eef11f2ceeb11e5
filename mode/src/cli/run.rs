//! `mode train` and `mode compose`.

use super::progress::{Progress, flow, stop_after_step};
use super::{DeviceArguments, profile};
use crate::bench::{Profile, Profiles, Rounds};
use crate::train::{DryRun, Event, Existing, Finished, Method, PROFILE, Recipe, dry_run, run};
use crate::{Error, files, memory};
use mode_tensor::Device;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A recipe to carry out.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// Folder to make, in place of the recipe's
    #[arg(long)]
    out: Option<PathBuf>,
    /// Replace the run in a folder that exists; what that made is gone once this one begins
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Go on from the last checkpoint of a run that was stopped, to the same bits
    #[arg(long)]
    resume: bool,
    /// Only say what would be trained, and the memory that it would take
    #[arg(long)]
    dry_run: bool,
    /// Look at all that is computed, and name the first kernel, layer and step that give no number (slow)
    #[arg(long)]
    check_nan: bool,
    /// Time so many steps launch by launch, after the first three; the run's folder gets a profile.json
    #[arg(long, value_name = "STEPS", conflicts_with = "dry_run", value_parser = clap::value_parser!(u64).range(1..=1000))]
    profile: Option<u64>,
    /// No progress on stderr
    #[arg(long)]
    quiet: bool,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(crate) fn main(arguments: Arguments, compose: bool) -> Result<(), Error> {
    let mut recipe = Recipe::read(&arguments.recipe, &arguments.set)?;
    if let Some(out) = arguments.out {
        recipe.out = out;
    }
    if compose != (recipe.method == Method::Compose) {
        let other = if compose { "train" } else { "compose" };
        return Err(Error::content(&arguments.recipe, format!("that is a recipe for `mode {other}`")));
    }
    let made = recipe.out.join("recipe.toml").canonicalize();
    if arguments.force && made.is_ok_and(|made| arguments.recipe.canonicalize().is_ok_and(|recipe| recipe == made)) {
        let what = "is itself a file that --force would replace; move it, or choose another --out";
        return Err(Error::content(&arguments.recipe, what));
    }
    if arguments.dry_run {
        let found = dry_run(&recipe).map_err(|error| error.in_file(&arguments.recipe))?;
        print_dry(&found);
        return Ok(());
    }
    let existing = match (arguments.force, arguments.resume) {
        (true, _) => Existing::Replace,
        (_, true) => Existing::Resume,
        _ => Existing::Refuse,
    };
    let mut steps = StepProfile::new(arguments.profile, &recipe, existing)?;
    let device = arguments.device.open()?;
    steps.try_out(&device)?;
    if arguments.check_nan {
        device.watch_finite();
    }
    stop_after_step();
    let mut progress = Progress::new(arguments.quiet);
    let name = recipe.out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let finished = run(&recipe, &device, existing, &mut |event| {
        let alone = steps.hear(&device, event);
        match event {
            Event::Begin(_) => {}
            Event::Say(line) => progress.say(line),
            Event::Warn(line) => progress.warn(line),
            Event::Step(report) => progress.step(&name, report, memory::in_use(&device)),
        }
        if alone { ControlFlow::Break(()) } else { flow() }
    });
    progress.finish();
    let finished = finished.map_err(|error| error.in_file(&arguments.recipe))?;
    print(&finished, &device);
    steps.finish(&device, &finished.out)
}

/// Steps before the first that is profiled: they take memory and make pipelines.
const WARM: u64 = 3;

/// The steps of a run that are profiled, if any.
struct StepProfile {
    wanted: u64,
    /// The first step since the run began or went on.
    first: Option<u64>,
    rounds: Rounds,
    failed: Option<Error>,
}

impl StepProfile {
    /// An error if the recipe has not as many steps.
    fn new(wanted: Option<u64>, recipe: &Recipe, existing: Existing) -> Result<Self, Error> {
        let wanted = wanted.unwrap_or(0);
        let (needs, has) = (WARM + wanted, recipe.train.steps);
        if wanted > 0 && has < needs && existing != Existing::Resume {
            return Err(Error::Setting(format!("--profile {wanted}: that takes {needs} steps, train.steps is {has}")));
        }
        Ok(Self { wanted, first: None, rounds: Rounds::default(), failed: None })
    }

    /// An error if the device can't tell times.
    fn try_out(&self, device: &Device) -> Result<(), Error> {
        if self.wanted > 0 {
            device.start_profile()?;
            device.stop_profile()?;
        }
        Ok(())
    }

    /// How many steps have been before `step` since the run began or went on.
    fn before(&self, step: u64) -> u64 {
        step - self.first.unwrap_or(step)
    }

    /// True for a step that is profiled, which is then about to begin, and has the device for itself.
    fn hear(&mut self, device: &Device, event: Event) -> bool {
        let wanted = self.wanted;
        let profiled = |before: u64| (WARM..WARM + wanted).contains(&before);
        match event {
            Event::Begin(step) => {
                self.first.get_or_insert(step);
                let profiled = profiled(self.before(step));
                if profiled {
                    self.failed = device.start_profile().err().map(Error::from).or(self.failed.take());
                }
                profiled
            }
            Event::Step(report) => {
                let before = self.before(report.step);
                let seconds = (report.tokens_seen / report.step) as f64 / report.tokens_per_second;
                if profiled(before) {
                    match device.stop_profile() {
                        Ok(timings) => self.rounds.profiled.push((seconds, timings)),
                        Err(error) => self.failed = Some(error.into()),
                    }
                } else if before + 1 == WARM {
                    self.rounds.plain.push(seconds);
                }
                false
            }
            Event::Say(_) | Event::Warn(_) => false,
        }
    }

    /// Writes and prints what was found.
    fn finish(self, device: &Device, out: &Path) -> Result<(), Error> {
        if self.wanted == 0 {
            return Ok(());
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.rounds.profiled.is_empty() {
            tell!("warning: the run had no steps left to profile");
            return Ok(());
        }
        let mut found = Profiles::new(device)?;
        found.profiles.push(Profile::new("step", Vec::new(), &self.rounds, &found.ceilings));
        let file = out.join(PROFILE);
        files::write_json(&file, &found)?;
        profile::print(&found);
        say!("{} written", file.display());
        Ok(())
    }
}

/// What was trained, what was not, and where it is.
fn print(finished: &Finished, device: &Device) {
    let (first, last) = (finished.losses.first(), finished.losses.last());
    if let (Some(first), Some(last)) = (first, last) {
        let rate = finished.tokens_seen as f64 / finished.seconds;
        say!(
            "loss     {first:.4} before the first step, {last:.4} before the last of {}, {rate:.0} tokens/s",
            finished.steps
        );
    }
    let frozen = finished.params_total - finished.params_trained;
    say!("trained  {}: {} of {} parameters", finished.trained, finished.params_trained, finished.params_total);
    if !finished.frozen_after.is_empty() {
        let hash = &finished.frozen_after;
        say!("frozen   {}: {frozen} parameters, sha256 {hash:.16}.. before and after: bit-identical", finished.frozen);
    }
    let peak = memory::peak().map_or_else(String::new, |bytes| format!(", {:.0} MB of the process", megabytes(bytes)));
    say!("memory   {:.0} MB of the device{peak} at the most", megabytes(device.counters().peak_bytes));
    say!("written  {}", finished.out.display());
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// What would be trained, and what it would take.
fn print_dry(found: &DryRun) {
    say!("trained  {} of {} parameters", found.params_trained, found.params_total);
    say!("steps    {}, {} tokens", found.steps, found.tokens);
    let process = found
        .process_bytes
        .map_or_else(String::new, |bytes| format!(", {:.0} MB of the process if that is the CPU", megabytes(bytes)));
    say!("memory   {:.0} MB of the device{process}", megabytes(found.device_bytes));
}
