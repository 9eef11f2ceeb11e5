//! A checkpoint made into what its run would have made: a model, an expert, a LoRA; and a LoRA and its base made into one model.

use super::recipe::Recipe;
use super::{checkpoint, method, record};
use crate::model::{Held, base_of, merge_lora, open_on};
use crate::{Error, folders};
use mode_tensor::{Device, Tensor};
use std::path::Path;

/// Writes into the new folder `out` what the run of `checkpoint` would have written, had it ended there; the steps taken.
///
/// # Errors
/// A file that is no checkpoint or has been altered, or what the recipe names and is gone or another.
pub fn export(checkpoint: &Path, out: &Path) -> Result<u64, Error> {
    folders::refuse(out)?;
    let (tensors, header) = checkpoint::read(checkpoint)?;
    let recipe: Recipe = serde_json::from_value(header.recipe.clone())
        .map_err(|source| Error::Json { path: checkpoint.to_path_buf(), source })?;
    let task = recipe.task().map_err(|what| Error::content(checkpoint, what))?;
    let device = Device::cpu();
    let (model, trained) = method::prepare(&recipe, &task, &device, Held::ALL)?;
    model.set_trained(trained);
    checkpoint::check_base(checkpoint, &header, &model)?;
    let trained = || model.params().filter(|param| param.is_trained());
    let private = recipe.experts()?.into_iter().find(|expert| expert.private);
    if let Some(expert) = private.filter(|_| trained().any(|p| !tensors.has(&checkpoint::weight_name(p.name())))) {
        let what =
            format!("expert '{}' is private: its layers are with its owner, whose process writes them", expert.name);
        return Err(Error::content(checkpoint, what + " when the run has ended; go on with --resume"));
    }
    for param in trained() {
        // Not written over what is there: the base may be stored as halves, and what is trained is f32.
        let (name, shape) = (checkpoint::weight_name(param.name()), param.value().shape().to_vec());
        param.set_value(Tensor::from_slice(&device, &tensors.read(&name, &shape)?, &shape)?)?;
    }
    folders::make(out, |folder| {
        method::save(&Recipe { out: folder.into(), ..recipe.clone() }, &task, &model)?;
        Recipe { out: out.into(), ..recipe.clone() }.write(&folder.join(record::RECIPE))
    })?;
    Ok(header.step)
}

/// Writes the base of the LoRA in `folder` with the LoRA folded in as a plain model into the new folder `out`, with what lies
/// beside the base; the number of projections that changed.
///
/// # Errors
/// A folder without a LoRA, one that does not fit its base, or a file that can't be written.
pub fn merge(folder: &Path, base: Option<&Path>, out: &Path) -> Result<usize, Error> {
    folders::refuse(out)?;
    let mut model = open_on(folder, base, &Device::cpu())?;
    if !model.has_lora() {
        return Err(Error::content(folder, "holds no LoRA; --merge folds one into its base"));
    }
    let base = base_of(folder, base)?;
    let merged = merge_lora(&mut model.backbone)?;
    folders::make(out, |folder| {
        model.backbone.save(folder)?;
        method::carry_beside(&base, folder)
    })?;
    Ok(merged)
}
