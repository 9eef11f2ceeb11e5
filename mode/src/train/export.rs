//! A checkpoint made into what its run would have made: a model, an expert, a LoRA.

use super::recipe::Recipe;
use super::{checkpoint, method, record};
use crate::{Error, files};
use mode_tensor::{Device, Tensor};
use std::path::Path;

/// Writes into the new folder `out` what the run of `checkpoint` would have written, had it ended there; the steps taken.
///
/// # Errors
/// A file that is no checkpoint or has been altered, or what the recipe names and is gone or another.
pub fn export(checkpoint: &Path, out: &Path) -> Result<u64, Error> {
    files::refuse_existing_folder(out)?;
    let (tensors, header) = checkpoint::read(checkpoint)?;
    let recipe: Recipe = serde_json::from_value(header.recipe.clone())
        .map_err(|source| Error::Json { path: checkpoint.to_path_buf(), source })?;
    let recipe = Recipe { out: out.to_path_buf(), ..recipe };
    let task = recipe.task().map_err(|what| Error::content(checkpoint, what))?;
    let device = Device::cpu();
    let (model, trained) = method::prepare(&recipe, &task, &device)?;
    model.set_trained(trained);
    checkpoint::check_base(checkpoint, &header, &model)?;
    for param in model.params().filter(|param| param.is_trained()) {
        // Not written over what is there: the base may be stored as halves, and what is trained is f32.
        let (name, shape) = (checkpoint::weight_name(param.name()), param.value().shape().to_vec());
        param.set_value(Tensor::from_slice(&device, &tensors.read(&name, &shape)?, &shape)?)?;
    }
    let folders = files::create_folder(out)?;
    let made = method::save(&recipe, &task, &model).and_then(|()| recipe.write(&out.join(record::RECIPE)));
    if made.is_err() {
        folders.remove_empty();
    }
    made.map(|()| header.step)
}
