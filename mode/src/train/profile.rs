//! Training steps, timed kernel by kernel.

use super::recipe::Recipe;
use super::run::Opened;
use super::trainer::Trainer;
use crate::Error;
use mode_kernels::Timing;
use mode_tensor::Device;

/// The launches of `rounds` steps of a recipe, after two that are not timed. Nothing is written.
///
/// # Errors
/// Bad input, as [`super::run`]; a recipe without steps; a GPU without timestamps.
pub(crate) fn profile_steps(recipe: &Recipe, device: &Device, rounds: usize) -> Result<Vec<Timing>, Error> {
    let task = recipe.task().map_err(Error::Setting)?;
    let Opened { model, mixture, .. } = Opened::new(recipe, &task, device)?;
    let mixture =
        mixture.ok_or_else(|| Error::Setting("the recipe has no steps to profile; set train.steps".into()))?;
    let mut trainer = Trainer::new(&model, &recipe.train, mixture)?;
    for _ in 0..2 {
        trainer.step()?;
    }
    device.start_profile()?;
    for _ in 0..rounds {
        trainer.step()?;
    }
    Ok(device.stop_profile()?)
}
