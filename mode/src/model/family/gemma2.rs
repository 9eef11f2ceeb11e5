//! Gemma 2 (Riviere et al., arXiv 2408.00118): Gemma with norms on what attention and feed-forward add, a sliding window in
//! every second layer, and bounds on scores and logits.

use super::gemma::{self, agree, of_gemma};
use super::keys::layer_types;
use super::llama::NAMES;
use super::{Family, Keys, Names};
use crate::model::config::Config;
use crate::model::rope::Rope;
use mode_tensor::Activation;
use serde_json::{Value, json};

pub(super) const GEMMA2: Family = Family {
    architecture: "Gemma2ForCausalLM",
    bare: "Gemma2Model",
    model_type: "gemma2",
    read,
    write,
    names: SANDWICH,
};

pub(super) const SANDWICH: Names = Names {
    attention_norm: "post_attention_layernorm",
    feed_norm: "pre_feedforward_layernorm",
    feed_out_norm: "post_feedforward_layernorm",
    ..NAMES
};

fn read(keys: &Keys) -> Result<Config, String> {
    let cap = |key: &str, default| if keys.0.contains_key(key) { keys.maybe_number(key) } else { Ok(Some(default)) };
    let (score_cap, logit_cap) = (cap("attn_logit_softcapping", 50.0)?, cap("final_logit_softcapping", 30.0)?);
    let mut config = sandwich(keys, &GEMMA2, |layer| layer % 2 == 0)?;
    config.ropes = vec![Rope::read(keys, config.positions)?];
    (config.score_cap, config.logit_cap) = (score_cap, logit_cap);
    Ok(config)
}

/// What Gemma 2 and 3 share; `sliding` tells which layers have a window where the configuration doesn't.
pub(super) fn sandwich(
    keys: &Keys,
    family: &'static Family,
    sliding: impl Fn(usize) -> bool,
) -> Result<Config, String> {
    let mut config = of_gemma(keys, family)?;
    config.activation = keys.activation("hidden_activation", Activation::GeluTanh)?;
    agree(config.activation, keys.activation("hidden_act", config.activation)?)?;
    config.out_norms = true;
    config.score_scale = Some(keys.number("query_pre_attn_scalar", 256.0)?.powf(-0.5));
    config.windows = keys.windows(config.layers, Some(keys.maybe_size("sliding_window")?.unwrap_or(4_096)), sliding)?;
    Ok(config)
}

pub(super) fn write(config: &Config) -> Value {
    let mut all = gemma::write(config);
    all["query_pre_attn_scalar"] = json!(config.score_scale.map(|scale| whole(scale.powi(-2))));
    // transformers wants one even if no layer has it.
    let unused = config.more.get("sliding_window").and_then(Value::as_u64).unwrap_or(4_096);
    all["sliding_window"] = json!(config.windows.iter().flatten().next().map_or(unused, |&window| window as u64));
    all["layer_types"] = layer_types(&config.windows);
    all["attn_logit_softcapping"] = json!(config.score_cap);
    all["final_logit_softcapping"] = json!(config.logit_cap);
    all
}

/// A whole number as one, as which alone transformers takes it.
fn whole(number: f64) -> Value {
    let near = number.round();
    if (number - near).abs() < 1e-9 * near { json!(near as u64) } else { json!(number) }
}
