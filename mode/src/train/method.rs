//! Runs: what each method opens, trains and writes.

use super::fit::{Fit, fit};
use super::frozen;
use super::recipe::{ComposeSettings, GatesOr, Method, Recipe, kebab};
use crate::data::{Corpus, Mixture, Source, Split, Tokenizer, Tokens};
use crate::model::{
    Backbone, Config, Expert, ExpertInfo, Gate, Model, Random, Trained, add_lora, base_sha256, lora_save, open,
    open_with_experts, save_composed, save_expert,
};
use crate::{Error, files};
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
    if recipe.out.exists() && !force {
        // Says that it exists; long before anything is trained.
        files::create_folder(&recipe.out, force)?;
    }
    refuse_inputs(recipe)?;
    let mut random = Random::new(recipe.seed);
    let (model, trained) = prepare(recipe, device, &mut random)?;
    let tokenizer = match &recipe.model {
        Some(shape) if recipe.method == Method::Pretrain => Some(shape.tokenizer.clone()),
        _ => recipe.base.as_ref().map(|base| base.join("tokenizer.json")),
    };
    let data = RunData::read(recipe, tokenizer.as_deref())?;
    data.check(model.backbone.config.vocabulary)?;
    if recipe.train.length > model.backbone.config.positions {
        let most = model.backbone.config.positions;
        return Err(Error::Setting(format!(
            "train.length {} is over the model's {most} positions",
            recipe.train.length
        )));
    }
    model.set_trained(trained);
    files::create_folder(&recipe.out, true)?;
    let made = train(recipe, &model, data, progress).and_then(|finished| {
        save(recipe, &model, tokenizer.as_deref())?;
        recipe.write(&recipe.out.join("recipe.toml"))?;
        files::write_json(&recipe.out.join("run.json"), &finished)?;
        Ok(finished)
    });
    if made.is_err() {
        // Only an empty folder goes: whatever is in it stays.
        let _ = std::fs::remove_dir(&recipe.out);
    }
    made
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

