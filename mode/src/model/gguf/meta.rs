//! A file's metadata, read one key at a time with messages that name it.

use gguf_rs_lib::format::Metadata;
use gguf_rs_lib::format::metadata::MetadataValue;
use serde_json::{Value, json};

/// The metadata, with the architecture whose keys are asked for.
pub(super) struct Meta<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) architecture: &'a str,
}

/// A text of a file's as a message can show it, in one line.
pub(super) fn shown(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// A whole number that is not negative.
fn whole(value: &MetadataValue) -> Option<u64> {
    value.as_u64().or_else(|| value.as_i64().and_then(|number| u64::try_from(number).ok()))
}

/// A number. An f32 is the shortest decimal that it stands for, as somebody wrote it once.
pub(super) fn number(value: &MetadataValue) -> Option<f64> {
    match value {
        MetadataValue::F32(number) => number.to_string().parse().ok(),
        MetadataValue::F64(number) => Some(*number),
        other => whole(other).map(|number| number as f64),
    }
}

impl<'a> Meta<'a> {
    /// A key's whole name.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a MetadataValue> {
        self.metadata.get(&self.name(key))
    }

    pub(super) fn missing(&self, key: &str) -> String {
        format!("{} is missing; convert the model anew", self.name(key))
    }

    /// A size that may be missing.
    pub(super) fn maybe_size(&self, key: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let size = whole(value).and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| self.no("whole number", key, value))
    }

    pub(super) fn size(&self, key: &str) -> Result<usize, String> {
        self.maybe_size(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number that may be missing.
    pub(super) fn maybe_number(&self, key: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        number(value).map(Some).ok_or_else(|| self.no("number", key, value))
    }

    pub(super) fn number(&self, key: &str) -> Result<f64, String> {
        self.maybe_number(key)?.ok_or_else(|| self.missing(key))
    }

    fn no(&self, what: &str, key: &str, value: &MetadataValue) -> String {
        format!("{} is {}, no {what} that is supported", self.name(key), shown(&value.to_string_representation()))
    }

    /// An error if a key is there that nothing here can follow, unless it is 0, false, or as good as absent.
    pub(super) fn refuse(&self, key: &str, neutral: f64) -> Result<(), String> {
        match self.get(key) {
            Some(MetadataValue::Bool(false)) => Ok(()),
            Some(value) if number(value).is_none_or(|found| found != 0.0 && found != neutral) => Err(format!(
                "{} is {}, and it is not supported",
                self.name(key),
                shown(&value.to_string_representation())
            )),
            _ => Ok(()),
        }
    }

    /// Tokens of the tokenizer; none if there is none.
    pub(super) fn tokens(&self) -> usize {
        match self.metadata.get("tokenizer.ggml.tokens") {
            Some(MetadataValue::Array(tokens)) => tokens.len(),
            _ => 0,
        }
    }

    /// A token of the tokenizer's.
    pub(super) fn token(&self, key: &str) -> Value {
        let id = self.metadata.get(&format!("tokenizer.ggml.{key}")).and_then(whole);
        // Where there is none, files may have 2^32 - 1.
        json!(id.filter(|id| *id < u64::from(u32::MAX)))
    }

    /// Tokens that end a text: the end token, and the end of a turn where that is another.
    pub(super) fn ends(&self) -> Value {
        let (end, turn) = (self.token("eos_token_id"), self.token("eot_token_id"));
        match (end.is_null(), turn.is_null()) {
            (false, false) if end != turn => json!([end, turn]),
            (true, _) => turn,
            _ => end,
        }
    }
}
