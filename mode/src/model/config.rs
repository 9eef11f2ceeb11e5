//! A model's shape, as Hugging Face's `config.json` of the Llama family says it.

use crate::{Error, files};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Widths, heads, positions and tokens at the most: their products are counted in 32 bits on a GPU.
const MOST_SIZE: usize = 1 << 24;

/// Layers at the most: ten times the deepest model's, and few enough that a mistyped number can't fill the memory.
const MOST_LAYERS: usize = 1_024;

/// Parameters at the most; what the machine at hand can hold is asked when they are made.
const MOST_PARAMETERS: u64 = 1 << 40;

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
    /// Tokens that end a document; the first is the one that is written.
    pub eos: Vec<u32>,
    /// What else a file said, which is written back.
    pub more: Map<String, Value>,
}

#[derive(Deserialize)]
struct Family {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
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
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    eos_token_id: Option<Value>,
}

impl Config {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// A file that is missing or broken, another architecture, or a variant that is not supported.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = files::read_text(path)?;
        let family: Family = files::parse_json(path, &text)?;
        let fail = |what: String| Err(Error::content(path, what));
        // Asked first: a model of another family lacks other keys, and naming those would lead nowhere.
        let named = family.architectures.as_deref().and_then(|a| a.first()).or(family.model_type.as_ref());
        match named.map(String::as_str) {
            Some("LlamaForCausalLM" | "llama") => {}
            other => {
                let name = other.unwrap_or("missing");
                return fail(format!("architecture {name} is not supported; LlamaForCausalLM is"));
            }
        }
        let raw: Raw = files::parse_json(path, &text)?;
        if raw.attention_bias == Some(true) || raw.mlp_bias == Some(true) {
            return fail("attention_bias and mlp_bias are not supported; the Llama family has none".into());
        }
        if raw.hidden_act.as_deref().is_some_and(|act| act != "silu") {
            return fail(format!("hidden_act {} is not supported; silu is", raw.hidden_act.unwrap_or_default()));
        }
        let theta = rope_theta(&raw).map_err(|what| Error::content(path, what))?;
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
            theta,
            tied: raw.tie_word_embeddings == Some(true),
            eos: end_tokens(raw.eos_token_id.as_ref()).map_err(|what| Error::content(path, what))?,
            more: files::parse_json(path, &text)?,
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
        if sizes.iter().chain([&self.head_width, &self.positions]).any(|&size| size > MOST_SIZE) {
            return Err(format!("a size of the model is over {MOST_SIZE}"));
        }
        if self.layers > MOST_LAYERS {
            return Err(format!("{} layers; {MOST_LAYERS} are possible", self.layers));
        }
        if self.parameters() > MOST_PARAMETERS {
            return Err(format!("a model of {} parameters; {MOST_PARAMETERS} are possible", self.parameters()));
        }
        if !(self.epsilon.is_finite() && self.epsilon >= 0.0) {
            return Err(format!("rms_norm_eps is {}; a small number that is not negative is wanted", self.epsilon));
        }
        if !(self.theta.is_finite() && self.theta > 0.0) {
            return Err(format!("rope_theta is {}; a positive number is wanted", self.theta));
        }
        Ok(())
    }

    /// Parameters of one layer, 2 d (q + kv) + 3 d f + 2 d, with q and kv the widths of all query and all key heads.
    pub fn layer_parameters(&self) -> u64 {
        let [d, f, heads, kv_heads, width] =
            [self.width, self.hidden, self.heads, self.kv_heads, self.head_width].map(|size| size as u64);
        let projections = heads.saturating_mul(width).saturating_add(kv_heads.saturating_mul(width));
        d.saturating_mul(projections.saturating_mul(2).saturating_add(f.saturating_mul(3)).saturating_add(2))
    }

    /// Parameters of the whole model.
    pub fn parameters(&self) -> u64 {
        let tables = if self.tied { 1 } else { 2 };
        let outside = (self.width as u64).saturating_mul((self.vocabulary as u64).saturating_mul(tables) + 1);
        self.layer_parameters().saturating_mul(self.layers as u64).saturating_add(outside)
    }

    /// What of it the model's function depends on, as Hugging Face would write it.
    pub(crate) fn maths(&self) -> Value {
        json!({
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_width,
            "rms_norm_eps": self.epsilon,
            "rope_theta": self.theta,
            "tie_word_embeddings": self.tied,
        })
    }

    /// All of it as Hugging Face would write it, over what the file it came from said besides; `dtype` is what most weights are
    /// stored as, in torch's words.
    pub fn to_json(&self, dtype: &str) -> Value {
        let rest = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": false,
            "hidden_act": "silu",
            "max_position_embeddings": self.positions,
            "eos_token_id": match self.eos.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                many => json!(many),
            },
            "torch_dtype": dtype,
        });
        let mut all = self.more.clone();
        // Two names for one thing: transformers has renamed it.
        all.remove("dtype");
        for ours in [rest, self.maths()] {
            all.extend(ours.as_object().cloned().unwrap_or_default());
        }
        Value::Object(all)
    }
}

