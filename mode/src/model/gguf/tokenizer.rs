//! The tokenizer in a file: byte-level BPE, made into what a Hugging Face `tokenizer.json` says.
//!
//! Files hold tokens, their types and merges, and of how texts are cut before only a name, `tokenizer.ggml.pre`.

use super::container::Container;
use super::is_gguf;
use super::meta::{Meta, shown};
use crate::Error;
use crate::data::Tokenizer;
use gguf_rs_lib::format::metadata::MetadataValue;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// What to do where a file's tokenizer is none that is read.
const ADVICE: &str = "put the model's tokenizer.json beside the file, or use --ids";

/// The tokenizer of a plain model: `tokenizer.json` in its folder or beside its file, else the file itself.
pub(crate) fn tokenizer_file(model: &Path) -> PathBuf {
    if !is_gguf(model) {
        return model.join("tokenizer.json");
    }
    let beside = model.with_file_name("tokenizer.json");
    if beside.exists() { beside } else { model.to_path_buf() }
}

/// Reads a `tokenizer.json`, or the tokenizer in a GGUF file.
///
/// # Errors
/// A file that is missing or broken, or a tokenizer of another kind.
pub fn open_tokenizer(file: &Path) -> Result<Tokenizer, Error> {
    if !is_gguf(file) {
        return Ok(Tokenizer::open(file)?);
    }
    let content = |what: String| Error::content(file, format!("{what}; {ADVICE}"));
    let container = Container::open(file)?;
    let meta = Meta { metadata: &container.metadata, architecture: "tokenizer.ggml" };
    let json = byte_level(&meta).map_err(content)?;
    Ok(Tokenizer::from_json(file, json.to_string().into_bytes())?)
}

/// How texts are cut, and what goes with it.
struct Cut {
    normalizer: Value,
    pre_tokenizer: Value,
    /// Whether a text's piece that is a token is one, whatever the merges say.
    ignore_merges: bool,
    /// Whether a text begins with the beginning token where the file does not say.
    begins: bool,
}

impl Cut {
    /// By the name that files have for it.
    fn of(name: &str) -> Option<Self> {
        let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let digits = json!({"type": "Digits", "individual_digits": true});
        let in_turn = |first: Value, last: Value| json!({"type": "Sequence", "pretokenizers": [first, last]});
        let pieces = |numbers: &str| {
            let pattern = format!(
                "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|{numbers}\
                 | ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
            );
            json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
        };
        let plain = Self { normalizer: Value::Null, pre_tokenizer: Value::Null, ignore_merges: false, begins: false };
        Some(match name {
            "gpt-2" => Self { pre_tokenizer: byte_level(true), ..plain },
            "smollm" => Self { pre_tokenizer: in_turn(digits, byte_level(true)), ..plain },
            "llama-bpe" => Self {
                pre_tokenizer: in_turn(pieces("\\p{N}{1,3}"), byte_level(false)),
                ignore_merges: true,
                begins: true,
                ..plain
            },
            "qwen2" => Self {
                normalizer: json!({"type": "NFC"}),
                pre_tokenizer: in_turn(pieces("\\p{N}"), byte_level(false)),
                ..plain
            },
            _ => return None,
        })
    }
}

/// The `tokenizer.json` of a file's tokenizer.
fn byte_level(meta: &Meta) -> Result<Value, String> {
    let text = |key: &str| meta.get(key).and_then(MetadataValue::as_str);
    match text("model") {
        Some("gpt2") => {}
        Some(other) => return Err(format!("its tokenizer is of the kind '{}', and gpt2 alone is read", shown(other))),
        None => return Err("it has no tokenizer".into()),
    }
    let pre = text("pre").unwrap_or("default");
    let cut = Cut::of(pre).ok_or_else(|| {
        format!(
            "it cuts texts as '{}' does (tokenizer.ggml.pre); gpt-2, smollm, llama-bpe and qwen2 are known",
            shown(pre)
        )
    })?;
    let tokens = texts(meta, "tokens")?;
    let mut vocabulary = Map::new();
    for (id, token) in tokens.iter().enumerate() {
        if vocabulary.insert((*token).into(), json!(id)).is_some() {
            return Err(format!("its tokenizer has the token {token:?} twice"));
        }
    }
    let pairs = texts(meta, "merges")?.into_iter().map(|merge| {
        // A token may begin with the space that Hugging Face's own files can't have there.
        let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
        at.map(|at| [&merge[..at], &merge[at + 1..]]).ok_or_else(|| format!("its merge {merge:?} is no pair of tokens"))
    });
    let merges = pairs.collect::<Result<Vec<_>, _>>()?;
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added(meta, &tokens),
        "normalizer": cut.normalizer,
        "pre_tokenizer": cut.pre_tokenizer,
        "post_processor": template(meta, &tokens, cut.begins)?,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": cut.ignore_merges,
            "vocab": vocabulary, "merges": merges,
        },
    }))
}

/// A list of texts.
fn texts<'a>(meta: &Meta<'a>, key: &str) -> Result<Vec<&'a str>, String> {
    let Some(MetadataValue::Array(list)) = meta.get(key) else { return Err(format!("it has no {}", meta.name(key))) };
    let text =
        |value: &'a MetadataValue| value.as_str().ok_or_else(|| format!("{} is no list of texts", meta.name(key)));
    list.iter().map(text).collect()
}

/// Tokens that are found in a text before it is cut: of type 3, control, and 4, the user's.
fn added(meta: &Meta, tokens: &[&str]) -> Vec<Value> {
    let kinds: Vec<Option<f64>> = match meta.get("token_type") {
        Some(MetadataValue::Array(kinds)) => kinds.iter().map(super::meta::number).collect(),
        _ => Vec::new(),
    };
    let found = tokens.iter().zip(&kinds).enumerate().filter(|(_, (_, kind))| [Some(3.0), Some(4.0)].contains(kind));
    let added = found.map(|(id, (token, kind))| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": *kind == Some(3.0),
        })
    });
    added.collect()
}

/// What stands around a text.
fn template(meta: &Meta, tokens: &[&str], begins: bool) -> Result<Value, String> {
    let mut single = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
    let mut special = Map::new();
    for (flag, usual, key) in [("add_bos_token", begins, "bos_token_id"), ("add_eos_token", false, "eos_token_id")] {
        if !meta.get(flag).and_then(MetadataValue::as_bool).unwrap_or(usual) {
            continue;
        }
        let id = meta.maybe_size(key)?.ok_or_else(|| meta.missing(key))?;
        let token = tokens.get(id).ok_or_else(|| format!("{} is {id}, no token of its own", meta.name(key)))?;
        special.insert((*token).into(), json!({"id": token, "ids": [id], "tokens": [token]}));
        let place = if key == "bos_token_id" { 0 } else { single.len() };
        single.insert(place, json!({"SpecialToken": {"id": token, "type_id": 0}}));
    }
    if special.is_empty() {
        return Ok(Value::Null);
    }
    let pair = [json!({"Sequence": {"id": "A", "type_id": 0}}), json!({"Sequence": {"id": "B", "type_id": 1}})];
    Ok(json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}))
}
