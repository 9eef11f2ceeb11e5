//! A recipe's training steps, taken for their own sake.

use super::recipe::Recipe;
use super::run::Opened;
use super::trainer::Trainer;
use crate::Error;
use crate::model::Held;
use mode_tensor::Device;

/// Lets `measure` take steps of a recipe, one a call. Nothing is written.
///
/// # Errors
/// Bad input, as [`super::run`]; a recipe without steps; what `measure` reports.
pub(crate) fn with_steps<T>(
    recipe: &Recipe,
    device: &Device,
    measure: impl FnOnce(&mut dyn FnMut() -> Result<(), Error>) -> Result<T, Error>,
) -> Result<T, Error> {
    let task = recipe.task().map_err(Error::Setting)?;
    let Opened { model, mixture, .. } = Opened::new(recipe, &task, device, Held::ALL)?;
    let mixture =
        mixture.ok_or_else(|| Error::Setting("the recipe has no steps to profile; set train.steps".into()))?;
    if model.mixed {
        model.halve_frozen()?;
    }
    let mut trainer = Trainer::new(&model, &recipe.train, mixture)?;
    measure(&mut || trainer.step())
}
