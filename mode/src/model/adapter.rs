//! LoRAs on the projections of a whole model, the attention's as a rule, and on its embedding, written as PEFT writes them (`adapter_config.json`,
//! `adapter_model.safetensors`), with the base model's hash added.

use super::backbone::Backbone;
use super::family::Family;
use super::init::{Random, Start};
use super::layer::Layer;
use super::lora::Lora;
use super::weights::{self, Maker, Weights};
use crate::{Error, files, memory};
use mode_autograd::Param;
use mode_tensor::{Device, SafeTensors};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

pub(crate) const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// PEFT's names of an embedding's factors.
pub(crate) const EMBEDDING_A: &str = "lora_embedding_A";
const EMBEDDING_B: &str = "lora_embedding_B";
/// What PEFT puts before the model's own names.
const PREFIX: &str = "base_model.model.";

/// `adapter_config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraInfo {
    /// Always "LORA".
    pub peft_type: String,
    /// Path of the base model, relative to the adapter's folder; an adapter of PEFT's own may have none.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// Hash of the base model's weights; an adapter of PEFT's own has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_sha256: Option<String>,
    /// Rank of the factors.
    pub r: usize,
    /// Factor of the product, times the rank.
    pub lora_alpha: f64,
    /// The matrices adapted.
    #[serde(deserialize_with = "names")]
    pub target_modules: Vec<String>,
    /// Always "CAUSAL_LM".
    #[serde(default)]
    pub task_type: Option<String>,
    /// PEFT's other settings, which must be unset where they would change what is computed.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A list of names; PEFT takes a pattern as well.
fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Targets {
        Names(Vec<String>),
        Pattern(String),
        Other(Value),
    }
    let advice = "list the names of the projections that the adapter's file has";
    match Targets::deserialize(from)? {
        Targets::Names(names) => Ok(names),
        Targets::Pattern(text) => Err(D::Error::custom(format!("the pattern \"{text}\" is not supported; {advice}"))),
        Targets::Other(other) => Err(D::Error::custom(format!("{other} is no list of names; {advice}"))),
    }
}

/// What a LoRA stands beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adapted {
    /// The attention's projections.
    #[default]
    Attention,
    /// These and the feed-forward's.
    FeedForward,
    /// These and the embedding, as far as tokens are looked up in it.
    Embedding,
}

impl Adapted {
    /// Recipes of before there was another say nothing of it.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// As PEFT names its targets.
    fn targets(self, family: &Family) -> Vec<String> {
        let names = &family.names;
        let mut all: Vec<&str> = names.inputs.iter().chain([&names.output]).copied().collect();
        if self != Self::Attention {
            all.extend([names.gate, names.up, names.down].into_iter().filter(|name| !name.is_empty()));
        }
        if self == Self::Embedding {
            all.push(names.embedding);
        }
        let last = |name: &str| name.trim_end_matches(".weight").rsplit('.').next().unwrap_or_default().to_string();
        all.into_iter().map(last).collect()
    }
}

/// Puts fresh factors of `rank` beside what is `adapted` of `backbone`.
///
/// # Errors
/// A rank of zero, or what the device reports.
pub fn add_lora(
    backbone: &mut Backbone,
    rank: usize,
    alpha: f64,
    adapted: Adapted,
    random: &mut Random,
) -> Result<(), Error> {
    if rank == 0 {
        return Err(Error::Setting("lora.rank is 0; 8 is usual".into()));
    }
    let targets = adapted.targets(backbone.config.family);
    let meant = backbone.layers.iter().flat_map(Layer::projections).filter(|p| is_target(module(&p.weight), &targets));
    let weights = meant.map(|projection| &projection.weight).chain(embedding_of(backbone, &targets));
    let widths: usize = weights.flat_map(|weight| weight.value().shape().to_vec()).sum();
    let numbers = (widths as u64).saturating_mul(rank as u64);
    memory::require(backbone.device(), numbers, &format!("a LoRA of rank {rank}"))?;
    let device = backbone.device().clone();
    attach(backbone, &device, rank, alpha, &targets, Weights::Random(random))
}

/// The embedding, if the targets mean it.
fn embedding_of<'a>(backbone: &'a Backbone, targets: &[String]) -> Option<&'a Param> {
    Some(&backbone.embedding).filter(|embedding| is_target(module(embedding), targets))
}

/// The module that a matrix is of, in PEFT's words.
fn module(weight: &Param) -> &str {
    let name = weight.name();
    name.strip_suffix(".weight").unwrap_or(name)
}

/// True if one of PEFT's targets means a module: it is its name, or the end of it.
fn is_target(module: &str, targets: &[String]) -> bool {
    let meant =
        |target: &String| module.strip_suffix(target.as_str()).is_some_and(|at| at.is_empty() || at.ends_with('.'));
    targets.iter().any(meant)
}

