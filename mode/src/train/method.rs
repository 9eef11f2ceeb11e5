//! Runs: what each method opens, trains and writes.

use super::fit::{Fit, fit};
use super::frozen;
use super::recipe::{ComposeSettings, ExpertSettings, Recipe, Task, TrainSettings, Unfrozen, kebab};
use crate::data::{Corpus, Mixture, Source, Split, Tokenizer, Tokens};
use crate::model::{
    Backbone, Expert, ExpertInfo, Gate, Model, Random, Trained, add_lora, base_sha256, open, open_with_experts,
    save_adapter, save_composed, save_expert,
};
use crate::{Error, files, memory};
use mode_tensor::Device;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Hears of each step: number, of how many, loss.
pub type Progress<'a> = dyn FnMut(u64, u64, f32) + 'a;

/// A finished run; written as `run.json` into its folder.
#[derive(Debug, Clone, Serialize)]
pub struct Finished {
    /// The method's name.
    pub method: &'static str,
    /// The folder made.
    pub out: PathBuf,
    /// What was trained, in words.
    pub trained: String,
    /// What was not, in words; empty if there is nothing.
    pub frozen: String,
    /// Parameters of the whole model.
    pub params_total: u64,
    /// Parameters trained.
    pub params_trained: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens predicted.
    pub tokens_seen: u64,
    /// Time of the loop.
    pub seconds: f64,
    /// Greatest learning rate.
    pub learning_rate: f64,
    /// Hash of the frozen weights before.
    pub frozen_before: String,
    /// Hash of the frozen weights after.
    pub frozen_after: String,
    /// Loss before each step.
    pub losses: Vec<f32>,
}

/// The texts of a recipe as tokens.
pub struct RunData(Vec<(f64, Tokens)>);

impl RunData {
    /// Reads the recipe's sources; text is tokenized by the model's tokenizer, its training split alone.
    fn read(recipe: &Recipe, tokenizer: Option<&Path>) -> Result<Self, Error> {
        let mut all = Vec::new();
        for data in &recipe.data {
            let path = Path::new(&data.source);
            let tokens = if path.extension().is_some_and(|extension| extension == "tokens") {
                Tokens::read(path)?
            } else {
                let file = tokenizer.filter(|file| file.exists()).ok_or_else(|| {
                    Error::Setting(format!(
                        "data.source {}: the base model has no tokenizer.json for text",
                        data.source
                    ))
                })?;
                let corpus = Corpus::open(&data.name, &data.source.parse::<Source>()?)?;
                Tokens::encode(&data.name, &Tokenizer::open(file)?, corpus.texts(Split::Train))?
            };
            all.push((data.weight, tokens));
        }
        Ok(Self(all))
    }

    /// An error unless every token is in the vocabulary.
    fn check(&self, vocabulary: usize) -> Result<(), Error> {
        for (_, tokens) in &self.0 {
            if let Some(id) = tokens.ids.iter().find(|&&id| id as usize >= vocabulary) {
                let what = format!("{}: token {id} is out of range of the model's {vocabulary}", tokens.name);
                return Err(Error::Setting(what + "; use the tokenizer of the base model"));
            }
        }
        Ok(())
    }
}

/// Carries out a recipe on `device` and writes its folder.
///
/// # Errors
/// Bad input, before anything is written; a loss that is not finite.
pub fn run(recipe: &Recipe, device: &Device, force: bool, progress: &mut Progress) -> Result<Finished, Error> {
    let task = recipe.task().map_err(Error::Setting)?;
    files::refuse_existing(&recipe.out, force)?;
    refuse_inputs(recipe)?;
    let (model, trained) = prepare(recipe, &task, device)?;
    let tokenizer = match task {
        Task::Pretrain(shape) => shape.tokenizer.clone(),
        Task::Full { base } | Task::Lora { base, .. } | Task::Expert { base, .. } | Task::Compose { base, .. } => {
            base.join("tokenizer.json")
        }
    };
    let data = RunData::read(recipe, Some(&tokenizer))?;
    let config = &model.backbone.config;
    data.check(config.vocabulary)?;
    if recipe.train.length > config.positions {
        let (length, most) = (recipe.train.length, config.positions);
        return Err(Error::Setting(format!("train.length {length} is over the model's {most} positions")));
    }
    let mixture = match recipe.train.steps {
        0 => None,
        _ => Some(Mixture::new(recipe.seed, recipe.train.length + 1, data.0)?),
    };
    model.set_trained(trained);
    require_memory(&model, &recipe.train)?;
    let folders = files::create_folder(&recipe.out)?;
    let made = train(recipe, &model, trained, mixture, progress).and_then(|finished| {
        save(recipe, &task, &model, &tokenizer)?;
        recipe.write(&recipe.out.join("recipe.toml"))?;
        files::write_json(&recipe.out.join("run.json"), &finished)?;
        Ok(finished)
    });
    if made.is_err() {
        folders.remove_empty();
    }
    made
}

