//! Llama (Touvron et al., arXiv 2302.13971), SmolLM2 and all else that says so: RMSNorm, rotary positions, SwiGLU.

use super::keys::name_of;
use super::{Family, Keys, Names};
use crate::model::config::{Biases, Config};
use crate::model::rope::Rope;
use mode_tensor::Activation;
use serde_json::{Value, json};

pub(super) const LLAMA: Family = Family {
    architecture: "LlamaForCausalLM",
    bare: "LlamaModel",
    model_type: "llama",
    read,
    write: plain,
    names: NAMES,
};

pub(super) const NAMES: Names = Names {
    body: "model.",
    embedding: "embed_tokens",
    positions: "",
    layer: "layers.",
    norm: "norm",
    head: "lm_head",
    input_norm: "input_layernorm",
    inputs: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    output: "self_attn.o_proj",
    head_norms: ["self_attn.q_norm", "self_attn.k_norm"],
    attention_norm: "",
    feed_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    feed_out_norm: "",
    transposed: &[],
    // The angles' frequencies, which files of old had.
    buffers: &["rotary_emb.inv_freq"],
};

fn read(keys: &Keys) -> Result<Config, String> {
    let mut config = base(keys, &LLAMA, None)?;
    config.ropes = vec![Rope::read(keys, config.positions)?];
    let attention = keys.flag("attention_bias", false)?;
    config.biases = Biases { inputs: attention, output: attention, feed_forward: keys.flag("mlp_bias", false)? };
    Ok(config)
}

/// What Llama's followers share with it, but for their angles; `head_width` where it isn't width / heads.
pub(super) fn base(keys: &Keys, family: &'static Family, head_width: Option<usize>) -> Result<Config, String> {
    let (width, heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
    let positions = keys.size("max_position_embeddings")?;
    let own = head_width.unwrap_or(width / heads.max(1));
    let vocabulary = keys.size("vocab_size")?;
    Ok(Config {
        family,
        vocabulary,
        padding: padding(keys, vocabulary)?,
        width,
        hidden: keys.size("intermediate_size")?,
        layers: keys.size("num_hidden_layers")?,
        heads,
        kv_heads: keys.maybe_size("num_key_value_heads")?.unwrap_or(heads),
        head_width: keys.maybe_size("head_dim")?.unwrap_or(own),
        positions,
        epsilon: keys.number("rms_norm_eps", 1e-6)?,
        ropes: Vec::new(),
        activation: keys.activation("hidden_act", Activation::Silu)?,
        tied: keys.flag("tie_word_embeddings", false)?,
        ..Config::default()
    })
}

/// The padding token, counted from the end if it is negative, as torch does.
fn padding(keys: &Keys, vocabulary: usize) -> Result<Option<u32>, String> {
    let Some(id) = keys.maybe_number("pad_token_id")? else { return Ok(None) };
    let id = if id < 0.0 { id + vocabulary as f64 } else { id };
    if id.fract() != 0.0 || id < 0.0 {
        return Err(format!("pad_token_id is {id}, no token id"));
    }
    // One that the table lacks is no row of it.
    Ok((id < vocabulary as f64).then_some(id as u32))
}

/// What Llama and its followers write.
pub(super) fn plain(config: &Config) -> Value {
    let mut all = json!({
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "max_position_embeddings": config.positions,
        "rms_norm_eps": config.epsilon,
        "attention_bias": config.biases.output,
        "mlp_bias": config.biases.feed_forward,
        "hidden_act": name_of(config.activation),
        "tie_word_embeddings": config.tied,
    });
    if let Some(padding) = config.padding {
        all["pad_token_id"] = json!(padding);
    }
    if let Some(rope) = config.ropes.first() {
        all["rope_theta"] = json!(rope.theta);
        all["rope_scaling"] = rope.scaling_json();
    }
    all
}