/// The base of the rotary angles, from wherever transformers' version of the day has put it; scaled angles are refused.
fn rope_theta(raw: &Raw) -> Result<f64, String> {
    let mut theta = raw.rope_theta;
    for (key, rope) in [("rope_scaling", &raw.rope_scaling), ("rope_parameters", &raw.rope_parameters)] {
        let Some(rope) = rope else { continue };
        let Some(rope) = rope.as_object() else { return Err(format!("{key} is no table of settings")) };
        match rope.get("rope_type").or(rope.get("type")) {
            None if key == "rope_parameters" || rope.is_empty() => {}
            Some(Value::String(kind)) if kind == "default" => {}
            other => {
                let kind = other.map_or("without a rope_type".into(), Value::to_string);
                return Err(format!("{key} {kind} is not supported; models without scaling are"));
            }
        }
        if rope.get("partial_rotary_factor").is_some_and(|share| share.as_f64() != Some(1.0)) {
            return Err(format!("{key}.partial_rotary_factor is not supported; heads are turned whole"));
        }
        if let Some(value) = rope.get("rope_theta") {
            theta = Some(value.as_f64().ok_or_else(|| format!("{key}.rope_theta is {value}, not a number"))?);
        }
    }
    Ok(theta.unwrap_or(10_000.0))
}

/// No id, one, or a list of them.
fn end_tokens(value: Option<&Value>) -> Result<Vec<u32>, String> {
    let id = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| format!("eos_token_id has {value}; it is a token id or a list of those"))
    };
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(id).collect(),
        Some(value) => Ok(vec![id(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The small test model's `config.json` with some keys set.
    fn read(changes: Value) -> Result<Config, Error> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny-random-llama/config.json");
        let mut config: serde_json::Map<String, Value> = files::read_json(Path::new(source))?;
        config.extend(changes.as_object().cloned().unwrap_or_default());
        let folder = tempfile::tempdir().map_err(Error::file(Path::new("a temporary folder")))?;
        let path = folder.path().join("config.json");
        files::write_json(&path, &config)?;
        Config::read(&path)
    }

    #[test]
    fn parameters_are_those_of_the_file() -> Result<(), Error> {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny-random-llama"));
        let model = crate::model::Backbone::open(folder, &mode_tensor::Device::cpu())?;
        let counted: usize = model.params().map(|param| param.value().len()).sum();
        assert_eq!(model.config.parameters(), counted as u64);
        Ok(())
    }

    #[test]
    fn settings_that_change_the_maths_are_refused() {
        for (changes, says) in [
            (json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}), "\"llama3\" is not supported"),
            (json!({"rope_scaling": {"type": 3}}), "rope_scaling 3"),
            (json!({"rope_scaling": {"factor": 2.0}}), "without a rope_type"),
            (json!({"rope_parameters": {"rope_theta": "big"}}), "\"big\", not a number"),
            (json!({"rope_parameters": {"partial_rotary_factor": 0.5}}), "partial_rotary_factor"),
            (json!({"rope_theta": -1.0, "rope_parameters": null}), "rope_theta is -1"),
            (json!({"rms_norm_eps": -1e-5}), "rms_norm_eps"),
            (json!({"num_hidden_layers": 100_000}), "100000 layers"),
            (json!({"hidden_size": "wide"}), "hidden_size"),
        ] {
            let said = read(changes.clone()).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(said.contains(says), "{changes}: {said}");
        }
        assert!(read(json!({"rope_scaling": null, "rope_parameters": {"rope_theta": 5e5}})).is_ok());
    }
}
