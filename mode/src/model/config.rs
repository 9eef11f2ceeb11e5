//! A model's shape, as Hugging Face's `config.json` of the Llama family says it.

use crate::{Error, files};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// Shape and constants of a Llama.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Width of the feed-forward's hidden layer.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Longest window.
    pub positions: usize,
    /// RMSNorm's epsilon.
    pub epsilon: f64,
    /// Base of the rotary angles.
    pub theta: f64,
    /// True if the head is the embedding.
    pub tied: bool,
    /// Token that ends a document.
    pub eos: Option<u32>,
}

#[derive(Deserialize)]
struct Raw {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_parameters: Option<Value>,
    rope_scaling: Option<Value>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
    eos_token_id: Option<Value>,
}

impl Config {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// A file that is missing or broken, another architecture, or a variant that is not supported.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let raw: Raw = files::read_json(path)?;
        let fail = |what: String| Err(Error::content(path, what));
        let named = raw.architectures.as_deref().and_then(|a| a.first()).or(raw.model_type.as_ref());
        match named.map(String::as_str) {
            Some("LlamaForCausalLM" | "llama") => {}
            other => {
                let name = other.unwrap_or("missing");
                return fail(format!("architecture {name} is not supported; LlamaForCausalLM is"));
            }
        }
        if raw.attention_bias || raw.mlp_bias {
            return fail("attention_bias and mlp_bias are not supported; the Llama family has none".into());
        }
        if raw.hidden_act.as_deref().is_some_and(|act| act != "silu") {
            return fail(format!("hidden_act {} is not supported; silu is", raw.hidden_act.unwrap_or_default()));
        }
        let rope = raw.rope_parameters.unwrap_or(Value::Null);
        let scaled = raw.rope_scaling.as_ref().or(Some(&rope)).and_then(|r| r.get("rope_type").or(r.get("type")));
        if let Some(kind) = scaled.and_then(Value::as_str).filter(|kind| *kind != "default") {
            return fail(format!("rope_scaling '{kind}' is not supported; models without scaling are"));
        }
        let config = Self {
            vocabulary: raw.vocab_size,
            width: raw.hidden_size,
            hidden: raw.intermediate_size,
            layers: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            kv_heads: raw.num_key_value_heads.unwrap_or(raw.num_attention_heads),
            head_width: raw.head_dim.unwrap_or(raw.hidden_size / raw.num_attention_heads.max(1)),
            positions: raw.max_position_embeddings,
            epsilon: raw.rms_norm_eps,
            theta: raw.rope_theta.or(rope.get("rope_theta").and_then(Value::as_f64)).unwrap_or(10_000.0),
            tied: raw.tie_word_embeddings,
            eos: raw.eos_token_id.as_ref().and_then(first_id),
        };
        config.check().map_err(|what| Error::content(path, what))?;
        Ok(config)
    }

    /// An error unless the sizes fit each other.
    pub(crate) fn check(&self) -> Result<(), String> {
        let sizes = [self.vocabulary, self.width, self.hidden, self.layers, self.heads, self.kv_heads];
        if sizes.contains(&0) || self.head_width == 0 || self.positions < 2 {
            return Err("a size of the model is zero, or it has fewer than two positions".into());
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("{} key heads do not divide {} query heads", self.kv_heads, self.heads));
        }
        if !self.head_width.is_multiple_of(2) {
            return Err(format!("rotary positions need heads of even width, not {}", self.head_width));
        }
        // Products of these are counted in 32 bits on the GPU; no model comes near.
        if sizes.iter().chain([&self.head_width, &self.positions]).any(|&size| size > 1 << 24) {
            return Err("a size of the model is over 16,777,216".into());
        }
        Ok(())
    }

    /// The same as Hugging Face would write it.
    pub fn to_json(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_width,
            "max_position_embeddings": self.positions,
            "rms_norm_eps": self.epsilon,
            "rope_theta": self.theta,
            "tie_word_embeddings": self.tied,
            "attention_bias": false,
            "hidden_act": "silu",
            "eos_token_id": self.eos,
            "torch_dtype": "float32",
        })
    }
}

/// One id, or the first of a list of ids.
fn first_id(value: &Value) -> Option<u32> {
    value.as_array().and_then(|ids| ids.first()).unwrap_or(value).as_u64()?.try_into().ok()
}
