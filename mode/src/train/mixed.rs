//! Mixed precision in a run: where it can't be, how the loss scale lies in checkpoints, and what people are told of skipped steps.

use crate::Error;
use mode_autograd::LossScale;
use mode_autograd::loss_scale::Outcome;
use mode_tensor::Device;
use serde::{Deserialize, Serialize};

/// An error if a device has no f16 arithmetic; what else there is to say of mixed precision on it.
pub(crate) fn check(device: &Device) -> Result<Option<&'static str>, Error> {
    if device.is_gpu() && !device.capabilities().f16 {
        let name = device.name();
        return Err(Error::Setting(format!(
            "train.precision is \"f16\", and {name} has no f16 arithmetic; set train.precision = \"f32\""
        )));
    }
    let slower = "mixed precision on the CPU gives about the numbers that a GPU would give, and takes longer than f32";
    Ok((!device.is_gpu()).then_some(slower))
}

/// The loss scale after a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScaling {
    /// What the step's loss was scaled by.
    pub scale: f32,
    /// Steps skipped so far, for gradients that were no finite numbers.
    pub skipped: u64,
}

/// [`LossScale`] as a checkpoint has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedScale {
    scale: f32,
    good: u32,
    skipped: u64,
    hopeless: u32,
    /// Step, scale, and whether the gradients were finite.
    recent: Vec<(u64, f32, bool)>,
}

impl From<&LossScale> for SavedScale {
    fn from(from: &LossScale) -> Self {
        let &LossScale { scale, good, skipped, hopeless, .. } = from;
        let recent = from.recent.iter().map(|outcome| (outcome.step, outcome.scale, outcome.finite)).collect();
        Self { scale, good, skipped, hopeless, recent }
    }
}

impl From<&SavedScale> for LossScale {
    fn from(from: &SavedScale) -> Self {
        let &SavedScale { scale, good, skipped, hopeless, .. } = from;
        let recent = from.recent.iter().map(|&(step, scale, finite)| Outcome { step, scale, finite }).collect();
        Self { scale, good, skipped, hopeless, recent }
    }
}
