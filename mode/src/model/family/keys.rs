//! The keys of a `config.json`, read one at a time with messages that name them.

use mode_tensor::Activation;
use serde_json::{Map, Value};

/// Activations by the names that configurations have for them; the first of each is the one that is written.
const ACTIVATIONS: [(&str, Activation); 8] = [
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu", Activation::Gelu),
    ("relu", Activation::Relu),
    ("tanh", Activation::Tanh),
];

/// The keys of one file. A key that is null is as good as one that is not there.
pub(crate) struct Keys(pub(crate) Map<String, Value>);

impl Keys {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// A size that may be missing.
    pub(crate) fn maybe_size(&self, key: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| format!("{key} is {value}, not a whole number"))
    }

    /// A size, the default without the key, none where it is null.
    pub(crate) fn size_or(&self, key: &str, default: usize) -> Result<Option<usize>, String> {
        if self.0.contains_key(key) { self.maybe_size(key) } else { Ok(Some(default)) }
    }

    pub(crate) fn size(&self, key: &str) -> Result<usize, String> {
        self.maybe_size(key)?.ok_or_else(|| format!("{key} is missing; fetch the model again"))
    }

    /// A number that may be missing.
    pub(crate) fn maybe_number(&self, key: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| format!("{key} is {value}, not a number"))
    }

    pub(crate) fn number(&self, key: &str, default: f64) -> Result<f64, String> {
        Ok(self.maybe_number(key)?.unwrap_or(default))
    }

    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| format!("{key} is {value}, not true or false"))
    }

    /// An error if a flag is set that nothing here can follow.
    pub(crate) fn refuse(&self, key: &str) -> Result<(), String> {
        if self.flag(key, false)? { Err(format!("{key} is set and not supported")) } else { Ok(()) }
    }

    /// The activation of that name.
    pub(crate) fn activation(&self, key: &str, default: Activation) -> Result<Activation, String> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let found = ACTIVATIONS.iter().find(|(name, _)| value == name);
        found.map(|(_, activation)| *activation).ok_or_else(|| {
            let known: Vec<&str> = ACTIVATIONS.iter().map(|(name, _)| *name).collect();
            format!("{key} {value} is not supported; {} are", known.join(", "))
        })
    }

    /// The window of each layer: `window` for those that are `sliding`, unless `layer_types` says which are.
    pub(crate) fn windows(
        &self,
        layers: usize,
        window: Option<usize>,
        sliding: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<usize>>, String> {
        let Some(types) = self.get("layer_types") else {
            // A broken number of layers is refused later; it must not take memory here.
            return Ok((0..layers.min(1 << 16)).map(|layer| window.filter(|_| sliding(layer))).collect());
        };
        let types = types.as_array().filter(|types| types.len() == layers);
        let types = types.ok_or_else(|| format!("layer_types is no list of {layers} names"))?;
        let window_of = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Ok(None),
            Some("sliding_attention") if window.is_none() => {
                Err("layer_types has sliding_attention, and there is no sliding_window".into())
            }
            Some("sliding_attention") => Ok(window),
            _ => Err(format!("layer_types has {kind}; full_attention and sliding_attention are supported")),
        };
        types.iter().map(window_of).collect()
    }
}

/// What configurations call an activation.
pub(super) fn name_of(activation: Activation) -> &'static str {
    ACTIVATIONS.iter().find(|(_, known)| *known == activation).map_or("", |(name, _)| name)
}

/// What they call the layers' kinds.
pub(super) fn layer_types(windows: &[Option<usize>]) -> Value {
    windows.iter().map(|window| if window.is_some() { "sliding_attention" } else { "full_attention" }).collect()
}