/// Puts factors on `device` beside the projections that the targets mean, in place of those that are there.
fn attach(
    backbone: &mut Backbone,
    device: &Device,
    rank: usize,
    alpha: f64,
    targets: &[String],
    weights: Weights,
) -> Result<(), Error> {
    let mut maker = Maker { device, weights };
    let factor = (alpha / rank as f64) as f32;
    if let Some(embedding) = embedding_of(backbone, targets) {
        let (at, shape) = (module(embedding).to_string(), embedding.value().shape().to_vec());
        let a = maker.param(&format!("{at}.{EMBEDDING_A}"), &[shape[0], rank], Start::Constant(0.0))?;
        let b = maker.param(&format!("{at}.{EMBEDDING_B}"), &[shape[1], rank], Start::Normal(1.0))?;
        backbone.embedding_lora = Some(Lora { a, b, factor });
    }
    let projections = backbone.layers.iter_mut().flat_map(Layer::projections_mut);
    for projection in projections.filter(|projection| is_target(module(&projection.weight), targets)) {
        let (at, shape) = (module(&projection.weight).to_string(), projection.weight.value().shape().to_vec());
        let start = Start::Normal((shape[1] as f64).powf(-0.5));
        let a = maker.param(&format!("{at}.lora_A.weight"), &[rank, shape[1]], start)?;
        let b = maker.param(&format!("{at}.lora_B.weight"), &[shape[0], rank], Start::Constant(0.0))?;
        projection.lora = Some(Lora { a, b, factor });
    }
    Ok(())
}

/// Settings of PEFT that change nothing of what a finished adapter computes. Any other that is set is refused.
const HARMLESS: [&str; 16] = [
    "auto_mapping",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "loftq_config",
    "lora_dropout",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];

/// Reads `adapter_config.json`.
pub(crate) fn read_info(folder: &Path) -> Result<LoraInfo, Error> {
    let path = folder.join(CONFIG);
    let info: LoraInfo = files::read_json(&path)?;
    let refuse = |what: String| Err(Error::content(&path, what));
    if info.peft_type != "LORA" {
        return refuse(format!("peft_type {} is not supported; LORA is", info.peft_type));
    }
    if info.target_modules.is_empty() {
        return refuse("target_modules is empty; name the projections that the adapter stands beside".into());
    }
    if !(info.r > 0 && info.lora_alpha.is_finite() && info.lora_alpha > 0.0) {
        return refuse(format!("r is {} and lora_alpha {}; both are positive numbers", info.r, info.lora_alpha));
    }
    // These change the base model's own weights, beside which the adapter is to stand.
    let init = info.more.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
    if ["pissa", "olora", "corda", "loftq", "lora_ga"].iter().any(|kind| init.starts_with(kind)) {
        return refuse(format!("init_lora_weights is {init}; convert the adapter to a plain LoRA first"));
    }
    let unset = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let strange = |(key, value): &(&String, &Value)| !HARMLESS.contains(&key.as_str()) && !unset(value);
    if let Some((key, _)) = info.more.iter().find(strange) {
        return refuse(format!("{key} is set and not supported; plain LoRA of one rank in all layers is"));
    }
    if info.more.get("bias").is_some_and(|bias| bias != "none" && !bias.is_null()) {
        return refuse("bias is not \"none\", and trained biases are not supported".into());
    }
    Ok(info)
}

/// Puts the factors of an adapter's folder beside the projections of its base model.
pub(crate) fn load(backbone: &mut Backbone, folder: &Path, info: &LoraInfo) -> Result<(), Error> {
    let config = folder.join(CONFIG);
    let projections = backbone.layers.iter().flat_map(Layer::projections).map(|projection| &projection.weight);
    let modules: Vec<&str> = projections.chain([&backbone.embedding]).map(module).collect();
    let means_none = |target: &&String| !modules.iter().any(|module| is_target(module, std::slice::from_ref(target)));
    if let Some(target) = info.target_modules.iter().find(means_none) {
        let what = format!(
            "target_modules has {target}, which is neither a projection of the base model's layers nor its embedding"
        );
        return Err(Error::content(&config, what + "; only those can be adapted"));
    }
    // fan_in_fan_out says how the base stores its matrices, which its family knows.
    let names = &backbone.config.family.names;
    let path = folder.join(WEIGHTS);
    let tensors = SafeTensors::open(std::slice::from_ref(&path))?;
    let file_name = |name: &str| format!("{PREFIX}{name}");
    let mut wanted = Vec::new();
    let list = Weights::Listed(&mut wanted, names);
    attach(backbone, &Device::dry(), info.r, info.lora_alpha, &info.target_modules, list)?;
    wanted.iter_mut().for_each(|(name, _)| *name = file_name(name));
    weights::check(&tensors, &path, "adapter_config.json and the base model", &wanted, |_| false)?;
    let weights = Weights::File { tensors: &tensors, file_name: &file_name, names };
    let device = backbone.device().clone();
    attach(backbone, &device, info.r, info.lora_alpha, &info.target_modules, weights)
}

/// Writes the folder, which exists, of an adapter beside the base model of a path and a hash.
pub(crate) fn save(
    backbone: &Backbone,
    folder: &Path,
    (base, sha256): (&str, &str),
    (rank, alpha, adapted): (usize, f64, Adapted),
) -> Result<(), Error> {
    let names = &backbone.config.family.names;
    let info = LoraInfo {
        peft_type: "LORA".into(),
        base_model_name_or_path: Some(base.into()),
        base_sha256: Some(sha256.into()),
        r: rank,
        lora_alpha: alpha,
        target_modules: adapted.targets(backbone.config.family),
        task_type: Some("CAUSAL_LM".into()),
        more: Map::from_iter([
            ("bias".into(), "none".into()),
            ("fan_in_fan_out".into(), Value::Bool(!names.transposed.is_empty())),
            ("inference_mode".into(), Value::Bool(true)),
            ("lora_dropout".into(), 0.0.into()),
        ]),
    };
    weights::write(&folder.join(WEIGHTS), backbone.lora_params(), |name| format!("{PREFIX}{name}"), names)?;
    files::write_json(&folder.join(CONFIG), &info)
}
