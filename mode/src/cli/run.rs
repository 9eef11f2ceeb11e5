//! `mode train` and `mode compose`.

use super::{DeviceArguments, bar};
use crate::Error;
use crate::train::{Finished, Method, Recipe, run};
use std::path::PathBuf;

/// A recipe to carry out.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// Folder to make, in place of the recipe's
    #[arg(long)]
    out: Option<PathBuf>,
    /// Replace files of a folder that exists
    #[arg(long)]
    force: bool,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(crate) fn main(arguments: Arguments, compose: bool) -> Result<(), Error> {
    let mut recipe = Recipe::read(&arguments.recipe, &arguments.set)?;
    if let Some(out) = arguments.out {
        recipe.out = out;
    }
    if compose != (recipe.method == Method::Compose) {
        let other = if compose { "train" } else { "compose" };
        return Err(Error::content(&arguments.recipe, format!("that is a recipe for `mode {other}`")));
    }
    let device = arguments.device.open()?;
    let progress = bar("", recipe.train.steps);
    let finished = run(&recipe, &device, arguments.force, &mut |step, _, loss| {
        progress.set_position(step);
        progress.set_message(format!("loss {loss:.4}"));
    })
    .map_err(|error| error.in_file(&arguments.recipe))?;
    progress.finish_and_clear();
    print(&finished);
    Ok(())
}

/// What was trained, what was not, and where it is.
fn print(finished: &Finished) {
    let (first, last) = (finished.losses.first(), finished.losses.last());
    if let (Some(first), Some(last)) = (first, last) {
        let rate = finished.tokens_seen as f64 / finished.seconds;
        say!("loss     {first:.4} -> {last:.4} in {} steps, {rate:.0} tokens/s", finished.steps);
    }
    let frozen = finished.params_total - finished.params_trained;
    say!("trained  {}: {} of {} parameters", finished.trained, finished.params_trained, finished.params_total);
    if !finished.frozen_after.is_empty() {
        let hash = &finished.frozen_after;
        say!("frozen   {}: {frozen} parameters, sha256 {hash:.16}.. before and after: bit-identical", finished.frozen);
    }
    say!("written  {}", finished.out.display());
}
