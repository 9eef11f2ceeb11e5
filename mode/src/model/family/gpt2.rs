//! GPT-2 (Radford et al., 2019): LayerNorm, learned positions, one projection for queries, keys and values, GELU, biases
//! everywhere, and matrices that files hold as `[in, out]`.

use super::{Family, Keys, Names};
use crate::model::config::{Biases, Config, NormKind};
use mode_tensor::Activation;
use serde_json::{Value, json};

pub(super) const GPT2: Family =
    Family { architecture: "GPT2LMHeadModel", bare: "GPT2Model", model_type: "gpt2", read, write, names: NAMES };

const NAMES: Names = Names {
    body: "transformer.",
    embedding: "wte",
    positions: "wpe",
    layer: "h.",
    norm: "ln_f",
    head: "lm_head",
    input_norm: "ln_1",
    inputs: &["attn.c_attn"],
    output: "attn.c_proj",
    head_norms: ["", ""],
    attention_norm: "",
    feed_norm: "ln_2",
    gate: "",
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    feed_out_norm: "",
    transposed: &["attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"],
    // Masks, and what they fill with.
    buffers: &[".attn.bias", ".attn.masked_bias"],
};

/// A size under GPT-2's name for it, or under that of the other families, which transformers takes as well.
fn size(keys: &Keys, name: &str, alias: &str) -> Result<usize, String> {
    match (keys.maybe_size(name)?, keys.maybe_size(alias)?) {
        (Some(one), Some(other)) if one != other => {
            Err(format!("{name} is {one} and {alias} {other}, which are one thing; leave the wrong one out"))
        }
        (None, Some(other)) => Ok(other),
        _ => keys.size(name),
    }
}

fn read(keys: &Keys) -> Result<Config, String> {
    keys.refuse("scale_attn_by_inverse_layer_idx")?;
    keys.refuse("add_cross_attention")?;
    let (width, heads) = (size(keys, "n_embd", "hidden_size")?, size(keys, "n_head", "num_attention_heads")?);
    if heads == 0 || !width.is_multiple_of(heads) {
        return Err(format!("{heads} heads (n_head) do not divide the width (n_embd) {width}"));
    }
    Ok(Config {
        family: &GPT2,
        vocabulary: keys.size("vocab_size")?,
        width,
        hidden: keys.maybe_size("n_inner")?.unwrap_or(width.saturating_mul(4)),
        layers: size(keys, "n_layer", "num_hidden_layers")?,
        heads,
        kv_heads: heads,
        head_width: width / heads,
        positions: size(keys, "n_positions", "max_position_embeddings")?,
        epsilon: keys.number("layer_norm_epsilon", 1e-5)?,
        ropes: Vec::new(),
        norm: NormKind::Layer,
        biases: Biases { inputs: true, output: true, feed_forward: true },
        activation: keys.activation("activation_function", Activation::GeluTanh)?,
        score_scale: if keys.flag("scale_attn_weights", true)? { None } else { Some(1.0) },
        tied: keys.flag("tie_word_embeddings", true)?,
        ..Config::default()
    })
}

fn write(config: &Config) -> Value {
    json!({
        "vocab_size": config.vocabulary,
        "n_embd": config.width,
        "n_inner": config.hidden,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_positions": config.positions,
        "layer_norm_epsilon": config.epsilon,
        "activation_function": match config.activation {
            Activation::GeluTanh => "gelu_new",
            other => super::keys::name_of(other),
        },
        "scale_attn_weights": config.score_scale.is_none(),
        "tie_word_embeddings": config.tied,
    })
}
