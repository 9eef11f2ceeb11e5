//! What each method opens before a run, and writes after it.

use super::recipe::{Recipe, Task};
use super::settings::{ComposeSettings, ExpertSettings, Unfrozen};
use crate::data::Tokenizer;
use crate::model::{
    BASE_CONFIG, Backbone, Config, Expert, ExpertInfo, ExpertInit, Gate, Held, Model, PRIVATE, Random, Trained,
    add_bottlenecks, add_lora, base_sha256, is_gguf, open, open_held, open_tokenizer, save_adapter, save_bottlenecks,
    save_composed, save_expert, tokenizer_file,
};
use crate::{Error, files, folders, memory};
use mode_tensor::Device;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The model to train, of which some is held here, and what of it is trained.
pub(super) fn prepare(recipe: &Recipe, task: &Task, device: &Device, held: Held) -> Result<(Model, Trained), Error> {
    let mut random = Random::new(recipe.seed);
    match *task {
        Task::Pretrain(shape) => {
            let tokenizer = Tokenizer::open(&shape.tokenizer)?;
            let config = shape.config(tokenizer.vocab_size(), tokenizer.end_token());
            config.check().map_err(Error::Setting)?;
            // Weights, those in the optimizer's memory, gradients and two moments.
            memory::require(device, config.parameters().saturating_mul(5), "training the model")?;
            Ok((Model::plain(Backbone::random(config, device, &mut random)?), Trained::Backbone))
        }
        Task::Full { base } => Ok((plain(base, device)?, Trained::Backbone)),
        Task::Lora { base, lora } => {
            let mut model = plain(base, device)?;
            add_lora(&mut model.backbone, lora.rank, lora.alpha, lora.adapted, &mut random)?;
            Ok((model, Trained::Adapter))
        }
        Task::Bottleneck { base, size } => {
            let mut model = plain(base, device)?;
            add_bottlenecks(&mut model.backbone, size, &mut random)?;
            Ok((model, Trained::Adapter))
        }
        Task::Expert { base, expert: settings } => {
            let own = (held.expert)(&settings.name);
            // A copy is of the backbone's weights.
            let copies = own && settings.init == ExpertInit::Copy;
            let backbone = Held { backbone: held.backbone || copies, ..held }.backbone_on(device);
            let backbone = plain(base, &backbone)?.backbone;
            let hash = base_sha256(base)?;
            let (m, l) = (settings.blocks, settings.layers_per_block);
            let mut info = ExpertInfo::new(&settings.name, &settings.domain, &hash, m, l)?;
            info.more = provenance(recipe, &backbone.config);
            if settings.private {
                info.more.insert(PRIVATE.into(), true.into());
            }
            let expert = match own {
                true => Expert::on(device, &backbone, info, settings.init, &mut random)?,
                false => Expert::remote(&backbone.config, info, "")?,
            };
            let gate = |i| Gate::with_share(device, i, backbone.config.width, settings.share);
            let gates = (0..settings.blocks).map(gate).collect::<Result<_, _>>()?;
            Ok((Model::with_experts(backbone, vec![expert], gates)?, Trained::Experts))
        }
        Task::Compose { base, compose: ComposeSettings { experts, train, gates, gating } } => {
            let mut model = open_held(base, experts, *gates, device, held)?;
            if !gating.is_default() {
                model.set_gating(*gating, &mut random)?;
            }
            Ok((model, train.trained()))
        }
    }
}

/// What an expert's file says of how it came to be, beside the recipe that lies next to it.
fn provenance(recipe: &Recipe, config: &Config) -> Map<String, Value> {
    let sources = recipe.data.iter().map(|data| json!({"name": data.name, "weight": data.weight}));
    let made = json!({
        "program": concat!("mode ", env!("CARGO_PKG_VERSION")),
        "seed": recipe.seed,
        "steps": recipe.train.steps,
        "tokens_a_step": recipe.train.batch * recipe.train.length,
        "learning_rate": recipe.train.learning_rate,
        "data": sources.collect::<Vec<_>>(),
    });
    Map::from_iter([(BASE_CONFIG.into(), config.maths()), ("provenance".into(), made)])
}

/// A base model, which must be plain: neither composed nor with an adapter.
pub(crate) fn plain(base: &Path, device: &Device) -> Result<Model, Error> {
    let model = open(base, device)?;
    if model.experts.is_empty() && !model.has_adapter() {
        return Ok(model);
    }
    Err(Error::content(base, "is no plain model; experts and adapters are trained beside a plain one"))
}

/// Files that tell what kind of model a folder holds.
pub(super) const MARKERS: [&str; 6] = [
    "mode.json",
    "adapter_config.json",
    "bottleneck.json",
    "expert.json",
    "model.safetensors.index.json",
    "tokenizer.json",
];

