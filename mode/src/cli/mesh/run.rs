//! `mode mesh run`: layouts side by side.

use super::places::PlaceArguments;
use super::print;
use crate::Error;
use crate::bench::MeshBench;
use crate::cli::print_json;
use crate::mesh::Layout;
use crate::train::Recipe;
use std::path::PathBuf;

/// A recipe and the layouts that it is run on.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The recipe, a TOML file; what it says of `out` is not made
    recipe: PathBuf,
    #[command(flatten)]
    places: PlaceArguments,
    /// Another layout to run beside it, in turns; may be repeated
    #[arg(long)]
    compare: Vec<String>,
    /// Times that all are run; of each the fastest step counts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rounds: u64,
    /// Compute gradients of frozen weights as well, as a program does that does not know of freezing
    #[arg(long)]
    unfrozen: bool,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: Arguments) -> Result<(), Error> {
    let recipe = Recipe::read(&arguments.recipe, &arguments.set)?;
    let bench = MeshBench::new(&recipe).map_err(|error| error.in_file(&arguments.recipe))?;
    let bench = if arguments.unfrozen { bench.unfrozen() } else { bench };
    let places = arguments.places.places(&recipe, &arguments.recipe)?;
    let names = std::iter::once(&places.layout).chain(&arguments.compare);
    let layouts = names.map(|name| Layout::read(name, bench.experts())).collect::<Result<Vec<_>, _>>()?;
    let devices = |count: usize| places.devices(count);
    let found = bench.measure(&layouts, arguments.rounds as usize, &devices, &places.options)?;
    if arguments.json {
        return print_json(&found);
    }
    if let Some(link) = places.options.link {
        say!("over an emulated link of {:.4} GB/s a device", link.bytes_per_second / 1e9);
    }
    if arguments.unfrozen {
        say!("gradients of frozen weights are computed, and dropped");
    }
    print(&found);
    Ok(())
}
