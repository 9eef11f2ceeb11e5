//! `mode data`: texts as the trainer sees them, and files of tokens made of them.

use super::print_json;
use crate::data::{Corpus, Source, Split, Tokens};
use crate::model::open_tokenizer;
use crate::{Error, files};
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What a text holds, and files of tokens made of it.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Documents, bytes and, with a tokenizer, tokens of each split
    Stats(Stats),
    /// Encode one split of a text into a file of tokens
    Prepare(Prepare),
}

#[derive(clap::Args)]
struct Stats {
    /// A text file, a folder, FILE.jsonl:field[,field], or a file of tokens
    source: String,
    /// A Hugging Face tokenizer.json, or a .gguf file that holds one
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Prepare {
    /// A text file, a folder, or FILE.jsonl:field[,field]
    source: String,
    /// A Hugging Face tokenizer.json, or a .gguf file that holds one
    #[arg(long)]
    tokenizer: PathBuf,
    /// File to make; its name ends in .tokens
    #[arg(long)]
    out: PathBuf,
    /// Which documents
    #[arg(long, value_enum, default_value = "train")]
    split: SplitName,
}

#[derive(Clone, Copy, ValueEnum)]
enum SplitName {
    Train,
    Validation,
    Test,
}

impl SplitName {
    fn split(self) -> Split {
        match self {
            Self::Train => Split::Train,
            Self::Validation => Split::Validation,
            Self::Test => Split::Test,
        }
    }
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    match arguments.command {
        Command::Stats(arguments) => stats(&arguments),
        Command::Prepare(arguments) => prepare(&arguments),
    }
}

pub(super) fn is_tokens(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tokens")
}

fn stats(arguments: &Stats) -> Result<(), Error> {
    if is_tokens(arguments.source.as_ref()) {
        let tokens = Tokens::read(arguments.source.as_ref())?;
        let (count, different) = (tokens.ids.len(), tokens.ids.iter().collect::<std::collections::HashSet<_>>().len());
        let found = json!({
            "name": tokens.name, "tokens": count, "vocabulary": tokens.vocab, "different_tokens": different
        });
        return show(&found, arguments.json);
    }
    let corpus = Corpus::open("text", &arguments.source.parse::<Source>()?)?;
    let tokenizer = arguments.tokenizer.as_deref().map(open_tokenizer).transpose()?;
    let mut found = serde_json::Map::new();
    found.insert("documents".into(), json!(corpus.documents.len()));
    found.insert("bytes".into(), json!(corpus.bytes()));
    found.insert("sha256".into(), json!(corpus.sha256()));
    for split in [SplitName::Train, SplitName::Validation, SplitName::Test] {
        let name = split.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default();
        let texts: Vec<&str> = corpus.texts(split.split()).collect();
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        let mut of_split = json!({"documents": texts.len(), "bytes": bytes});
        if let Some(tokenizer) = &tokenizer {
            // A document has an end, and with some tokenizers a beginning.
            let around = 1 + usize::from(tokenizer.beginning()?.is_some());
            let tokens: usize = tokenizer.encode_all(texts)?.iter().map(|ids| ids.len() + around).sum();
            of_split["tokens"] = json!(tokens);
            of_split["bytes_a_token"] = json!(bytes as f64 / tokens.max(1) as f64);
        }
        found.insert(name, of_split);
    }
    show(&Value::Object(found), arguments.json)
}

fn show(found: &Value, as_json: bool) -> Result<(), Error> {
    if as_json {
        return print_json(found);
    }
    for (name, value) in found.as_object().into_iter().flatten() {
        match value {
            Value::Object(more) => {
                let more: Vec<String> = more.iter().map(|(name, value)| format!("{name} {value}")).collect();
                say!("{name:18} {}", more.join(", "));
            }
            Value::String(text) => say!("{name:18} {text}"),
            value => say!("{name:18} {value}"),
        }
    }
    Ok(())
}

fn prepare(arguments: &Prepare) -> Result<(), Error> {
    let out = &arguments.out;
    if !is_tokens(out) {
        return Err(Error::content(out, "a file of tokens has a name that ends in .tokens"));
    }
    files::refuse_existing_file(out)?;
    let corpus = Corpus::open("text", &arguments.source.parse::<Source>()?)?;
    let tokenizer = open_tokenizer(&arguments.tokenizer)?;
    let name = out.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut tokens = Tokens::encode(&name, &tokenizer, corpus.texts(arguments.split.split()))?;
    tokens.tokenizer = files::digest(&arguments.tokenizer)?;
    if tokens.ids.is_empty() {
        let what = format!("none of its {} documents is in that split; give more text", corpus.documents.len());
        return Err(Error::Setting(format!("{}: {what}", arguments.source)));
    }
    files::create(out, |partial| Ok(tokens.write(partial)?))?;
    say!("{}: {} tokens", out.display(), tokens.ids.len());
    Ok(())
}
