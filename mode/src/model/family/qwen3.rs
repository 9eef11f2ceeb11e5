//! Qwen3 (Yang et al., arXiv 2505.09388): Qwen2 without the biases, with heads of a width of their own, whose queries and keys
//! are normed.

use super::llama::{NAMES, base};
use super::{Family, Keys, qwen2};
use crate::model::config::{Biases, Config};
use crate::model::rope::Rope;

pub(super) const QWEN3: Family = Family {
    architecture: "Qwen3ForCausalLM",
    bare: "Qwen3Model",
    model_type: "qwen3",
    read,
    write: qwen2::write,
    names: NAMES,
};

fn read(keys: &Keys) -> Result<Config, String> {
    let mut config = base(keys, &QWEN3, Some(128))?;
    config.ropes = vec![Rope::read(keys, config.positions)?];
    let bias = keys.flag("attention_bias", false)?;
    config.biases = Biases { inputs: bias, output: bias, feed_forward: false };
    config.head_norms = true;
    config.windows = qwen2::windows(keys, config.layers)?;
    Ok(config)
}
