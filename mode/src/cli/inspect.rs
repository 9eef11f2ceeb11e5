//! `mode inspect`.

use super::eval::tokenizer_of;
use super::{DeviceArguments, print_json};
use crate::inspect::{Inspection, branches, gates, inspect};
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
    /// Tokens of a text whose gates are printed one by one, below the means of all
    #[arg(long, value_name = "COUNT", default_value_t = 64, requires = "gates")]
    tokens: usize,
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
    let mut all = Vec::new();
    for text in &arguments.gates {
        let (name, text) = match text.strip_prefix('@') {
            Some(file) => (file.to_string(), files::read_text(Path::new(file))?),
            None => (text.chars().take(40).collect(), text.clone()),
        };
        let found = gates(&model, &tokenizer, &name, &text)?;
        if !arguments.json {
            found.lines(arguments.tokens).iter().for_each(|line| say!("{line}"));
        }
        all.push(found);
    }
    if arguments.json { print_json(&json!({"branches": branches(&model), "texts": all})) } else { Ok(()) }
}
