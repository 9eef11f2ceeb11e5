//! `mode mesh show`: one step as a picture.

use super::places::PlaceArguments;
use crate::bench::MeshBench;
use crate::mesh::{Assumed, Hardware, Layout, Priced, bytes_by_link, timeline};
use crate::train::Recipe;
use crate::{Error, files};
use std::path::PathBuf;

/// A step to draw.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The recipe, a TOML file
    recipe: PathBuf,
    #[command(flatten)]
    places: PlaceArguments,
    /// Simulate the step on this hardware, a TOML file, in place of taking it
    #[arg(long, conflicts_with_all = ["device", "threads", "link"])]
    hardware: Option<PathBuf>,
    /// The file to make
    #[arg(long, default_value = "step.svg")]
    out: PathBuf,
    /// Replace a file that exists
    #[arg(long)]
    force: bool,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
}

/// Steps of which the fastest is drawn.
const DRAWN: u64 = 5;

pub(super) fn main(arguments: Arguments) -> Result<(), Error> {
    files::check_output(&arguments.out, arguments.force)?;
    let mut recipe = Recipe::read(&arguments.recipe, &arguments.set)?;
    recipe.train.steps = recipe.train.steps.clamp(1, DRAWN);
    let bench = MeshBench::new(&recipe).map_err(|error| error.in_file(&arguments.recipe))?;
    let places = arguments.places.places(&recipe, &arguments.recipe)?;
    let layout = Layout::read(&places.layout, bench.experts())?;
    let (traced, how) = match &arguments.hardware {
        Some(file) => {
            let hardware = Hardware::read(file)?;
            bench.problem().check(&layout)?;
            let traced = Priced::new(bench.problem(), &layout, Assumed::default()).simulate(&hardware);
            (traced, format!("simulated on {}", hardware.name))
        }
        None => {
            let devices = |count: usize| places.devices(count);
            let found = bench.measure(std::slice::from_ref(&layout), 1, &devices, &places.options)?;
            let traced = found.into_iter().next().and_then(|measured| measured.traced);
            let traced = traced.ok_or_else(|| Error::Setting("no step was taken".into()))?;
            let over = places.options.link.map_or_else(String::new, |link| {
                format!(" over an emulated link of {:.3} GB/s", link.bytes_per_second / 1e9)
            });
            (traced, format!("measured on {}{over}", places.words()))
        }
    };
    let title = format!("One step of layout {}: {:.1} ms, {how}", layout.name, 1e3 * traced.seconds);
    files::write(&arguments.out, timeline(&traced, &layout, bench.experts(), &title))?;
    say!("{title}");
    for (device, busy) in traced.busy().into_iter().enumerate() {
        let mesh = layout.mesh_of(device);
        say!("{:14} device {device}  idle {:.1} %", mesh.name, 100.0 * (1.0 - busy));
    }
    for (from, to, bytes) in bytes_by_link(&traced, &layout) {
        say!("{from} to {to}: {:.3} MB", bytes as f64 / 1e6);
    }
    say!("written  {}", arguments.out.display());
    Ok(())
}
