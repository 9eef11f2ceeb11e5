//! LoRAs on the attention projections of a whole model, written as PEFT writes them (`adapter_config.json`,
//! `adapter_model.safetensors`), with the base model's hash added.

use super::attention::PROJECTIONS;
use super::backbone::Backbone;
use super::init::{Random, Start};
use super::layer::Layer;
use super::lora::Lora;
use super::weights::{self, Maker, Weights, refuse_unread};
use crate::{Error, files, memory};
use mode_tensor::SafeTensors;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

pub(crate) const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before the model's own names.
const PREFIX: &str = "base_model.model.";

/// `adapter_config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraInfo {
    /// Always "LORA".
    pub peft_type: String,
    /// Path of the base model, relative to the adapter's folder.
    pub base_model_name_or_path: String,
    /// Hash of the base model's weights; an adapter of PEFT's own has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_sha256: Option<String>,
    /// Rank of the factors.
    pub r: usize,
    /// Factor of the product, times the rank.
    pub lora_alpha: f64,
    /// The matrices adapted.
    pub target_modules: Vec<String>,
    /// Always "CAUSAL_LM".
    #[serde(default)]
    pub task_type: Option<String>,
    /// PEFT's other settings, which must be unset where they would change what is computed.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Puts fresh factors of `rank` beside every attention projection of `backbone`.
///
/// # Errors
/// A rank of zero, or what the device reports.
pub fn add_lora(backbone: &mut Backbone, rank: usize, alpha: f64, random: &mut Random) -> Result<(), Error> {
    if rank == 0 {
        return Err(Error::Setting("lora.rank is 0; 8 is usual".into()));
    }
    let weights = backbone.layers.iter().flat_map(|layer| &layer.attention.projections);
    let widths: usize = weights.flat_map(|projection| projection.weight.value().shape().to_vec()).sum();
    let numbers = (widths as u64).saturating_mul(rank as u64);
    memory::require(backbone.device(), numbers, &format!("a LoRA of rank {rank}"))?;
    attach(backbone, rank, alpha, &PROJECTIONS, Weights::Random(random))
}

fn attach(backbone: &mut Backbone, rank: usize, alpha: f64, targets: &[&str], weights: Weights) -> Result<(), Error> {
    let device = backbone.device().clone();
    let mut maker = Maker { device: &device, weights, name: String::new() };
    for (i, layer) in backbone.layers.iter_mut().enumerate() {
        let projections = layer.attention.projections.iter_mut().zip(PROJECTIONS);
        for (projection, name) in projections.filter(|(_, name)| targets.contains(name)) {
            let shape = projection.weight.value().shape().to_vec();
            let at = format!("model.layers.{i}.self_attn.{name}");
            let start = Start::Normal((shape[1] as f64).powf(-0.5));
            let a = maker.param(&format!("{at}.lora_A.weight"), &[rank, shape[1]], start)?;
            let b = maker.param(&format!("{at}.lora_B.weight"), &[shape[0], rank], Start::Constant(0.0))?;
            projection.lora = Some(Lora { a, b, factor: (alpha / rank as f64) as f32 });
        }
    }
    Ok(())
}

/// Settings of PEFT that change what an adapter computes; anything but unset is refused.
const UNSUPPORTED: [&str; 15] = [
    "use_rslora",
    "use_dora",
    "use_qalora",
    "lora_bias",
    "fan_in_fan_out",
    "alpha_pattern",
    "rank_pattern",
    "layers_to_transform",
    "layers_pattern",
    "layer_replication",
    "exclude_modules",
    "modules_to_save",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
];

/// Reads `adapter_config.json`.
pub(crate) fn read_info(folder: &Path) -> Result<LoraInfo, Error> {
    let path = folder.join(CONFIG);
    let info: LoraInfo = files::read_json(&path)?;
    let refuse = |what: String| Err(Error::content(&path, what));
    if info.peft_type != "LORA" {
        return refuse(format!("peft_type {} is not supported; LORA is", info.peft_type));
    }
    let other = info.target_modules.iter().find(|name| !PROJECTIONS.contains(&name.as_str()));
    if other.is_some() || info.target_modules.is_empty() {
        let other = other.map_or("an empty list", String::as_str);
        return refuse(format!("target_modules has {other}; some of {} are supported", PROJECTIONS.join(", ")));
    }
    if !(info.r > 0 && info.lora_alpha.is_finite() && info.lora_alpha > 0.0) {
        return refuse(format!("r is {} and lora_alpha {}; both are positive numbers", info.r, info.lora_alpha));
    }
    // These change the base model's own weights, beside which the adapter is to stand.
    let init = info.more.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
    if ["pissa", "olora", "corda", "loftq"].iter().any(|kind| init.starts_with(kind)) {
        return refuse(format!("init_lora_weights is {init}; convert the adapter to a plain LoRA first"));
    }
    let unset = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if let Some(key) = UNSUPPORTED.iter().find(|key| info.more.get(**key).is_some_and(|value| !unset(value))) {
        return refuse(format!("{key} is set and not supported; plain LoRA of one rank in all layers is"));
    }
    if info.more.get("bias").is_some_and(|bias| bias != "none" && !bias.is_null()) {
        return refuse("bias is not \"none\", and trained biases are not supported".into());
    }
    Ok(info)
}

/// Puts the factors of an adapter's folder beside the projections of its base model.
pub(crate) fn load(backbone: &mut Backbone, folder: &Path, info: &LoraInfo) -> Result<(), Error> {
    let path = folder.join(WEIGHTS);
    let tensors = SafeTensors::open(std::slice::from_ref(&path))?;
    let targets: Vec<&str> = info.target_modules.iter().map(String::as_str).collect();
    attach(backbone, info.r, info.lora_alpha, &targets, Weights::File { tensors: &tensors, prefix: PREFIX })?;
    let params = backbone.layers.iter().flat_map(Layer::lora_params);
    refuse_unread(&tensors, &path, params, |name| format!("{PREFIX}{name}"), |_| false)
}

/// Writes an adapter's folder, which exists.
pub(crate) fn save(
    backbone: &Backbone,
    folder: &Path,
    base: &str,
    sha256: &str,
    rank: usize,
    alpha: f64,
) -> Result<(), Error> {
    let info = LoraInfo {
        peft_type: "LORA".into(),
        base_model_name_or_path: base.into(),
        base_sha256: Some(sha256.into()),
        r: rank,
        lora_alpha: alpha,
        target_modules: PROJECTIONS.map(String::from).into(),
        task_type: Some("CAUSAL_LM".into()),
        more: Map::new(),
    };
    let params = backbone.layers.iter().flat_map(Layer::lora_params);
    weights::write(&folder.join(WEIGHTS), params, |name| format!("{PREFIX}{name}"))?;
    files::write_json(&folder.join(CONFIG), &info)
}