fn train(recipe: &Recipe, model: &Model, data: RunData, progress: &mut Progress) -> Result<Finished, Error> {
    let (params_trained, frozen_count) = (frozen::count(model, true), frozen::count(model, false));
    let frozen_before = frozen::hash(model)?;
    let started = Instant::now();
    let fitted = if recipe.train.steps == 0 {
        Fit::default()
    } else {
        let mut mixture = Mixture::new(recipe.seed, recipe.train.length + 1, data.0)?;
        let steps = recipe.train.steps;
        fit(model, &recipe.train, &mut mixture, &mut |step, loss| progress(step, steps, loss))?
    };
    let seconds = started.elapsed().as_secs_f64();
    let frozen_after = frozen::hash(model)?;
    if frozen_before != frozen_after {
        return Err(Error::FrozenChanged(recipe.out.display().to_string()));
    }
    Ok(Finished {
        method: kebab(recipe.method),
        out: recipe.out.clone(),
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

fn setting<'a, T>(value: &'a Option<T>, what: &str) -> Result<&'a T, Error> {
    value.as_ref().ok_or_else(|| Error::Setting(format!("the recipe lacks {what}")))
}

/// The model to train, and what of it is trained.
fn prepare(recipe: &Recipe, device: &Device, random: &mut Random) -> Result<(Model, Trained), Error> {
    if recipe.method == Method::Pretrain {
        let shape = setting(&recipe.model, "[model]")?;
        let tokenizer = Tokenizer::open(&shape.tokenizer)?;
        let config = Config {
            vocabulary: tokenizer.vocab_size(),
            width: shape.width,
            hidden: shape.hidden,
            layers: shape.layers,
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_width: shape.width / shape.heads.max(1),
            positions: shape.positions,
            epsilon: 1e-5,
            theta: 10_000.0,
            tied: shape.tied,
            eos: tokenizer.end_token(),
        };
        return Ok((Model::plain(Backbone::random(config, device, random)?), Trained::Backbone));
    }
    let base = setting(&recipe.base, "base")?;
    match recipe.method {
        Method::Pretrain | Method::Full => Ok((plain(base, device)?, Trained::Backbone)),
        Method::Lora => {
            let lora = setting(&recipe.lora, "[lora]")?;
            let mut model = plain(base, device)?;
            add_lora(&mut model, lora.rank, lora.alpha, random)?;
            Ok((model, Trained::Lora))
        }
        Method::Expert => {
            let settings = setting(&recipe.expert, "[expert]")?;
            let backbone = plain(base, device)?.backbone;
            let hash = base_sha256(base)?;
            let (m, l) = (settings.blocks, settings.layers_per_block);
            let info = ExpertInfo::new(&settings.name, &settings.domain, &hash, m, l)?;
            let expert = Expert::new(&backbone, info, settings.init, random)?;
            let gate = |i| Gate::with_share(device, i, backbone.config.width, settings.share);
            let gates = (0..settings.blocks).map(gate).collect::<Result<_, _>>()?;
            Ok((Model { backbone, experts: vec![expert], gates }, Trained::Experts))
        }
        Method::Compose => {
            let ComposeSettings { experts, train, gates } = setting(&recipe.compose, "[compose]")?;
            if experts.is_empty() {
                return Err(Error::Setting("compose.experts is empty; name at least one expert folder".into()));
            }
            let trained = if *train == GatesOr::Gates { Trained::Gates } else { Trained::Experts };
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

fn save(recipe: &Recipe, model: &Model, tokenizer: Option<&Path>) -> Result<(), Error> {
    let out = &recipe.out;
    // With --force the folder may have held a model of another kind, whose file would be opened in place of this one's.
    for marker in ["mode.json", "adapter_config.json", "expert.json", "model.safetensors.index.json"] {
        let file = out.join(marker);
        if file.exists() {
            std::fs::remove_file(&file).map_err(Error::file(&file))?;
        }
    }
    match recipe.method {
        Method::Pretrain | Method::Full => {
            model.backbone.save(out)?;
            if let Some(from) = tokenizer.filter(|file| file.exists()) {
                let to = out.join("tokenizer.json");
                std::fs::copy(from, &to).map_err(Error::file(&to))?;
            }
            Ok(())
        }
        Method::Lora => {
            let lora = setting(&recipe.lora, "[lora]")?;
            let base = setting(&recipe.base, "base")?;
            let relative = relative(out, base)?;
            let text = relative.to_string_lossy().replace('\\', "/");
            lora_save(model, out, &text, &base_sha256(base)?, lora.rank, lora.alpha)
        }
        Method::Expert => {
            save_expert(&model.experts[0], out, &model.gates)?;
            files::write(&out.join("README.md"), card(recipe))
        }
        Method::Compose => {
            let base = setting(&recipe.base, "base")?;
            save_composed(model, out, relative(out, base)?, &base_sha256(base)?)
        }
    }
}

/// `to` as seen from the folder `from`, which exists.
fn relative(from: &Path, to: &Path) -> Result<PathBuf, Error> {
    let whole = |path: &Path| path.canonicalize().map_err(Error::file(path));
    let (from, to) = (whole(from)?, whole(to)?);
    Ok(pathdiff::diff_paths(&to, &from).unwrap_or(to))
}

/// An expert's model card.
fn card(recipe: &Recipe) -> String {
    let (name, domain, shape) = match &recipe.expert {
        Some(e) => {
            (e.name.as_str(), e.domain.as_str(), format!("{} blocks of {} layers", e.blocks, e.layers_per_block))
        }
        None => ("?", "?", String::new()),
    };
    let sources: Vec<String> = recipe.data.iter().map(|data| format!("- {}: {}", data.name, data.source)).collect();
    format!(
        "# Expert {name}\n\nA Modular Domain Expert (arXiv 2410.10181) for {domain}: {shape}, with the gates that were \
         trained beside it. It fits the base model whose hash is in `expert.json`.\n\nTrained for {} steps of {} windows \
         of {} tokens on\n\n{}\n\n`recipe.toml` makes it again; `mode compose` joins it with others.\n",
        recipe.train.steps,
        recipe.train.batch,
        recipe.train.length,
        sources.join("\n")
    )
}
