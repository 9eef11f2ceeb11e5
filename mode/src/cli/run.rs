//! `mode train` and `mode compose`.

use super::progress::{Progress, flow, stop_after_step};
use super::recipe::RecipeArguments;
use super::{DeviceArguments, open, profile};
use crate::bench::{PROFILED, Profiles, RunProfile};
use crate::mesh::Members;
use crate::train::{
    DryRun, Event, Existing, Finished, LossScaling, Method, PROFILE, Precision, Recipe, dry_run, run_on,
};
use crate::{Error, files, memory};
use mode_tensor::Device;
use std::ops::ControlFlow;
use std::path::Path;

/// A recipe to carry out.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Only say what would be trained, and the memory that it would take
    #[arg(long)]
    dry_run: bool,
    /// Look at all that is computed, and name the first kernel, layer and step that give no number (slow)
    #[arg(long)]
    check_nan: bool,
    /// Time so many steps launch by launch, after the first three; the run's folder gets a profile.json
    #[arg(long, value_name = "STEPS", conflicts_with = "dry_run", value_parser = clap::value_parser!(u64).range(PROFILED))]
    profile: Option<u64>,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(crate) fn main(mut arguments: Arguments, compose: bool) -> Result<(), Error> {
    let (recipe, file) = (arguments.recipe.read()?, &arguments.recipe.file);
    if compose != (recipe.method == Method::Compose) {
        let other = if compose { "train" } else { "compose" };
        return Err(Error::content(file, format!("that is a recipe for `mode {other}`")));
    }
    let made = recipe.out.join("recipe.toml").canonicalize();
    if arguments.recipe.force && made.is_ok_and(|made| file.canonicalize().is_ok_and(|recipe| recipe == made)) {
        let what = "is itself a file that --force would replace; move it, or choose another --out";
        return Err(Error::content(file, what));
    }
    if recipe.mesh.is_some() {
        let cpu = arguments.device.device.as_deref().is_none_or(|device| device == "cpu");
        let refused = [
            (arguments.dry_run, "--dry-run", "`mode mesh plan` predicts time and memory of each device"),
            (arguments.check_nan, "--check-nan", "it looks at one device; drop [mesh] for it"),
            (arguments.profile.is_some(), "--profile", "it times one device; `mode mesh show` draws a step of all"),
            (!cpu, "--device", "mesh.devices names them all"),
            (arguments.device.threads.is_some(), "--threads", "mesh.threads says how many each device has"),
        ];
        if let Some((_, flag, why)) = refused.iter().find(|(given, ..)| *given) {
            return Err(Error::content(file, format!("has a [mesh], beside which {flag} means nothing: {why}")));
        }
        // Where the devices' parts are put together.
        arguments.device.device = Some("cpu".into());
    }
    if arguments.dry_run {
        let found = dry_run(&recipe).map_err(|error| error.in_file(file))?;
        print_dry(&found);
        return Ok(());
    }
    let existing = arguments.recipe.existing();
    let mut steps = RunProfile::new(arguments.profile.unwrap_or(0));
    if existing != Existing::Resume {
        steps.check("train.steps", recipe.train.steps)?;
    }
    let device = arguments.device.open()?;
    if arguments.profile.is_some() {
        RunProfile::try_out(&device)?;
    }
    if arguments.check_nan {
        if recipe.train.precision == Precision::F16 {
            let what =
                "looks for the first number that is none, and in f16 gradients may overflow, which skips a step; add";
            return Err(Error::Setting(format!("--check-nan {what} --set train.precision=f32")));
        }
        device.watch_finite();
    }
    let existing = Folder { existing, quiet: arguments.recipe.quiet };
    let members = Members::Named(&|name| open(Some(name)));
    let finished = carry_out(&recipe, &device, members, existing, &mut steps).map_err(|error| error.in_file(file))?;
    print(&finished, recipe.mesh.is_none().then_some(&device));
    if arguments.profile.is_none() {
        return Ok(());
    }
    print_profile(steps, &device, &finished.out)
}

/// What is done with a run's folder that exists, and whether progress is shown.
pub(super) struct Folder {
    pub(super) existing: Existing,
    pub(super) quiet: bool,
}

/// Carries out a recipe, with these devices for its mesh, and shows how far it is.
pub(super) fn carry_out(
    recipe: &Recipe,
    device: &Device,
    members: Members,
    Folder { existing, quiet }: Folder,
    steps: &mut RunProfile,
) -> Result<Finished, Error> {
    stop_after_step();
    let mut progress = Progress::new(quiet);
    let name = recipe.out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let finished = run_on(recipe, device, members, existing, &mut |event| {
        let alone = steps.hear(device, event);
        match event {
            Event::Begin(_) => {}
            Event::Say(line) => progress.say(line),
            Event::Warn(line) => progress.warn(line),
            Event::Step(report) => progress.step(&name, report, memory::in_use(device)),
        }
        if alone { ControlFlow::Break(()) } else { flow() }
    });
    progress.finish();
    finished
}

/// Writes and prints what was found of its steps.
fn print_profile(steps: RunProfile, device: &Device, out: &Path) -> Result<(), Error> {
    let mut found = Profiles::new(device)?;
    let Some(profile) = steps.profile(&found.ceilings)? else {
        tell!("warning: the run had no steps left to profile");
        return Ok(());
    };
    found.profiles.push(profile);
    let file = out.join(PROFILE);
    files::write_json(&file, &found)?;
    profile::print(&found);
    say!("{} written", file.display());
    Ok(())
}

/// What was trained, what was not, and where it is; of the device that it was on, if it was one.
pub(super) fn print(finished: &Finished, device: Option<&Device>) {
    let (first, last) = (finished.losses.first(), finished.losses.last());
    if let (Some(first), Some(last)) = (first, last) {
        let rate = finished.tokens_seen as f64 / finished.seconds;
        say!(
            "loss     {first:.4} before the first step, {last:.4} before the last of {}, {rate:.0} tokens/s",
            finished.steps
        );
    }
    if let Some(LossScaling { scale, skipped }) = finished.scaling {
        say!(
            "skipped  {skipped} of {} steps, whose gradients f16 did not hold; the loss scale is {scale}",
            finished.steps
        );
    }
    let frozen = finished.params_total - finished.params_trained;
    say!("trained  {}: {} of {} parameters", finished.trained, finished.params_trained, finished.params_total);
    if !finished.frozen_after.is_empty() {
        let hash = &finished.frozen_after;
        say!("frozen   {}: {frozen} parameters, sha256 {hash:.16}.. before and after: bit-identical", finished.frozen);
    }
    let own = device.map(|device| format!("{:.0} MB of the device", megabytes(device.counters().peak_bytes)));
    let peak = memory::peak().map(|bytes| format!("{:.0} MB of the process", megabytes(bytes)));
    let both: Vec<String> = own.into_iter().chain(peak).collect();
    if !both.is_empty() {
        say!("memory   {} at the most", both.join(", "));
    }
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
