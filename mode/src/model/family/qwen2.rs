//! Qwen2 (Yang et al., arXiv 2407.10671): Llama with biases on queries, keys and values, and a sliding window in the layers
//! from `max_window_layers` on where `use_sliding_window` says so.

use super::keys::layer_types;
use super::llama::{self, NAMES, base};
use super::{Family, Keys};
use crate::model::config::{Biases, Config};
use crate::model::rope::Rope;
use serde_json::{Value, json};

pub(super) const QWEN2: Family =
    Family { architecture: "Qwen2ForCausalLM", bare: "Qwen2Model", model_type: "qwen2", read, write, names: NAMES };

fn read(keys: &Keys) -> Result<Config, String> {
    let mut config = base(keys, &QWEN2, None)?;
    config.ropes = vec![Rope::read(keys, config.positions)?];
    config.biases = Biases { inputs: true, ..Biases::default() };
    config.windows = windows(keys, config.layers)?;
    Ok(config)
}

/// The windows of Qwen2 and Qwen3.
pub(super) fn windows(keys: &Keys, layers: usize) -> Result<Vec<Option<usize>>, String> {
    let window = if keys.flag("use_sliding_window", false)? { keys.size_or("sliding_window", 4_096)? } else { None };
    let first = keys.maybe_size("max_window_layers")?.unwrap_or(28);
    keys.windows(layers, window, |layer| layer >= first).map_err(|what| match keys.flag("use_sliding_window", false) {
        Ok(false) => format!("{what}, and use_sliding_window is not true"),
        _ => what,
    })
}

pub(super) fn write(config: &Config) -> Value {
    let mut all = llama::plain(config);
    let window = config.windows.iter().flatten().next();
    all["use_sliding_window"] = json!(window.is_some());
    if let Some(window) = window {
        all["sliding_window"] = json!(window);
        all["layer_types"] = layer_types(&config.windows);
    }
    all
}
