//! A model's shape and parts, as Hugging Face's `config.json` says them. Which keys say what stands with each family.

use super::family::{Family, Keys};
use super::rope::Rope;
use crate::{Error, files};
use mode_tensor::{Activation, Rotation};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Widths, heads, positions and tokens at the most: their products are counted in 32 bits on a GPU.
const MOST_SIZE: usize = 1 << 24;

/// Layers at the most: ten times the deepest model's, and few enough that a mistyped number can't fill the memory.
const MOST_LAYERS: usize = 1_024;

/// Parameters at the most; what the machine at hand can hold is asked when they are made.
const MOST_PARAMETERS: u64 = 1 << 40;

/// Head width at the most: what the attention kernels' tiles hold.
const MOST_HEAD: usize = 256;

/// Which norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// RMSNorm: x / rms(x) * weight.
    Rms,
    /// RMSNorm with weights stored as their difference from 1.
    RmsPlusOne,
    /// LayerNorm: (x - mean) / deviation * weight + bias.
    Layer,
}

/// Which projections have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Biases {
    /// Those of queries, keys and values.
    pub inputs: bool,
    /// The attention's output.
    pub output: bool,
    /// Those of the feed-forward.
    pub feed_forward: bool,
}

/// Shape and parts of a decoder. The default is a Llama whose sizes are yet to be given.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The family, which knows keys and names.
    pub family: &'static Family,
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
    /// Tokens of a sequence at the most.
    pub positions: usize,
    /// The norms' epsilon.
    pub epsilon: f64,
    /// Rotary angles: of all layers, or of those without and those with a window. Without any, positions are learned.
    pub ropes: Vec<Rope>,
    /// Tokens that each layer's attention sees, all where none; empty if none has a window.
    pub windows: Vec<Option<usize>>,
    /// Which norm.
    pub norm: NormKind,
    /// Whether each head's queries and keys are normed.
    pub head_norms: bool,
    /// Whether what attention and feed-forward add to the stream is normed.
    pub out_norms: bool,
    /// Which projections have biases.
    pub biases: Biases,
    /// The feed-forward's activation.
    pub activation: Activation,
    /// What embeddings are multiplied by.
    pub embedding_factor: f64,
    /// What scores are multiplied by; 1 / sqrt(head width) if none.
    pub score_scale: Option<f64>,
    /// Scores become cap tanh(score / cap).
    pub score_cap: Option<f64>,
    /// Logits become cap tanh(logit / cap).
    pub logit_cap: Option<f64>,
    /// True if the head is the embedding.
    pub tied: bool,
    /// The token whose embedding learns nothing from being looked up.
    pub padding: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    /// What else a file said, which is written back.
    pub more: Map<String, Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            family: Family::LLAMA,
            vocabulary: 0,
            width: 0,
            hidden: 0,
            layers: 0,
            heads: 0,
            kv_heads: 0,
            head_width: 0,
            positions: 0,
            epsilon: 1e-5,
            ropes: vec![Rope::plain(1e4)],
            windows: Vec::new(),
            norm: NormKind::Rms,
            head_norms: false,
            out_norms: false,
            biases: Biases::default(),
            activation: Activation::Silu,
            embedding_factor: 1.0,
            score_scale: None,
            score_cap: None,
            logit_cap: None,
            tied: false,
            padding: None,
            eos: Vec::new(),
            more: Map::new(),
        }
    }
}

