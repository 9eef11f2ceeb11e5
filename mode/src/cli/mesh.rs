//! `mode mesh`: run, plan, simulate, show.

use super::print_json;
use crate::Error;
use crate::mesh::{Bench, Layout, Link, Measured, Options};
use crate::train::Recipe;
use mode_tensor::Device;
use std::path::PathBuf;

/// What to do with meshes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Take a recipe's steps on one or several layouts, and compare losses, times, bytes and idle shares
    Run(Run),
}

/// A recipe and the layouts that it is run on.
#[derive(clap::Args)]
struct Run {
    /// The recipe, a TOML file; what it says of `out` is not made
    recipe: PathBuf,
    /// The layout: spmd-4, spmd-2x2, 4+2+2, .. or a .toml file
    #[arg(long)]
    mesh: String,
    /// Another layout to run beside it, in turns; may be repeated
    #[arg(long)]
    compare: Vec<String>,
    /// Times that all are run; of each the fastest step counts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rounds: u64,
    /// Where all devices compute: cpu, gpu or gpu:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads of each CPU device
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    threads: u64,
    /// Emulate a link on which a device sends so many bytes a second
    #[arg(long, value_name = "BYTES_PER_SECOND")]
    link: Option<f64>,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    match arguments.command {
        Command::Run(arguments) => run(arguments),
    }
}

fn run(arguments: Run) -> Result<(), Error> {
    let recipe = Recipe::read(&arguments.recipe, &arguments.set)?;
    let bench = Bench::new(&recipe).map_err(|error| error.in_file(&arguments.recipe))?;
    let names = std::iter::once(&arguments.mesh).chain(&arguments.compare);
    let layouts = names.map(|name| Layout::read(name, bench.experts())).collect::<Result<Vec<_>, _>>()?;
    let link = arguments.link.map(|bytes_per_second| Link { bytes_per_second, latency: 0.0 });
    let options = Options { threads: arguments.threads as usize, link };
    let devices = |count: usize| -> Result<Vec<Device>, Error> {
        (0..count).map(|_| Ok(Device::choose(Some(&arguments.device))?)).collect()
    };
    let found = bench.measure(&layouts, arguments.rounds as usize, &devices, &options)?;
    if arguments.json {
        return print_json(&found);
    }
    print(&found);
    Ok(())
}

/// One line a layout, against the first.
pub(super) fn print(found: &[Measured]) {
    let first = &found[0];
    say!(
        "{:14} {:>7} {:>10} {:>8} {:>11} {:>11} {:>6} {:>10} {:>9}",
        "layout",
        "devices",
        "ms a step",
        "spread",
        "MB within",
        "MB between",
        "idle",
        "loss",
        "apart"
    );
    for measured in found {
        let apart = measured.losses.iter().zip(&first.losses).map(|(a, b)| ((a - b) / b).abs()).fold(0.0, f32::max);
        say!(
            "{:14} {:>7} {:>10.2} {:>7.1}% {:>11.2} {:>11.2} {:>5.1}% {:>10.5} {:>9.1e}",
            measured.layout,
            measured.devices,
            1e3 * measured.seconds(),
            100.0 * measured.spread(),
            measured.bytes_within as f64 / 1e6,
            measured.bytes_between as f64 / 1e6,
            100.0 * measured.idle(),
            measured.losses.last().copied().unwrap_or(f32::NAN),
            apart
        );
    }
}
