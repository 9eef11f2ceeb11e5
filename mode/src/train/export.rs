//! A checkpoint made into what its run would have made: a model, an expert, a LoRA.

use super::checkpoint::{self, is_intact, read_header};
use super::method;
use super::recipe::Recipe;
use crate::{Error, files};
use mode_tensor::{Device, SafeTensors};
use std::path::Path;

/// Writes into the new folder `out` what the run of `checkpoint` would have written, had it ended there; the steps taken.
///
/// # Errors
/// A file that is no checkpoint or has been altered, or what the recipe names and is gone.
pub fn export(checkpoint: &Path, out: &Path) -> Result<u64, Error> {
    files::refuse_existing(out, false)?;
    let header = read_header(checkpoint)?;
    if !is_intact(checkpoint, &files::sha256(checkpoint)?) {
        return Err(Error::content(checkpoint, "has been altered: its hash is not the one in its name; take another"));
    }
    let recipe: Recipe = serde_json::from_value(header.recipe)
        .map_err(|source| Error::Json { path: checkpoint.to_path_buf(), source })?;
    let recipe = Recipe { out: out.to_path_buf(), ..recipe };
    let task = recipe.task().map_err(|what| Error::content(checkpoint, what))?;
    let (model, trained) = method::prepare(&recipe, &task, &Device::cpu())?;
    model.set_trained(trained);
    let tensors = SafeTensors::open(&[checkpoint.to_path_buf()])?;
    for param in model.params().filter(|param| param.is_trained()) {
        let name = checkpoint::weight_name(param.name());
        param.value().write(&tensors.read(&name, param.value().shape())?)?;
    }
    let folders = files::create_folder(out)?;
    let tokenizer = task.tokenizer();
    let made = method::save(&recipe, &task, &model, &tokenizer).and_then(|()| recipe.write(&out.join("recipe.toml")));
    if made.is_err() {
        folders.remove_empty();
    }
    made.map(|()| header.step)
}
