//! What a run trains and what it leaves alone: counts, and a hash that shows that frozen means frozen.

use crate::model::Model;
use crate::{Error, files};
use mode_autograd::Param;
use sha2::{Digest, Sha256};

/// Number of elements of the parameters that are trained, or of those that are not.
pub(crate) fn count(model: &Model, trained: bool) -> u64 {
    model.params().filter(|param| param.is_trained() == trained).map(|param| param.value().len() as u64).sum()
}

/// Hex SHA-256 of the bits of all frozen parameters, in order; empty if there are none.
pub(crate) fn hash(model: &Model) -> Result<String, Error> {
    let frozen: Vec<&Param> = model.params().filter(|param| !param.is_trained()).collect();
    if frozen.is_empty() {
        return Ok(String::new());
    }
    let mut hasher = Sha256::new();
    for param in frozen {
        hasher.update(param.name().as_bytes());
        for value in param.value().to_vec()? {
            hasher.update(value.to_le_bytes());
        }
    }
    Ok(files::hex(&hasher.finalize()))
}
