//! `mode generate`.

mod prompts;
mod voice;

use super::eval::ModelArguments;
use super::{DeviceArguments, print_json};
use crate::Error;
use crate::data::Tokenizer;
use crate::generate::{Batch, Request, Sampling, Settings, generate_batch};
use crate::model::{ExpertSet, Model, open_tokenizer};
use prompts::{Prompt, one, read_prompts};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;
use voice::Voice;

/// Continuations of prompts.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A text, for the model's tokenizer
    #[arg(long, conflicts_with_all = ["ids", "prompts"], required_unless_present_any = ["ids", "prompts"])]
    prompt: Option<String>,
    /// A JSON file of token ids
    #[arg(long, conflicts_with = "prompts")]
    ids: Option<PathBuf>,
    /// A file of prompts, a JSON object a line: {"prompt": TEXT} or {"ids": [..]}, and which experts answer: {"experts": [NAMES]}
    #[arg(long)]
    prompts: Option<PathBuf>,
    /// Prompts of a file that are answered at once
    #[arg(long, default_value_t = 16, requires = "prompts")]
    batch: usize,
    /// New tokens
    #[arg(long, default_value_t = 32)]
    max_new: usize,
    /// 0 takes the likeliest token; above, tokens are drawn, the more evenly the higher
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f64,
    /// Draw from the likeliest tokens that together have this probability
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f64,
    /// Draw from so many of the likeliest tokens
    #[arg(long)]
    top_k: Option<usize>,
    /// The same seed draws the same tokens; prompt number n of a file, from 0, draws with the seed plus n
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A text that ends the answer, which is cut before it; several times for several
    #[arg(long)]
    stop: Vec<String>,
    /// End at an end token, the model's or that of documents in training; else an answer has --max-new tokens
    #[arg(long)]
    stop_at_eos: bool,
    /// Print the text as it comes
    #[arg(long, conflicts_with_all = ["json", "prompts"])]
    stream: bool,
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

/// Seconds, and new tokens a second after the first ones.
#[derive(Serialize)]
struct Timing {
    load_seconds: f64,
    prompt_seconds: f64,
    new_seconds: f64,
    tokens_per_second: Option<f64>,
}

#[derive(Serialize)]
struct One {
    #[serde(flatten)]
    answer: Answer,
    #[serde(flatten)]
    timing: Timing,
}

