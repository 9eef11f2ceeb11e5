//! `mode mesh calibrate`: this machine's rates.

use crate::bench::{CALIBRATED_ON, Calibrated, MeshBench};
use crate::train::Recipe;
use crate::{Error, files};
use std::path::PathBuf;

/// A recipe to measure by.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// The file to make
    #[arg(long, default_value = "hardware.toml")]
    out: PathBuf,
    /// Replace a file that exists
    #[arg(long)]
    force: bool,
    /// What the machine is called
    #[arg(long, default_value = "this machine")]
    name: String,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
}

pub(super) fn main(arguments: Arguments) -> Result<(), Error> {
    files::check_output(&arguments.out, arguments.force)?;
    let recipe = Recipe::read(&arguments.recipe, &arguments.set)?;
    let bench = MeshBench::new(&recipe).map_err(|error| error.in_file(&arguments.recipe))?;
    let Calibrated { hardware, together } = crate::bench::calibrate(&bench, &arguments.name)?;
    hardware.write(&arguments.out)?;
    say!("measured on layouts {}", CALIBRATED_ON.join(" and "));
    let noise = if together > 1.0 { ", which is noise and stands as 1 in the file" } else { "" };
    say!("together each of two devices has {together:.3} of its speed alone{noise}");
    say!("written  {}", arguments.out.display());
    Ok(())
}
