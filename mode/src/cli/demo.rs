//! `mode demo`.

use super::DeviceArguments;
use super::progress::{Progress, flow, stop_after_step};
use crate::data::Source;
use crate::demo::{Demo, Event, Settings, Sources, demo, tune};
use crate::{Error, memory};
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
    let device = arguments.device.open()?;
    stop_after_step();
    let mut progress = Progress::new(arguments.quiet);
    let mut listener = |event: Event| {
        match event {
            Event::Say(line) => progress.say(&line),
            Event::Step(name, report) => progress.step(name, report, memory::in_use(&device)),
        }
        flow()
    };
    let run = Demo { out: arguments.out.clone(), settings, sources, device: device.clone(), listener: &mut listener };
    if arguments.tune {
        return tune(run, arguments.force);
    }
    demo(run, arguments.force)?;
    let out = arguments.out.display();
    say!("{out}/report.html and {out}/results.json written in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}
