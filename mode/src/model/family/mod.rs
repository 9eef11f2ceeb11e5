//! Families of decoders: each file maps one family's `config.json` and tensor names onto the shared parts of a layer.
//!
//! What a family decides is data: which norms, projections, positions and windows a [`Config`] has, and [`Names`] for the
//! parameters. Nothing outside this folder asks which family a model is of.

mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
mod keys;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;
#[cfg(test)]
mod tests;

use super::adapter::EMBEDDING_A;
use super::config::Config;
pub(crate) use keys::Keys;
use serde_json::Value;

/// A family: its name, how its configuration is read and written, and what its tensors are called.
pub struct Family {
    /// As `architectures` in `config.json` names it.
    pub architecture: &'static str,
    /// The same without a head.
    pub bare: &'static str,
    /// As `model_type` names it.
    pub model_type: &'static str,
    /// The configuration that a file's keys say.
    pub(crate) read: fn(&Keys) -> Result<Config, String>,
    /// What the model's function depends on, in the family's own keys.
    pub(crate) write: fn(&Config) -> Value,
    /// What its tensors are called.
    pub(crate) names: Names,
}

/// Names of a family's tensors, as Hugging Face's files have them. Norms and projections end in `.weight` and `.bias`.
pub(crate) struct Names {
    /// Before all but the head; files of bare decoders leave it out.
    pub(crate) body: &'static str,
    pub(crate) embedding: &'static str,
    /// The table of learned positions, where there is one.
    pub(crate) positions: &'static str,
    /// Before a layer's number.
    pub(crate) layer: &'static str,
    pub(crate) norm: &'static str,
    pub(crate) head: &'static str,
    /// Before the attention.
    pub(crate) input_norm: &'static str,
    /// Query, key and value, or the one projection that makes all three.
    pub(crate) inputs: &'static [&'static str],
    pub(crate) output: &'static str,
    /// Of each head's query and key.
    pub(crate) head_norms: [&'static str; 2],
    /// Of what the attention adds to the stream.
    pub(crate) attention_norm: &'static str,
    /// Before the feed-forward.
    pub(crate) feed_norm: &'static str,
    /// Empty where the feed-forward has no gate.
    pub(crate) gate: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
    /// Of what the feed-forward adds to the stream.
    pub(crate) feed_out_norm: &'static str,
    /// Ends of the names of matrices that files hold as `[in, out]`.
    pub(crate) transposed: &'static [&'static str],
    /// Ends of the names of tensors that files may hold and that carry nothing.
    pub(crate) buffers: &'static [&'static str],
}

impl Names {
    /// True if files hold the matrix of this name as `[in, out]`; of an embedding's LoRA, A as `[rank, vocabulary]`.
    pub(crate) fn is_transposed(&self, name: &str) -> bool {
        name.ends_with(EMBEDDING_A) || self.transposed.iter().any(|end| name.ends_with(end))
    }

    /// True if a file's tensor of this name carries nothing.
    pub(crate) fn is_buffer(&self, name: &str) -> bool {
        self.buffers.iter().any(|end| name.ends_with(end))
    }
}

/// All families that are read.
pub(crate) const ALL: [&Family; 8] = [
    &llama::LLAMA,
    &mistral::MISTRAL,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &gemma::GEMMA,
    &gemma2::GEMMA2,
    &gemma3::GEMMA3,
    &gpt2::GPT2,
];

impl Family {
    /// Llama's, which most others are like.
    pub const LLAMA: &'static Family = &llama::LLAMA;

    /// The family that a configuration's `architectures` names, or without those its `model_type`.
    pub(crate) fn read(keys: &Keys) -> Result<&'static Self, String> {
        let architecture = keys.get("architectures").and_then(|names| names.get(0)).and_then(Value::as_str);
        let model_type = keys.get("model_type").and_then(Value::as_str);
        let name = architecture.or(model_type).unwrap_or("missing");
        let family = ALL.into_iter().find(|family| family.is_called(name)).ok_or_else(|| {
            let known: Vec<&str> = ALL.iter().map(|family| family.architecture).collect();
            format!("architecture {name} is not supported; {} are", known.join(", "))
        })?;
        match model_type {
            Some(other) if other != family.model_type => Err(format!(
                "architectures has {name}, which is of model_type {}, and model_type is {other}; one of them is wrong",
                family.model_type
            )),
            _ => Ok(family),
        }
    }

    fn is_called(&self, name: &str) -> bool {
        [self.architecture, self.bare, self.model_type].contains(&name)
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.architecture == other.architecture
    }
}

impl std::fmt::Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.architecture)
    }
}
