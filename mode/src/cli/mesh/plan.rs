//! `mode mesh plan`: time and memory of layouts, predicted.

use crate::Error;
use crate::bench::MeshBench;
use crate::cli::print_json;
use crate::mesh::{Hardware, Layout, Prediction, layouts, predict};
use crate::train::Recipe;
use std::path::PathBuf;

/// A recipe to plan for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// The hardware, a TOML file
    #[arg(long)]
    hardware: PathBuf,
    /// Devices at the most [default: device.count of the hardware file, or 8]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=MOST_DEVICES as u64))]
    devices: Option<u64>,
    /// Only these layouts; may be repeated
    #[arg(long)]
    mesh: Vec<String>,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

/// Devices at the most where nobody says how many there are.
const DEVICES: usize = 8;
/// Devices of the layouts that are searched, at the most.
const MOST_DEVICES: usize = 64;

pub(super) fn main(arguments: Arguments) -> Result<(), Error> {
    let recipe = Recipe::read(&arguments.recipe, &arguments.set)?;
    let hardware = Hardware::read(&arguments.hardware)?;
    let bench = MeshBench::new(&recipe).map_err(|error| error.in_file(&arguments.recipe))?;
    let problem = bench.problem();
    let most =
        arguments.devices.map_or(hardware.count().unwrap_or(DEVICES).min(MOST_DEVICES), |devices| devices as usize);
    let layouts = match arguments.mesh.as_slice() {
        [] => layouts(problem, &hardware, most),
        named => {
            let read = |name: &String| {
                let layout = Layout::read(name, bench.experts())?;
                problem.check(&layout)?;
                if !hardware.has(&layout) {
                    return Err(Error::Setting(format!(
                        "--mesh {name}: {} does not have so many devices",
                        hardware.name
                    )));
                }
                Ok(layout)
            };
            named.iter().map(read).collect::<Result<Vec<_>, Error>>()?
        }
    };
    let predict = |layout: &Layout| predict(problem, layout, &hardware, bench.weight_bytes());
    let mut found: Vec<Prediction> = layouts.iter().map(predict).collect();
    found.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    if arguments.json {
        return print_json(&found);
    }
    say!("predicted for {}", hardware.name);
    say!("{:16} {:>7} {:>10} {:>14} {:>6}", "layout", "devices", "ms a step", "MB, fullest", "idle");
    for prediction in &found {
        let idle = 1.0 - prediction.busy.iter().sum::<f64>() / prediction.busy.len() as f64;
        let note = if prediction.fits { "" } else { "  does not fit" };
        say!(
            "{:16} {:>7} {:>10.2} {:>14.1} {:>5.1}%{note}",
            prediction.layout,
            prediction.devices,
            1e3 * prediction.seconds,
            prediction.bytes / 1e6,
            100.0 * idle
        );
    }
    match found.iter().find(|prediction| prediction.fits) {
        Some(best) => say!("best     {}, {:.2} ms a step on {} devices", best.layout, 1e3 * best.seconds, best.devices),
        None => say!("best     none fits; give more devices, a smaller train.batch, or train.recompute = true"),
    }
    Ok(())
}
