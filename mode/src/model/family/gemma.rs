//! Gemma (Mesnard et al., arXiv 2403.08295): Llama with scaled embeddings, norms that multiply by 1 + weight, GeGLU, and heads
//! of a width of their own.

use super::keys::name_of;
use super::llama::{self, NAMES, base};
use super::{Family, Keys};
use crate::model::config::{Biases, Config, NormKind};
use crate::model::rope::Rope;
use mode_tensor::Activation;
use serde_json::{Value, json};

pub(super) const GEMMA: Family =
    Family { architecture: "GemmaForCausalLM", bare: "GemmaModel", model_type: "gemma", read, write, names: NAMES };

fn read(keys: &Keys) -> Result<Config, String> {
    let mut config = of_gemma(keys, &GEMMA)?;
    config.ropes = vec![Rope::read(keys, config.positions)?];
    // "gelu" in the configurations of the first models means the approximation that they were trained with.
    let meant = |key: &str, default| match keys.activation(key, default)? {
        Activation::Gelu => Ok(Activation::GeluTanh),
        other => Ok::<_, String>(other),
    };
    config.activation = meant("hidden_act", Activation::GeluTanh)?;
    agree(config.activation, meant("hidden_activation", config.activation)?)?;
    Ok(config)
}

/// An error unless the two keys that have an activation say one.
pub(super) fn agree(one: Activation, other: Activation) -> Result<(), String> {
    if one == other {
        return Ok(());
    }
    let (one, other) = (name_of(one), name_of(other));
    Err(format!("hidden_act and hidden_activation say two things, {one} and {other}; make them one"))
}

/// What the Gemmas share.
pub(super) fn of_gemma(keys: &Keys, family: &'static Family) -> Result<Config, String> {
    keys.refuse("use_bidirectional_attention")?;
    let mut config = base(keys, family, Some(256))?;
    if !keys.0.contains_key("pad_token_id") {
        config.padding = Some(0);
    }
    let bias = keys.flag("attention_bias", false)?;
    config.biases = Biases { inputs: bias, output: bias, feed_forward: false };
    config.norm = NormKind::RmsPlusOne;
    config.embedding_factor = (config.width as f64).sqrt();
    config.tied = keys.flag("tie_word_embeddings", true)?;
    Ok(config)
}

pub(super) fn write(config: &Config) -> Value {
    let mut all = llama::plain(config);
    all["hidden_activation"] = json!(name_of(config.activation));
    all
}