#[derive(Serialize)]
struct Many {
    answers: Vec<Answer>,
    #[serde(flatten)]
    timing: Timing,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let settings = arguments.settings()?;
    let prompts = match (&arguments.prompts, &arguments.ids, &arguments.prompt) {
        (Some(file), _, _) => read_prompts(file)?,
        (_, Some(file), _) => vec![one(file)?],
        (_, _, text) => vec![Prompt::text(text.clone().unwrap_or_default())],
    };
    let needed = prompts.iter().any(Prompt::is_text) || !arguments.stop.is_empty();
    let missing = || Error::content(&arguments.model.model, "has no tokenizer.json for texts; give token ids");
    let tokenizer = match arguments.model.tokenizer_file()?.map(|file| open_tokenizer(&file)).transpose() {
        Ok(None) if needed => return Err(missing()),
        Ok(tokenizer) => tokenizer,
        Err(error) if needed => return Err(error),
        // Ids need no tokenizer; without one the answer has no text.
        Err(error) => {
            tell!("no text will be shown: {error}");
            None
        }
    };
    let device = arguments.device.open()?;
    let start = Instant::now();
    let model = arguments.model.open(&device)?;
    let load_seconds = start.elapsed().as_secs_f64();
    let settings = arguments.with_ends(settings, &model, tokenizer.as_ref())?;
    let file = arguments.prompts.as_deref();
    let (sets, numbers) = expert_sets(&model, &prompts, file)?;
    let request = |(prompt, set): (&Prompt, usize)| {
        let request = prompt.ids(tokenizer.as_ref(), missing).map(|prompt| Request { prompt, set });
        let checked = request.and_then(|request| {
            request.check(&model, &settings)?;
            Ok(request)
        });
        checked.map_err(|error| prompt.place(file, error))
    };
    let requests = prompts.iter().zip(numbers).map(request).collect::<Result<Vec<_>, _>>()?;
    let voice = |_| Voice::new(tokenizer.as_ref(), &arguments.stop, arguments.stream);
    let mut voices: Vec<Voice> = requests.iter().map(voice).collect();
    let mut failed = None;
    let batch = generate_batch(&model, &sets, &requests, &settings, &mut |number, id| {
        voices[number].hear(id).unwrap_or_else(|error| {
            failed = Some(error);
            false
        })
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let texts = voices.iter_mut().map(Voice::finish).collect::<Result<Vec<_>, _>>()?;
    arguments.print(batch, texts, load_seconds)
}

impl Arguments {
    fn settings(&self) -> Result<Settings, Error> {
        let drawn = self.top_k.is_some() || self.top_p != 1.0;
        if self.temperature == 0.0 && drawn {
            let what = "--top-k and --top-p draw at random, and a temperature of 0 doesn't; give --temperature 1";
            return Err(Error::Setting(what.into()));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(Error::Setting("--stop is empty; give a text".into()));
        }
        let (temperature, top_k, top_p, seed) = (self.temperature, self.top_k, self.top_p, self.seed);
        let sampling =
            if temperature == 0.0 { Sampling::Greedy } else { Sampling::Random { temperature, top_k, top_p, seed } };
        if self.batch == 0 {
            return Err(Error::Setting("--batch is 0; give 1 or more".into()));
        }
        Ok(Settings { count: self.max_new, sampling, stop: Vec::new(), at_once: self.batch })
    }

    /// The settings with the tokens that end an answer: those that the model names, and the one that documents end with in
    /// training, which may be another.
    fn with_ends(&self, settings: Settings, model: &Model, tokenizer: Option<&Tokenizer>) -> Result<Settings, Error> {
        if !self.stop_at_eos {
            return Ok(settings);
        }
        let stop: Vec<u32> =
            model.backbone.config.eos.iter().copied().chain(tokenizer.and_then(Tokenizer::end_token)).collect();
        if stop.is_empty() {
            let what = "its config.json has no eos_token_id for --stop-at-eos";
            return Err(Error::content(&self.model.model, what));
        }
        Ok(Settings { stop, ..settings })
    }

    fn print(&self, batch: Batch, texts: Vec<Option<String>>, load_seconds: f64) -> Result<(), Error> {
        let later: usize = batch.answers.iter().map(|answer| answer.ids.len().saturating_sub(1)).sum();
        let timing = Timing {
            load_seconds,
            prompt_seconds: batch.prompt_seconds,
            new_seconds: batch.new_seconds,
            tokens_per_second: (later > 0).then(|| later as f64 / batch.new_seconds),
        };
        let answers = batch.answers.into_iter().zip(texts);
        let mut answers: Vec<Answer> =
            answers.map(|(made, text)| Answer { new_ids: made.ids, text, top: made.top }).collect();
        if self.json {
            return match self.prompts {
                Some(_) => print_json(&Many { answers, timing }),
                None => print_json(&One { answer: answers.remove(0), timing }),
            };
        }
        if self.stream {
            say!("");
            return Ok(());
        }
        let several = answers.len() > 1;
        for (i, Answer { text, new_ids, .. }) in answers.into_iter().enumerate() {
            if several {
                say!("[{}]", i + 1);
            }
            match text {
                Some(text) => say!("{text}"),
                None => say!("{new_ids:?}"),
            }
        }
        Ok(())
    }
}

/// The sets of experts that the prompts ask for, each once, and each prompt's number among them.
fn expert_sets(model: &Model, prompts: &[Prompt], file: Option<&Path>) -> Result<(Vec<ExpertSet>, Vec<usize>), Error> {
    let mut known: Vec<&Option<Vec<String>>> = Vec::new();
    let (mut sets, mut numbers) = (Vec::new(), Vec::new());
    for prompt in prompts {
        let number = known.iter().position(|names| *names == &prompt.experts).unwrap_or(known.len());
        if number == known.len() {
            known.push(&prompt.experts);
            let set = match &prompt.experts {
                None => model.without(&[]),
                Some(names) => model.only(names),
            };
            sets.push(set.map_err(|error| prompt.place(file, error))?);
        }
        numbers.push(number);
    }
    Ok((sets, numbers))
}
