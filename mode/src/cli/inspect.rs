//! `mode inspect`.

use super::eval::tokenizer_of;
use super::{DeviceArguments, print_json};
use crate::inspect::{Inspection, TextGates, gates, inspect};
use crate::model::{open, open_with_experts};
use crate::train::gate_rule;
use crate::{Error, files};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// What a model, an expert, a checkpoint, a run or a file of tokens holds.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A folder, a .gguf file, a checkpoint's file or a file of tokens
    path: PathBuf,
    /// Show where the gates open on a text, or on that of @FILE; may be given several times
    #[arg(long, value_name = "TEXT")]
    gates: Vec<String>,
    /// Expert folder to put beside a plain model, for --gates
    #[arg(long, requires = "gates")]
    expert: Vec<PathBuf>,
    /// List every tensor with its shape; --json always does
    #[arg(long)]
    tensors: bool,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    if !arguments.gates.is_empty() {
        return show_gates(&arguments);
    }
    let found = inspect(&arguments.path)?;
    show(&found, arguments.tensors, arguments.json)
}

/// Prints what was found.
pub(super) fn show(found: &Inspection, tensors: bool, json: bool) -> Result<(), Error> {
    if json { print_json(&as_json(found)) } else { print(found, tensors) }
}

fn as_json(found: &Inspection) -> Value {
    let mut object = Map::from_iter([("kind".to_string(), json!(found.kind))]);
    object.extend(found.facts.iter().map(|(name, value)| ((*name).to_string(), value.clone())));
    object.insert("tensors".into(), found.tensors.iter().map(|(name, shape)| (name.clone(), json!(shape))).collect());
    Value::Object(object)
}

fn print(found: &Inspection, tensors: bool) -> Result<(), Error> {
    say!("{:26} {}", "kind", found.kind);
    for (name, value) in found.facts.iter().filter(|(_, value)| value.as_str() != Some("")) {
        match value {
            Value::String(text) => say!("{name:26} {text}"),
            Value::Array(list) if list.iter().any(|value| !value.is_number()) => {
                list.iter().for_each(|value| say!("{name:26} {value}"));
            }
            value => say!("{name:26} {value}"),
        }
    }
    if !found.tensors.is_empty() && !tensors {
        say!("{:26} {}; --tensors lists them", "tensors", found.tensors.len());
    }
    for (name, shape) in found.tensors.iter().filter(|_| tensors) {
        say!("{:26} {name}", format!("{shape:?}"));
    }
    Ok(())
}

fn show_gates(arguments: &Arguments) -> Result<(), Error> {
    let device = arguments.device.open()?;
    let model = match arguments.expert.as_slice() {
        [] => open(&arguments.path, &device)?,
        experts => open_with_experts(&arguments.path, experts, gate_rule(), &device)?,
    };
    let missing = || Error::content(&arguments.path, "has no tokenizer.json for --gates");
    let tokenizer = tokenizer_of(&arguments.path, None)?.ok_or_else(missing)?;
    let branches: Vec<&str> =
        std::iter::once("backbone").chain(model.experts.iter().map(|expert| expert.info.name.as_str())).collect();
    let mut all = Vec::new();
    for text in &arguments.gates {
        let (name, text) = match text.strip_prefix('@') {
            Some(file) => (file.to_string(), files::read_text(Path::new(file))?),
            None => (text.chars().take(40).collect(), text.clone()),
        };
        let ids = tokenizer.encode(&text, true)?;
        let found = gates(&model, &ids)?;
        let words = ids.iter().map(|&id| Ok(tokenizer.decode(&[id], false)?)).collect::<Result<Vec<_>, Error>>()?;
        if !arguments.json {
            print_gates(&name, &branches, &words, &found);
        }
        all.push(json!({"text": name, "tokens": words, "blocks": found.blocks, "weights": found.tokens}));
    }
    if arguments.json { print_json(&json!({"branches": branches, "texts": all})) } else { Ok(()) }
}

fn print_gates(name: &str, branches: &[&str], words: &[String], found: &TextGates) {
    say!("{name:?}: {} tokens; branches {}", words.len(), branches.join(", "));
    let list = |values: &mut dyn Iterator<Item = f64>| values.map(|v| format!("{v:6.3}")).collect::<Vec<_>>().join(" ");
    for (i, block) in found.blocks.iter().enumerate() {
        say!(
            "block {i}  mean {}  mean log {}  entropy {:.3}",
            list(&mut block.mean.iter().copied()),
            list(&mut block.mean_log.iter().copied()),
            block.entropy
        );
    }
    // A line a token, its blocks side by side; of a long text the first ones.
    const SHOWN: usize = 64;
    for (word, blocks) in words.iter().zip(&found.tokens).take(SHOWN) {
        let blocks = blocks.iter().map(|weights| list(&mut weights.iter().map(|&a| f64::from(a))));
        say!("{:>16}  {}", format!("{word:?}"), blocks.collect::<Vec<_>>().join(" | "));
    }
    if words.len() > SHOWN {
        say!("{:>16}  and {} more; --json has them all", "", words.len() - SHOWN);
    }
}
