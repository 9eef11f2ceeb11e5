//! `mode generate`.

use super::eval::{ModelArguments, read_windows};
use super::{DeviceArguments, print_json};
use crate::Error;
use crate::generate::generate;
use serde::Serialize;
use std::path::PathBuf;

/// Greedy continuation of a prompt.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A text, for the model's tokenizer
    #[arg(long, conflicts_with = "ids", required_unless_present = "ids")]
    prompt: Option<String>,
    /// A JSON file of token ids
    #[arg(long)]
    ids: Option<PathBuf>,
    /// New tokens
    #[arg(long, default_value_t = 32)]
    max_new: usize,
    /// End at the model's end token
    #[arg(long)]
    stop_at_eos: bool,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

#[derive(Serialize)]
struct Answer {
    new_ids: Vec<u32>,
    text: Option<String>,
    top: Vec<(u32, f64)>,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let device = arguments.device.open()?;
    let model = arguments.model.open(&device)?;
    let tokenizer = match (arguments.model.tokenizer(), &arguments.ids) {
        (Ok(tokenizer), _) => tokenizer,
        // Ids need no tokenizer; without one the answer has no text.
        (Err(error), Some(_)) => {
            tell!("no text will be shown: {error}");
            None
        }
        (Err(error), None) => return Err(error),
    };
    let prompt = match (&arguments.ids, &arguments.prompt) {
        (Some(file), _) => {
            let mut windows = read_windows(file)?;
            if windows.len() != 1 {
                return Err(Error::content(file, "holds several windows; a prompt is one list of ids"));
            }
            windows.remove(0)
        }
        (None, Some(text)) => {
            let missing = || Error::content(&arguments.model.model, "has no tokenizer.json for --prompt; use --ids");
            tokenizer.as_ref().ok_or_else(missing)?.encode(text, true)?
        }
        (None, None) => return Err(Error::Setting("give --prompt TEXT or --ids FILE.json".into())),
    };
    let stop = if arguments.stop_at_eos { model.backbone.config.eos.as_slice() } else { &[] };
    if arguments.stop_at_eos && stop.is_empty() {
        let what = "its config.json has no eos_token_id for --stop-at-eos";
        return Err(Error::content(&arguments.model.model, what));
    }
    let made = generate(&model, &prompt, arguments.max_new, stop)?;
    let text = tokenizer.as_ref().map(|tokenizer| tokenizer.decode(&made.ids, true)).transpose()?;
    if arguments.json {
        return print_json(&Answer { new_ids: made.ids, text, top: made.top });
    }
    match text {
        Some(text) => say!("{text}"),
        None => say!("{:?}", made.ids),
    }
    Ok(())
}
