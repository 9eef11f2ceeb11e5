//! Frozen matrices for products of f16: those that files store as bf16 become f16 where it holds them, and stay bf16, with the slower
//! products of that, where it does not ([`as_f16`] says when, and how little an answer can change).

use super::decoder::Model;
use crate::Error;
use mode_tensor::{Dtype, as_f16};
use serde::Serialize;

/// What became of a model's bf16 matrices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Halves {
    /// How many are f16 now.
    pub converted: usize,
    /// The names of those that stayed bf16.
    pub kept: Vec<String>,
}

impl Model {
    /// Turns the backbone's frozen matrices of bf16 into f16 where that holds them; experts stay what will be written down again. For whoever asks for half precision, once it is known what is
    /// trained: that is widened from what the file has.
    ///
    /// # Errors
    /// What the device reports.
    pub fn halve_frozen(&self) -> Result<Halves, Error> {
        let mut halves = Halves::default();
        for param in self.backbone.params().filter(|param| !param.is_trained() && param.value().dtype() == Dtype::BF16)
        {
            match as_f16(&param.value())? {
                Some(value) => {
                    param.set_value(value)?;
                    halves.converted += 1;
                }
                None => halves.kept.push(param.name().into()),
            }
        }
        Ok(halves)
    }
}
