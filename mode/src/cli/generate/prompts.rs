//! Prompts: texts or ids, and which experts answer them.

use crate::cli::eval::read_windows;
use crate::data::Tokenizer;
use crate::{Error, files};
use serde::Deserialize;
use std::path::Path;

/// A prompt.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prompt {
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    ids: Option<Vec<u32>>,
    /// Names of the experts that answer; all if none.
    #[serde(default)]
    pub(super) experts: Option<Vec<String>>,
    /// Where it stands in a file of prompts, from 1.
    #[serde(skip)]
    line: Option<usize>,
}

impl Prompt {
    pub(super) fn text(text: String) -> Self {
        Self { prompt: Some(text), ids: None, experts: None, line: None }
    }

    /// True if it needs a tokenizer.
    pub(super) fn is_text(&self) -> bool {
        self.prompt.is_some()
    }

    /// The same of an error that is about it, with its place in `file`, if it came from one.
    pub(super) fn place(&self, file: Option<&Path>, error: Error) -> Error {
        match (file, self.line) {
            (Some(file), Some(line)) => Error::content(file, format!("line {line}: {error}")),
            _ => error,
        }
    }

    /// Its ids.
    pub(super) fn ids(&self, tokenizer: Option<&Tokenizer>, missing: impl Fn() -> Error) -> Result<Vec<u32>, Error> {
        match (&self.prompt, &self.ids) {
            (Some(text), None) => Ok(tokenizer.ok_or_else(missing)?.encode(text, true)?),
            (None, Some(ids)) => Ok(ids.clone()),
            _ => Err(Error::Setting("a prompt has either a text (\"prompt\") or \"ids\"".into())),
        }
    }
}

/// The prompt of a file of ids.
pub(super) fn one(file: &Path) -> Result<Prompt, Error> {
    let mut windows = read_windows(file)?;
    if windows.len() != 1 {
        return Err(Error::content(file, "holds several windows; a prompt is one list of ids"));
    }
    Ok(Prompt { prompt: None, ids: Some(windows.remove(0)), experts: None, line: None })
}

/// The prompts of a file, one a line.
pub(super) fn read_prompts(file: &Path) -> Result<Vec<Prompt>, Error> {
    let text = files::read_text(file)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let prompts = lines
        .map(|(number, line)| {
            let wrong = |what: String| Error::content(file, format!("line {number}: {what}"));
            if !line.trim_start().starts_with('{') {
                return Err(wrong("is no JSON object; give {\"prompt\": TEXT} or {\"ids\": [..]}".into()));
            }
            // The parser, which sees one line, would count it as the first.
            let without_line = |error: serde_json::Error| error.to_string().replace("at line 1 column", "at column");
            let prompt: Prompt = serde_json::from_str(line).map_err(|error| wrong(without_line(error)))?;
            if prompt.prompt.is_some() == prompt.ids.is_some() {
                return Err(wrong("give either \"prompt\" or \"ids\"".into()));
            }
            Ok(Prompt { line: Some(number), ..prompt })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if prompts.is_empty() {
        return Err(Error::content(file, "holds no prompt; give one JSON object a line"));
    }
    Ok(prompts)
}