/// An error if gradients and moments, logits and their gradients alone are more than the memory that is free.
fn require_memory(model: &Model, train: &TrainSettings) -> Result<(), Error> {
    if train.steps == 0 {
        return Ok(());
    }
    let logits = (train.batch * train.length) as u64 * model.backbone.config.vocabulary as u64;
    let what = format!("training with {} windows of {} tokens a step", train.batch, train.length);
    memory::require(model.backbone.device(), 3 * frozen::count(model, true) + 2 * logits, &what)
}

/// An error if the folder to make is one that the recipe reads: not even `--force` may write over those.
fn refuse_inputs(recipe: &Recipe) -> Result<(), Error> {
    let Ok(out) = recipe.out.canonicalize() else { return Ok(()) };
    let tokenizer = recipe.model.as_ref().and_then(|shape| shape.tokenizer.parent());
    let experts = recipe.compose.iter().flat_map(|compose| compose.experts.iter().map(PathBuf::as_path));
    let inputs = recipe.base.as_deref().into_iter().chain(tokenizer).chain(experts);
    for input in inputs {
        if input.canonicalize().is_ok_and(|input| input == out) {
            return Err(Error::content(&recipe.out, "is read by this recipe; choose another out"));
        }
    }
    Ok(())
}

fn train(
    recipe: &Recipe,
    model: &Model,
    trained: Trained,
    mixture: Option<Mixture>,
    progress: &mut Progress,
) -> Result<Finished, Error> {
    let (params_trained, frozen_count) = (frozen::count(model, true), frozen::count(model, false));
    let frozen_before = frozen::hash(model)?;
    let started = Instant::now();
    let fitted = match mixture {
        None => Fit::default(),
        Some(mut mixture) => {
            let steps = recipe.train.steps;
            fit(model, &recipe.train, &mut mixture, &mut |step, loss| progress(step, steps, loss))?
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let frozen_after = frozen::hash(model)?;
    if frozen_before != frozen_after {
        return Err(Error::FrozenChanged(recipe.out.display().to_string()));
    }
    let (trained, frozen) = frozen::words(model, trained);
    Ok(Finished {
        method: kebab(recipe.method),
        out: recipe.out.clone(),
        trained,
        frozen,
        params_total: params_trained + frozen_count,
        params_trained,
        steps: recipe.train.steps,
        tokens_seen: fitted.tokens_seen,
        seconds,
        learning_rate: recipe.train.learning_rate,
        frozen_before,
        frozen_after,
        losses: fitted.losses,
    })
}

/// The model to train, and what of it is trained.
fn prepare(recipe: &Recipe, task: &Task, device: &Device) -> Result<(Model, Trained), Error> {
    let mut random = Random::new(recipe.seed);
    match *task {
        Task::Pretrain(shape) => {
            let tokenizer = Tokenizer::open(&shape.tokenizer)?;
            let config = shape.config(tokenizer.vocab_size(), tokenizer.end_token());
            config.check().map_err(Error::Setting)?;
            // Weights, gradients and two moments.
            memory::require(device, config.parameters().saturating_mul(4), "training the model")?;
            Ok((Model::plain(Backbone::random(config, device, &mut random)?), Trained::Backbone))
        }
        Task::Full { base } => Ok((plain(base, device)?, Trained::Backbone)),
        Task::Lora { base, lora } => {
            let mut model = plain(base, device)?;
            add_lora(&mut model.backbone, lora.rank, lora.alpha, &mut random)?;
            Ok((model, Trained::Lora))
        }
        Task::Expert { base, expert: settings } => {
            let backbone = plain(base, device)?.backbone;
            let hash = base_sha256(base)?;
            let (m, l) = (settings.blocks, settings.layers_per_block);
            let info = ExpertInfo::new(&settings.name, &settings.domain, &hash, m, l)?;
            let expert = Expert::new(&backbone, info, settings.init, &mut random)?;
            let gate = |i| Gate::with_share(device, i, backbone.config.width, settings.share);
            let gates = (0..settings.blocks).map(gate).collect::<Result<_, _>>()?;
            Ok((Model::with_experts(backbone, vec![expert], gates)?, Trained::Experts))
        }
        Task::Compose { base, compose: ComposeSettings { experts, train, gates } } => {
            let trained = if *train == Unfrozen::Gates { Trained::Gates } else { Trained::Experts };
            Ok((open_with_experts(base, experts, *gates, device)?, trained))
        }
    }
}

/// A base model, which must be plain: neither composed nor with a LoRA.
fn plain(base: &Path, device: &Device) -> Result<Model, Error> {
    let model = open(base, device)?;
    if model.experts.is_empty() && !model.has_lora() {
        return Ok(model);
    }
    Err(Error::content(base, "is no plain model; experts and LoRAs are trained beside a plain one"))
}

fn save(recipe: &Recipe, task: &Task, model: &Model, tokenizer: &Path) -> Result<(), Error> {
    let out = &recipe.out;
    // With --force the folder may have held a model of another kind, whose file would be opened in place of this one's.
    for marker in ["mode.json", "adapter_config.json", "expert.json", "model.safetensors.index.json"] {
        let file = out.join(marker);
        if file.exists() {
            std::fs::remove_file(&file).map_err(Error::file(&file))?;
        }
    }
    match *task {
        Task::Pretrain(_) | Task::Full { .. } => {
            model.backbone.save(out)?;
            if tokenizer.exists() {
                let to = out.join("tokenizer.json");
                std::fs::copy(tokenizer, &to).map_err(Error::file(&to))?;
            }
            Ok(())
        }
        Task::Lora { base, lora } => {
            let text = relative(out, base)?.to_string_lossy().replace('\\', "/");
            save_adapter(&model.backbone, out, &text, &base_sha256(base)?, lora.rank, lora.alpha)
        }
        Task::Expert { expert, .. } => {
            save_expert(&model.experts[0], out, &model.gates)?;
            files::write(&out.join("README.md"), card(recipe, expert))
        }
        Task::Compose { base, .. } => save_composed(model, out, relative(out, base)?, &base_sha256(base)?),
    }
}

/// `to` as seen from the folder `from`, which exists.
fn relative(from: &Path, to: &Path) -> Result<PathBuf, Error> {
    let whole = |path: &Path| path.canonicalize().map_err(Error::file(path));
    let (from, to) = (whole(from)?, whole(to)?);
    Ok(pathdiff::diff_paths(&to, &from).unwrap_or(to))
}

/// An expert's model card.
fn card(recipe: &Recipe, expert: &ExpertSettings) -> String {
    let sources: Vec<String> = recipe.data.iter().map(|data| format!("- {}: {}", data.name, data.source)).collect();
    format!(
        "# Expert {}\n\nA Modular Domain Expert (arXiv 2410.10181) for {}: {} blocks of {} layers, with the gates that were \
         trained beside it. It fits the base model whose hash is in `expert.json`.\n\nTrained for {} steps of {} windows \
         of {} tokens on\n\n{}\n\n`recipe.toml` makes it again; `mode compose` joins it with others.\n",
        expert.name,
        expert.domain,
        expert.blocks,
        expert.layers_per_block,
        recipe.train.steps,
        recipe.train.batch,
        recipe.train.length,
        sources.join("\n")
    )
}