/// Where a composed model whose backbone was trained with it keeps that, in its own folder.
const OWN_BASE: &str = "base";

/// Writes what the method makes into the run's folder.
pub(super) fn save(recipe: &Recipe, task: &Task, model: &Model) -> Result<(), Error> {
    let out = &recipe.out;
    // With --force the folder may have held a model of another kind, whose file would be opened in place of this one's.
    for marker in MARKERS {
        let file = out.join(marker);
        if file.exists() {
            std::fs::remove_file(&file).map_err(Error::file(&file))?;
        }
    }
    match *task {
        Task::Pretrain(_) | Task::Full { .. } => {
            model.backbone.save(out)?;
            let tokenizer = task.tokenizer();
            match task {
                Task::Full { base } => carry_beside(base, out),
                _ if tokenizer.exists() => carry(&tokenizer, &out.join("tokenizer.json")),
                _ => Ok(()),
            }
        }
        Task::Lora { base, lora } => {
            let text = relative(out, base)?.to_string_lossy().replace('\\', "/");
            save_adapter(&model.backbone, out, (&text, &base_sha256(base)?), (lora.rank, lora.alpha, lora.adapted))
        }
        Task::Bottleneck { base, size } => {
            let text = relative(out, base)?.to_string_lossy().replace('\\', "/");
            save_bottlenecks(&model.backbone, out, (&text, &base_sha256(base)?), size)
        }
        Task::Expert { base, expert } => {
            save_expert(&model.experts[0], out, &model.gates)?;
            files::write(&out.join("README.md"), card(recipe, base, expert))
        }
        Task::Compose { base, compose } if compose.train == Unfrozen::Everything => {
            let own = out.join(OWN_BASE);
            folders::create(&own)?;
            model.backbone.save(&own)?;
            carry_beside(base, &own)?;
            save_composed(model, out, OWN_BASE.into(), &base_sha256(&own)?)
        }
        Task::Compose { base, .. } => save_composed(model, out, relative(out, base)?, &base_sha256(base)?),
    }
}

/// Copies what programs read beside a model's weights.
pub(super) fn carry_beside(from: &Path, to: &Path) -> Result<(), Error> {
    let tokenizer = tokenizer_file(from);
    if is_gguf(&tokenizer) {
        // One that isn't read was not needed either.
        let Ok(tokenizer) = open_tokenizer(&tokenizer) else { return Ok(()) };
        return files::write(&to.join("tokenizer.json"), tokenizer.to_json()?);
    }
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
        let file = tokenizer.with_file_name(name);
        if file.exists() {
            carry(&file, &to.join(name))?;
        }
    }
    Ok(())
}

/// Copies a file as it is.
fn carry(from: &Path, to: &Path) -> Result<(), Error> {
    files::write(to, std::fs::read(from).map_err(Error::file(from))?)
}

/// `to` as seen from the folder `from`, which exists.
fn relative(from: &Path, to: &Path) -> Result<PathBuf, Error> {
    let whole = |path: &Path| path.canonicalize().map_err(Error::file(path));
    let (from, to) = (whole(from)?, whole(to)?);
    Ok(pathdiff::diff_paths(&to, &from).unwrap_or(to))
}

/// An expert's model card, with the header that model hubs read.
fn card(recipe: &Recipe, base: &Path, expert: &ExpertSettings) -> String {
    let sources: Vec<String> = recipe.data.iter().map(|data| format!("- {}: {}", data.name, data.source)).collect();
    let base = base.file_name().map_or_else(|| "base".into(), |name| name.to_string_lossy());
    let ExpertSettings { name, domain, blocks, layers_per_block, .. } = expert;
    let (steps, batch, length) = (recipe.train.steps, recipe.train.batch, recipe.train.length);
    let private = match expert.private {
        true => "It is private: its layers are with its owner, who lets others use them by `mode expert serve`.\n\n",
        false => "",
    };
    let sources = sources.join("\n");
    format!(
        "---\nlibrary_name: mode\nbase_model: {base}\ntags: [modular-domain-expert, {domain}]\n---\n\n# Expert {name}\n\n\
         A Modular Domain Expert (arXiv 2410.10181) for {domain}: {blocks} blocks of {layers_per_block} layers, with the gates \
         that were trained beside it. It fits the base model whose hash is in `expert.json`.\n\n    mode generate --model \
         BASE --expert {name} --prompt TEXT\n\n{private}Trained for {steps} steps of {batch} windows of {length} tokens on\n\n\
         {sources}\n\n`recipe.toml` makes it again; `mode compose` joins it with others.\n"
    )
}
