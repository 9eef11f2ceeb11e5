//! `mode eval`.

use super::data::is_tokens;
use super::peers::Calls;
use super::{DeviceArguments, print_json};
use crate::data::{Tokenizer, Tokens};
use crate::model::{Held, Model, base_of, open_held, open_on_held, open_tokenizer, tokenizer_file};
use crate::train::{Evaluation, evaluate, gate_rule, same_tokenizer};
use crate::{Error, files};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Windows that `--text` is cut into are no longer than this.
const WINDOW: usize = 1_024;

/// Loss and accuracy on text or tokens.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A JSON file of token ids, a list or a list of lists; or a file of tokens, as `mode data prepare` makes it
    #[arg(long, conflicts_with = "text", required_unless_present = "text")]
    ids: Option<PathBuf>,
    /// A text file, for the model's tokenizer
    #[arg(long)]
    text: Option<PathBuf>,
    /// Take no more than so many tokens, of a text or a file of tokens
    #[arg(long)]
    limit: Option<usize>,
    /// Also the norm of each parameter's gradient
    #[arg(long)]
    grad_norms: bool,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Which model.
#[derive(clap::Args)]
pub(crate) struct ModelArguments {
    /// Folder of a model: plain, composed or with a LoRA; or a .gguf file
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// Folder of the base model of a composed model or a LoRA, in place of the one that it names
    #[arg(long, conflicts_with = "expert")]
    base: Option<PathBuf>,
    /// Expert folder to put beside a plain model; several are composed, untrained
    #[arg(long)]
    expert: Vec<PathBuf>,
    /// An expert that stays out, by name; the others share its weight. Several times for several
    #[arg(long)]
    without: Vec<String>,
    #[command(flatten)]
    calls: Calls,
}

impl ModelArguments {
    /// Opens the model on the device.
    pub(crate) fn open(&self, device: &mode_tensor::Device) -> Result<Model, Error> {
        let called = self.calls.names()?;
        let here = |name: &str| !called.iter().chain(&self.without).any(|other| other == name);
        let held = Held { backbone: true, expert: &here };
        let mut model = match self.expert.as_slice() {
            [] => open_on_held(&self.model, self.base.as_deref(), device, held)?,
            experts => open_held(&self.model, experts, gate_rule(), device, held)?,
        };
        if !self.without.is_empty() {
            let rest = model.without(&self.without)?;
            model = model.keep(rest);
        }
        self.reach(&mut model)?;
        Ok(model)
    }

    #[cfg(feature = "net")]
    fn reach(&self, model: &mut Model) -> Result<(), Error> {
        super::remote::reach(model, &self.calls)
    }

    #[cfg(not(feature = "net"))]
    fn reach(&self, _: &mut Model) -> Result<(), Error> {
        Ok(())
    }

    /// A file of tokens, which the model's own tokenizer must have made.
    fn tokens(&self, file: &Path) -> Result<Tokens, Error> {
        let tokens = Tokens::read(file)?;
        if let Some(tokenizer) = self.tokenizer_file()? {
            same_tokenizer(&tokens, file, &tokenizer)?;
        }
        Ok(tokens)
    }

    /// The file of the tokenizer beside the model or its base, or in it, if there is one.
    pub(crate) fn tokenizer_file(&self) -> Result<Option<PathBuf>, Error> {
        tokenizer_file_of(&self.model, self.base.as_deref())
    }

    /// The tokenizer beside the model or its base, if there is one.
    pub(crate) fn tokenizer(&self) -> Result<Option<Tokenizer>, Error> {
        tokenizer_of(&self.model, self.base.as_deref())
    }
}

/// The tokenizer beside a model or its base, or in it, if there is one.
pub(crate) fn tokenizer_of(model: &Path, base: Option<&Path>) -> Result<Option<Tokenizer>, Error> {
    tokenizer_file_of(model, base)?.map(|file| open_tokenizer(&file)).transpose()
}

/// Its file.
fn tokenizer_file_of(model: &Path, base: Option<&Path>) -> Result<Option<PathBuf>, Error> {
    let files = [model, &base_of(model, base)?].map(tokenizer_file);
    Ok(files.into_iter().find(|file| file.exists()))
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let device = arguments.device.open()?;
    let tokens = match (&arguments.ids, &arguments.text) {
        (Some(file), _) if is_tokens(file) => Some(arguments.model.tokens(file)?.ids),
        (Some(_), _) => None,
        (None, Some(file)) => Some(text_ids(&arguments.model, file)?),
        (None, None) => return Err(Error::Setting("give --ids FILE or --text FILE".into())),
    };
    let windows = match (&tokens, &arguments.ids) {
        (None, Some(file)) => read_windows(file)?,
        _ => Vec::new(),
    };
    let model = arguments.model.open(&device)?;
    let windows: Vec<Vec<u32>> = match tokens {
        Some(mut tokens) => {
            tokens.truncate(arguments.limit.unwrap_or(usize::MAX));
            let cut = tokens.chunks(model.positions().min(WINDOW));
            // The last window may hold one token, which predicts nothing.
            cut.filter(|window| window.len() > 1).map(<[u32]>::to_vec).collect()
        }
        None if arguments.limit.is_some() => {
            return Err(Error::Setting(
                "--limit cuts a text or a file of tokens; the windows of --ids are whole".into(),
            ));
        }
        None => {
            windows.iter().try_for_each(|window| model.fits(window.len()))?;
            windows
        }
    };
    let evaluation = evaluate(&model, &windows, arguments.grad_norms)?;
    if arguments.json { print_json(&evaluation) } else { print(&evaluation) }
}

fn print(evaluation: &Evaluation) -> Result<(), Error> {
    say!("loss      {:.6} nats a token", evaluation.mean_nll);
    say!("accuracy  {:.2} % of next tokens", 100.0 * evaluation.next_token_accuracy);
    say!("tokens    {}", evaluation.tokens);
    for (i, block) in evaluation.gate_means.iter().enumerate() {
        let weights: Vec<String> = block.iter().map(|weight| format!("{weight:.4}")).collect();
        say!("gate {i}    {}", weights.join(" "));
    }
    for (name, norm) in evaluation.grad_l2.iter().flatten() {
        say!("gradient  {norm:.6e}  {name}");
    }
    Ok(())
}

fn text_ids(model: &ModelArguments, file: &Path) -> Result<Vec<u32>, Error> {
    let text = files::read_text(file)?;
    let missing = || Error::content(&model.model, "has no tokenizer.json for --text; use --ids");
    let tokenizer = model.tokenizer()?.ok_or_else(missing)?;
    Ok(tokenizer.encode(&text, true)?)
}

/// Token ids of a JSON file: a list of ids, or a list of lists.
pub(crate) fn read_windows(path: &Path) -> Result<Vec<Vec<u32>>, Error> {
    let value: Value = files::read_json(path)?;
    let fail = |what: &str| Error::content(path, format!("{what}; it holds a list of ids, or a list of such lists"));
    let list = value.as_array().ok_or_else(|| fail("is no list"))?;
    let id = |value: &Value| -> Result<u32, Error> {
        value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| fail(&format!("{value} is no token id")))
    };
    if list.is_empty() {
        return Err(fail("is empty"));
    }
    if list.iter().all(Value::is_array) {
        let window = |list: &Value| list.as_array().into_iter().flatten().map(id).collect::<Result<Vec<_>, _>>();
        return list.iter().map(window).collect();
    }
    if list.iter().any(Value::is_array) {
        return Err(fail("mixes ids and lists"));
    }
    Ok(vec![list.iter().map(id).collect::<Result<_, _>>()?])
}
