//! What a folder or a file holds: a model, an expert, a checkpoint, a run.

mod gates;
mod runs;

pub use gates::{BlockGates, TextGates, branches, gates};
pub use runs::report;

use crate::data::Tokens;
use crate::model::{EXPERT_WEIGHTS, ExpertInfo, Gating, Halves, Trained, base_of, base_sha256, is_gguf, open};
use crate::train::{checkpoint_header, checkpoint_is_intact, checkpoints, count, is_run, read_run};
use crate::{Error, files};
use mode_tensor::{Device, SafeTensors};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What was found: facts in an order that reads well, and the tensors with their shapes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// `model`, `expert`, `checkpoint`, `run` or `tokens`.
    pub kind: &'static str,
    /// What there is to say, by name.
    pub facts: Vec<(&'static str, Value)>,
    /// Names and shapes.
    pub tensors: Vec<(String, Vec<usize>)>,
}

/// Looks at a folder or a file.
///
/// # Errors
/// Nothing that the program makes or reads, or something broken.
pub fn inspect(path: &Path) -> Result<Inspection, Error> {
    if path.is_file() {
        return match path.extension().and_then(|extension| extension.to_str()) {
            Some("tokens") => tokens(path),
            Some("safetensors") => checkpoint(path),
            _ if is_gguf(path) => model(path),
            _ => Err(Error::content(path, "is neither a folder, nor a .gguf file, a checkpoint or a file of tokens")),
        };
    }
    if !path.exists() {
        return Err(Error::content(path, "no such file or folder; check the path"));
    }
    let mut found = if path.join("expert.json").exists() {
        expert(path)?
    } else if ["mode.json", "adapter_config.json", "config.json"].iter().any(|file| path.join(file).exists()) {
        model(path)?
    } else if is_run(path) {
        Inspection { kind: "run", facts: Vec::new(), tensors: Vec::new() }
    } else {
        return Err(Error::content(path, "holds no model, no expert and no run"));
    };
    found.facts.extend(run(path)?);
    Ok(found)
}

fn model(folder: &Path) -> Result<Inspection, Error> {
    let model = open(folder, &Device::cpu())?;
    let config = &model.backbone.config;
    let base = base_of(folder, None)?;
    let halves = model.halve_frozen()?;
    model.set_trained(model.adapted());
    let (adapted, rest) = (count(&model, true), count(&model, false));
    let mut facts = vec![
        ("layers", json!(config.layers)),
        ("width", json!(config.width)),
        ("hidden", json!(config.hidden)),
        ("heads", json!(config.heads)),
        ("kv_heads", json!(config.kv_heads)),
        ("vocabulary", json!(config.vocabulary)),
        ("positions", json!(config.positions)),
        ("tied", json!(config.tied)),
        ("parameters", json!(adapted + rest)),
        ("bytes_as_f32", json!(4 * (adapted + rest))),
        ("base_sha256", json!(base_sha256(&base)?)),
    ];
    if halves != Halves::default() {
        facts.push(("bf16_that_f16_holds", json!(halves.converted)));
        facts.push(("bf16_that_stays", json!(halves.kept)));
    }
    if model.adapted() != Trained::Backbone {
        facts.push(("base", json!(base)));
        facts.push(("parameters_beside_the_base", json!(adapted)));
    }
    if !model.experts.is_empty() {
        facts.push(("blocks", json!(model.gates.len())));
        if model.gating() != Gating::default() {
            facts.push(("gating", json!(model.gating())));
        }
        let experts = model.experts.iter().map(|expert| {
            let count: usize = expert.params().map(|param| param.value().len()).sum();
            let info = &expert.info;
            json!({
                "name": info.name, "domain": info.domain, "layers_per_block": info.layers_per_block, "parameters": count
            })
        });
        facts.push(("experts", experts.collect()));
    }
    let tensors = model.params().map(|param| (param.name().to_string(), param.value().shape().to_vec()));
    Ok(Inspection { kind: "model", facts, tensors: tensors.collect() })
}

fn expert(folder: &Path) -> Result<Inspection, Error> {
    let info = ExpertInfo::read(folder)?;
    let file = folder.join(EXPERT_WEIGHTS);
    let tensors = shapes(&file)?;
    let count: usize = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let mut facts = vec![
        ("name", json!(info.name)),
        ("domain", json!(info.domain)),
        ("blocks", json!(info.blocks)),
        ("layers_per_block", json!(info.layers_per_block)),
        ("parameters", json!(count)),
        ("bytes", json!(size(&file)?)),
        ("sha256", json!(files::sha256(&file)?)),
        ("base_sha256", json!(info.base_sha256)),
    ];
    if !info.more.is_empty() {
        facts.push(("more", Value::Object(info.more)));
    }
    Ok(Inspection { kind: "expert", facts, tensors })
}

fn checkpoint(path: &Path) -> Result<Inspection, Error> {
    let header = checkpoint_header(path)?;
    let sha256 = files::sha256(path)?;
    let facts = vec![
        ("step", json!(header.step)),
        ("tokens_seen", json!(header.tokens_seen)),
        ("seconds", json!(header.seconds)),
        ("validation_loss", json!(header.validation_loss)),
        ("bytes", json!(size(path)?)),
        ("intact", json!(checkpoint_is_intact(path, &sha256))),
        ("sha256", json!(sha256)),
        ("frozen_sha256", json!(header.frozen_sha256)),
        ("data_sha256", json!(header.data_sha256)),
        ("recipe", header.recipe),
    ];
    Ok(Inspection { kind: "checkpoint", facts, tensors: shapes(path)? })
}

fn tokens(path: &Path) -> Result<Inspection, Error> {
    let tokens = Tokens::read(path)?;
    let facts = vec![
        ("name", json!(tokens.name)),
        ("tokens", json!(tokens.ids.len())),
        ("vocabulary", json!(tokens.vocab)),
        ("tokenizer_sha256", json!(files::hex(&tokens.tokenizer))),
        ("bytes", json!(size(path)?)),
        ("sha256", json!(files::sha256(path)?)),
    ];
    Ok(Inspection { kind: "tokens", facts, tensors: Vec::new() })
}

/// What a folder says of the run that made it, if one did.
fn run(folder: &Path) -> Result<Vec<(&'static str, Value)>, Error> {
    let mut facts = Vec::new();
    if !is_run(folder) {
        return Ok(facts);
    }
    let (recipe, record) = read_run(folder)?;
    facts.push(("method", json!(recipe.method)));
    facts.push(("seed", json!(recipe.seed)));
    if let Some(run) = record {
        facts.extend([
            ("trained", json!(format!("{}: {} of {}", run.trained, run.params_trained, run.params_total))),
            ("frozen_sha256", json!(run.frozen_after)),
            ("steps", json!(run.steps)),
            ("tokens_seen", json!(run.tokens_seen)),
            ("seconds", json!(run.seconds)),
            ("first_loss", json!(run.losses.first())),
            ("last_loss", json!(run.losses.last())),
        ]);
    } else {
        facts.push(("ended", json!(false)));
    }
    let files: Vec<PathBuf> = checkpoints(folder)?;
    if !files.is_empty() {
        facts.push(("checkpoints", json!(files)));
    }
    Ok(facts)
}

fn shapes(path: &Path) -> Result<Vec<(String, Vec<usize>)>, Error> {
    let tensors = SafeTensors::open(&[path.to_path_buf()])?;
    tensors.names().map(|name| Ok((name.to_string(), tensors.shape(name)?))).collect()
}

fn size(path: &Path) -> Result<u64, Error> {
    Ok(std::fs::metadata(path).map_err(Error::file(path))?.len())
}
