//! `mode demo`.

use super::DeviceArguments;
use super::progress::{Progress, flow, stop_after_step};
use crate::bench::{PROFILED, Profiles, RunProfile};
use crate::data::Source;
use crate::demo::{Demo, Event, Settings, Sources, demo, tune};
use crate::train::{self, PROFILE};
use crate::{Error, files, memory};
use mode_tensor::Device;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

/// The whole story in one command.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A few steps of everything: shows that it runs, and nothing else
    #[arg(long)]
    quick: bool,
    /// Measure the grid of learning rates and the defaults instead (half an hour)
    #[arg(long)]
    tune: bool,
    /// Folder to make
    #[arg(long, default_value = "runs/demo")]
    out: PathBuf,
    /// Replace files of a folder that exists
    #[arg(long)]
    force: bool,
    /// Change a setting, such as seed=2
    #[arg(long)]
    set: Vec<String>,
    /// English text: a file, a folder, or FILE.jsonl:field[,field] [default: built in]
    #[arg(long)]
    english: Option<String>,
    /// Code, likewise
    #[arg(long)]
    code: Option<String>,
    /// Math, likewise
    #[arg(long)]
    math: Option<String>,
    /// Time so many steps of each run launch by launch, after its first three; each run's folder gets a profile.json
    #[arg(long, value_name = "STEPS", conflicts_with = "tune", value_parser = clap::value_parser!(u64).range(PROFILED))]
    profile: Option<u64>,
    /// No progress on stderr
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let started = Instant::now();
    let settings = Settings::with(arguments.quick, &arguments.set)?;
    let source = |text: &Option<String>| text.as_ref().map(|text| text.parse::<Source>()).transpose();
    let sources = Sources([source(&arguments.english)?, source(&arguments.code)?, source(&arguments.math)?]);
    let wanted = arguments.profile.unwrap_or(0);
    for (setting, steps) in [("steps", settings.steps), ("pretrain_steps", settings.pretrain_steps)] {
        RunProfile::new(wanted).check(setting, steps)?;
    }
    let device = arguments.device.open()?;
    if wanted > 0 {
        RunProfile::try_out(&device)?;
    }
    stop_after_step();
    let mut progress = Progress::new(arguments.quiet);
    let mut profiles: Vec<(PathBuf, RunProfile)> = Vec::new();
    let mut listener = |event: Event| {
        match event {
            Event::Say(line) => progress.say(&line),
            Event::Run(name, out, event) => {
                if profiles.last().is_none_or(|(last, _)| last != out) {
                    profiles.push((out.into(), RunProfile::new(wanted)));
                }
                if let train::Event::Step(report) = event {
                    progress.step(name, report, memory::in_use(&device));
                }
                if profiles.last_mut().is_some_and(|(_, steps)| steps.hear(&device, event)) {
                    return ControlFlow::Break(());
                }
            }
        }
        flow()
    };
    let run = Demo { out: arguments.out.clone(), settings, sources, device: device.clone(), listener: &mut listener };
    if arguments.tune {
        return tune(run, arguments.force);
    }
    demo(run, arguments.force)?;
    if wanted > 0 {
        write_profiles(profiles, &device)?;
    }
    let out = arguments.out.display();
    say!("{out}/report.html and {out}/results.json written in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Writes what was found of each run's steps into its folder; the device's ceilings are measured once.
fn write_profiles(runs: Vec<(PathBuf, RunProfile)>, device: &Device) -> Result<(), Error> {
    let none = Profiles::new(device)?;
    for (out, steps) in runs {
        let Some(profile) = steps.profile(&none.ceilings)? else { continue };
        let (file, ms) = (out.join(PROFILE), profile.ms);
        files::write_json(&file, &Profiles { profiles: vec![profile], ..none.clone() })?;
        say!("{} written: a step's launches take {ms:.2} ms", file.display());
    }
    Ok(())
}