impl Config {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// A file that is missing or broken, an architecture or a variant that is not supported, or sizes that do not fit.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::from_keys(files::read_json(path)?).map_err(|what| Error::content(path, what))
    }

    /// From the keys of a `config.json`.
    pub(crate) fn from_keys(more: Map<String, Value>) -> Result<Self, String> {
        let keys = Keys(more);
        let family = Family::read(&keys)?;
        let mut config = (family.read)(&keys)?;
        if !keys.flag("is_causal", true)? {
            return Err("is_causal is false and not supported; a token sees what came before it".into());
        }
        config.eos = end_tokens(keys.get("eos_token_id"))?;
        config.more = keys.0;
        config.check()?;
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
        if !self.ropes.is_empty() && !self.head_width.is_multiple_of(2) {
            return Err(format!("rotary positions need heads of even width, not {}", self.head_width));
        }
        if !self.windows.is_empty() && self.windows.len() != self.layers {
            return Err(format!("{} windows for {} layers", self.windows.len(), self.layers));
        }
        if self.windows.contains(&Some(0)) {
            return Err("sliding_window is 0; give 1 or more, or null for none".into());
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
        if self.head_width > MOST_HEAD {
            return Err(format!("heads of width {}; {MOST_HEAD} is possible", self.head_width));
        }
        if !(self.epsilon.is_finite() && self.epsilon >= 0.0) {
            return Err(format!(
                "the norms' epsilon is {}; a small number that is not negative is wanted",
                self.epsilon
            ));
        }
        let factors = [Some(self.embedding_factor), self.score_scale, self.score_cap, self.logit_cap];
        if factors.into_iter().flatten().any(|factor| !(factor.is_finite() && factor > 0.0)) {
            return Err("a factor or bound of embeddings, scores or logits is no positive number".into());
        }
        self.ropes.iter().try_for_each(|rope| rope.check(self.head_width))
    }

    /// The tokens that layer number `layer` sees; all if none.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.windows.get(layer).copied().flatten()
    }

    /// Which of [`Config::ropes`] layer number `layer` turns by.
    pub fn rope(&self, layer: usize) -> Option<usize> {
        let local = self.ropes.len() > 1 && self.window(layer).is_some();
        (!self.ropes.is_empty()).then_some(usize::from(local))
    }

    /// Whether the feed-forward has a gate.
    pub fn gated(&self) -> bool {
        !self.family.names.gate.is_empty()
    }

    /// Parameters of one layer: matrices 2 d (q + kv) + 3 d f (2 d f without a gate), with q and kv the widths of all query and
    /// all key heads, their biases, and norms.
    pub fn layer_parameters(&self) -> u64 {
        let [d, f, heads, kv_heads, width] =
            [self.width, self.hidden, self.heads, self.kv_heads, self.head_width].map(|size| size as u64);
        let (q, kv) = (heads.saturating_mul(width), kv_heads.saturating_mul(width));
        let up = if self.gated() { 2 } else { 1 };
        let norms = if self.out_norms { 4 } else { 2 };
        let mut all = d.saturating_mul((q.saturating_add(kv)).saturating_mul(2));
        all = all.saturating_add(d.saturating_mul(f.saturating_mul(up + 1)));
        for (there, count) in [
            (self.biases.inputs, q.saturating_add(kv.saturating_mul(2))),
            (self.biases.output, d),
            (self.biases.feed_forward, f.saturating_mul(up).saturating_add(d)),
            (self.head_norms, width.saturating_mul(2)),
            (true, norms * self.norm_parameters()),
        ] {
            all = all.saturating_add(if there { count } else { 0 });
        }
        all
    }

    fn norm_parameters(&self) -> u64 {
        self.width as u64 * if self.norm == NormKind::Layer { 2 } else { 1 }
    }

    /// Of a layer's parameters those of the stream's norms.
    pub(crate) fn norms_of_layer(&self) -> usize {
        let norms = if self.out_norms { 4 } else { 2 };
        norms * self.norm_parameters() as usize
    }

    /// Of a layer's parameters those of the heads' norms.
    pub(crate) fn head_norms_of_layer(&self) -> usize {
        if self.head_norms { 2 * self.head_width } else { 0 }
    }

    /// Of a layer's parameters the biases of what is added to the stream.
    pub(crate) fn biases_of_sums(&self) -> usize {
        (usize::from(self.biases.output) + usize::from(self.biases.feed_forward)) * self.width
    }

    /// Parameters of the whole model.
    pub fn parameters(&self) -> u64 {
        let tables = self.vocabulary.saturating_mul(if self.tied { 1 } else { 2 });
        let learned = if self.ropes.is_empty() { self.positions } else { 0 };
        let outside = (self.width as u64).saturating_mul(tables.saturating_add(learned) as u64);
        let layers = self.layer_parameters().saturating_mul(self.layers as u64);
        layers.saturating_add(outside).saturating_add(self.norm_parameters())
    }

    /// Tokens of the longest window: its positions, as far as there are rotary angles for them.
    pub(crate) fn positions_with(&self, rotations: &[Rotation]) -> usize {
        rotations.iter().map(Rotation::length).fold(self.positions, usize::min)
    }

    /// What of it the model's function depends on, as Hugging Face would write it.
    pub(crate) fn maths(&self) -> Value {
        let mut maths = (self.family.write)(self);
        // Positions bound the windows and change no number, unless they are learned.
        if let Some(keys) = maths.as_object_mut().filter(|_| !self.ropes.is_empty()) {
            keys.remove("max_position_embeddings");
        }
        maths
    }

    /// All of it as Hugging Face would write it, over what the file it came from said besides; `dtype` is what most weights are
    /// stored as, in torch's words.
    pub fn to_json(&self, dtype: &str) -> Value {
        let rest = json!({
            "architectures": [self.family.architecture],
            "model_type": self.family.model_type,
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
        // It says what rope_theta and rope_scaling say, or is written anew.
        all.remove("rope_parameters");
        for ours in [rest, (self.family.write)(self)] {
            all.extend(ours.as_object().cloned().unwrap_or_default());
        }
        Value::Object(all)
    }
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
            (json!({"rope_scaling": {"rope_type": "dynamic", "factor": 8.0}}), "\"dynamic\" is not supported"),
            (json!({"rope_scaling": {"rope_type": "yarn"}}), "rope_scaling: factor is missing"),
            (json!({"rope_scaling": {"rope_type": "linear", "factor": -2.0}}), "makes no sense"),
            (json!({"rope_scaling": {"type": 3}}), "rope_scaling: 3 is not supported"),
            (json!({"rope_scaling": {"factor": 2.0}}), "has no rope_type"),
            (json!({"rope_parameters": {"rope_theta": "big"}}), "rope_theta is \"big\", not a number"),
            (json!({"rope_parameters": {"partial_rotary_factor": 0.5}}), "partial_rotary_factor"),
            (json!({"rope_theta": -1.0, "rope_parameters": null}), "rope_theta is -1"),
            (json!({"rms_norm_eps": -1e-5}), "epsilon is -0.00001"),
            (json!({"num_hidden_layers": 100_000}), "100000 layers"),
            (json!({"hidden_size": "wide"}), "hidden_size"),
        ] {
            let said = read(changes.clone()).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(said.contains(says), "{changes}: {said}");
        }
        assert!(read(json!({"rope_scaling": null, "rope_parameters": {"rope_theta": 5e5}})).is_ok());
    }
}
