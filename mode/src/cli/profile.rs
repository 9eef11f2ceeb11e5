//! `mode profile`.

use super::{DeviceArguments, print_json};
use crate::Error;
use crate::bench::{Profile, Subject, profile};
use crate::train::Recipe;
use clap::ValueEnum;
use std::path::PathBuf;

/// Where the time goes, kernel by kernel, against what the device can do.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// step (of a recipe), gate, attention or matmul
    what: What,
    /// The recipe whose steps are profiled
    #[arg(required_if_eq("what", "step"))]
    recipe: Option<PathBuf>,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    Step,
    Gate,
    Attention,
    Matmul,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let recipe = match (arguments.what, &arguments.recipe) {
        (What::Step, Some(path)) => Some(Recipe::read(path, &arguments.set)?),
        (_, None) if !arguments.set.is_empty() => {
            return Err(Error::Setting("--set changes a recipe; only `mode profile step` takes one".into()));
        }
        (_, None) => None,
        (_, Some(path)) => return Err(Error::content(path, "only `mode profile step` takes a recipe")),
    };
    let device = arguments.device.open()?;
    let subject = match (arguments.what, &recipe) {
        (What::Step, Some(recipe)) => Subject::Step(recipe),
        (What::Gate, _) => Subject::Gate,
        (What::Attention, _) => Subject::Attention,
        _ => Subject::Matmul,
    };
    let found = profile(subject, &device)?;
    if arguments.json { print_json(&found) } else { print(&found) }
}

fn print(found: &Profile) -> Result<(), Error> {
    let ceilings = &found.ceilings;
    say!("ceilings  {:.1} GFLOP/s of a product, {:.1} GB/s of a copy", ceilings.gflops, ceilings.gbytes);
    say!("{:24} {:>8} {:>9} {:>6} {:>9} {:>8}  of its ceiling", "kernel", "launches", "ms", "%", "GFLOP/s", "GB/s");
    for k in &found.kernels {
        let (share, launches) = (100.0 * k.ms / found.ms, k.launches);
        let numbers = format!("{launches:8.0} {:9.3} {share:6.1} {:9.1} {:8.1}", k.ms, k.gflops, k.gbytes);
        // More than a copy of what no cache holds reaches: the kernel's data were in one.
        let cached = if k.percent > Some(100.0) && k.bound == "bandwidth" { ", from cache" } else { "" };
        let percent = k.percent.map_or_else(|| "  ?".into(), |percent| format!("{percent:3.0}"));
        say!("{:24} {numbers}  {percent} % of {}{cached}", k.kernel, k.bound);
    }
    say!("{:24} {:>8} {:9.3}", "all", "", found.ms);
    Ok(())
}
