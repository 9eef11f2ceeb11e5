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
}

impl Prompt {
    pub(super) fn text(text: String) -> Self {
        Self { prompt: Some(text), ids: None, experts: None }
    }

    /// Its ids.
    pub(super) fn ids(self, tokenizer: Option<&Tokenizer>, missing: impl Fn() -> Error) -> Result<Vec<u32>, Error> {
        match (self.prompt, self.ids) {
            (Some(text), None) => Ok(tokenizer.ok_or_else(missing)?.encode(&text, true)?),
            (None, Some(ids)) => Ok(ids),
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
    Ok(Prompt { prompt: None, ids: Some(windows.remove(0)), experts: None })
}

/// The prompts of a file, one a line.
pub(super) fn read_prompts(file: &Path) -> Result<Vec<Prompt>, Error> {
    let text = files::read_text(file)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let prompts = lines
        .map(|(number, line)| {
            let prompt: Prompt =
                serde_json::from_str(line).map_err(|e| Error::content(file, format!("line {}: {e}", number + 1)))?;
            if prompt.prompt.is_some() == prompt.ids.is_some() {
                let what = format!("line {}: give either \"prompt\" or \"ids\"", number + 1);
                return Err(Error::content(file, what));
            }
            Ok(prompt)
        })
        .collect::<Result<Vec<_>, _>>()?;
    if prompts.is_empty() {
        return Err(Error::content(file, "holds no prompt; give one JSON object a line"));
    }
    Ok(prompts)
}
