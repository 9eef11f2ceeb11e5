//! What a run would take, without carrying it out.

use super::eval::evaluate;
use super::frozen;
use super::recipe::Recipe;
use super::run::Opened;
use super::trainer::Trainer;
use crate::model::Held;
use crate::{Error, memory};
use mode_tensor::{Device, Product, Tensor, matmul};
use serde::Serialize;

/// What a run would train and take, without carrying it out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DryRun {
    /// Parameters trained.
    pub params_trained: u64,
    /// Parameters of the whole model.
    pub params_total: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens predicted by all of them.
    pub tokens: u64,
    /// Peak of the device's memory, in bytes.
    pub device_bytes: u64,
    /// Peak of the process's memory on the CPU device, in bytes; None where the system does not tell what it has now.
    pub process_bytes: Option<u64>,
}

/// Runs one product of matrices for real on the CPU: what its code and its threads keep beside the tensors is then part of what
/// the process has, as it is in a run.
fn warm_up() -> Result<(), Error> {
    let cpu = Device::cpu();
    let matrix = Tensor::full(&cpu, &[256, 256], 1.0)?;
    matmul(Product::new(&matrix, &matrix))?.to_vec()?;
    Ok(())
}

/// Opens what a recipe names and goes through two steps on a device that computes nothing but counts.
///
/// # Errors
/// Bad input, as [`super::run`].
pub fn dry_run(recipe: &Recipe) -> Result<DryRun, Error> {
    let task = recipe.task().map_err(Error::Setting)?;
    let device = Device::dry();
    let Opened { model, mixture, validation, .. } = Opened::new(recipe, &task, &device, Held::ALL)?;
    warm_up()?;
    let mut process = memory::resident();
    if let Some(mixture) = mixture {
        let mut trainer = Trainer::new(&model, &recipe.train, mixture)?;
        for _ in 0..recipe.train.steps.min(2) {
            trainer.step()?;
        }
        if !validation.is_empty() {
            evaluate(&model, &validation, false)?;
        }
        process = memory::resident();
    }
    let (params_trained, frozen) = (frozen::count(&model, true), frozen::count(&model, false));
    let device_bytes = device.counters().peak_bytes;
    Ok(DryRun {
        params_trained,
        params_total: params_trained + frozen,
        steps: recipe.train.steps,
        tokens: recipe.train.steps * (recipe.train.batch * recipe.train.length) as u64,
        device_bytes,
        process_bytes: process.map(|now| now + device_bytes),
    })
}
