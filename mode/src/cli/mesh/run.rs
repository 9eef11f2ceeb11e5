//! `mode mesh run`: layouts side by side.

use super::{print, rate};
use crate::Error;
use crate::bench::MeshBench;
use crate::cli::open::Fleet;
use crate::cli::print_json;
use crate::mesh::{Layout, Link, Options};
use crate::train::Recipe;
use std::path::PathBuf;

/// A recipe and the layouts that it is run on.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The recipe, a TOML file; what it says of `out` is not made
    recipe: PathBuf,
    /// The layout: spmd-4, spmd-2x2, 4+2+2, .. or a .toml file [default: the recipe's mesh.layout]
    #[arg(long)]
    mesh: Option<String>,
    /// Another layout to run beside it, in turns; may be repeated
    #[arg(long)]
    compare: Vec<String>,
    /// Times that all are run; of each the fastest step counts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rounds: u64,
    /// Where each device computes: cpu, gpu or gpu:N; one for all, or each of them [default: the recipe's mesh.devices, or cpu]
    #[arg(long)]
    device: Vec<String>,
    /// Threads of each CPU device [default: the recipe's mesh.threads, or 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    threads: Option<u64>,
    /// Emulate a link on which a device sends, and receives, so many bytes a second
    #[arg(long, value_name = "BYTES_PER_SECOND", value_parser = rate)]
    link: Option<f64>,
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
    let own = recipe.mesh.as_ref();
    let Some(first) = arguments.mesh.clone().or_else(|| own.map(|mesh| mesh.layout.clone())) else {
        return Err(Error::content(&arguments.recipe, "has no [mesh] with a layout; give one as --mesh"));
    };
    let names = std::iter::once(&first).chain(&arguments.compare);
    let layouts = names.map(|name| Layout::read(name, bench.experts())).collect::<Result<Vec<_>, _>>()?;
    let link = arguments.link.map(|bytes_per_second| Link { bytes_per_second, latency: 0.0 });
    let threads = arguments.threads.map_or_else(|| own.map_or(1, |mesh| mesh.threads), |threads| threads as usize);
    let options = Options { threads, link };
    let named = match (arguments.device.is_empty(), own) {
        (true, Some(mesh)) => mesh.devices.clone(),
        (true, None) => vec!["cpu".into()],
        (false, _) => arguments.device,
    };
    let fleet = Fleet::default();
    let devices = |count: usize| fleet.devices(&named, count);
    let found = bench.measure(&layouts, arguments.rounds as usize, &devices, &options)?;
    if arguments.json {
        return print_json(&found);
    }
    if let Some(link) = arguments.link {
        say!("over an emulated link of {:.4} GB/s a device", link / 1e9);
    }
    if arguments.unfrozen {
        say!("gradients of frozen weights are computed, and dropped");
    }
    print(&found);
    Ok(())
}
