//! Mistral (Jiang et al., arXiv 2310.06825): Llama with a sliding window in every layer.

use super::llama::{self, NAMES, base};
use super::{Family, Keys};
use crate::model::config::Config;
use crate::model::rope::Rope;
use serde_json::{Value, json};

pub(super) const MISTRAL: Family = Family {
    architecture: "MistralForCausalLM",
    bare: "MistralModel",
    model_type: "mistral",
    read,
    write,
    names: NAMES,
};

fn read(keys: &Keys) -> Result<Config, String> {
    let mut config = base(keys, &MISTRAL, None)?;
    config.ropes = vec![Rope::read(keys, config.positions)?];
    let window = keys.size_or("sliding_window", 4_096)?;
    config.windows = keys.windows(config.layers, window, |_| true)?;
    if config.windows.iter().any(|said| *said != window) {
        return Err(
            "layer_types gives some layers no window, and Mistral has one in all or, with a sliding_window of \
                    null, in none"
                .into(),
        );
    }
    Ok(config)
}

fn write(config: &Config) -> Value {
    let mut all = llama::plain(config);
    all["sliding_window"] = json!(config.windows.iter().flatten().next());
    all
}
