//! LoRA (Hu et al., arXiv 2106.09685) on the attention projections: y = x W^T + (alpha / rank) (x A^T) B^T.
//!
//! A `[rank, in]` starts random, B `[out, rank]` zero, so that step 0 is the base model. Written as PEFT writes it
//! (`adapter_config.json`, `adapter_model.safetensors`), with the base model's hash added.

use super::decoder::Model;
use super::init::Random;
use super::layer::{ATTENTION, Stream};
use super::weights::{Maker, Start, Weights, to_file};
use crate::{Error, files};
use mode_autograd::{Param, Var, linear, scale};
use mode_tensor::{SafeTensors, write_safetensors};
use serde::{Deserialize, Serialize};
use std::path::Path;

pub(crate) const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before the model's own names.
const PREFIX: &str = "base_model.model.";

/// The two factors beside one matrix.
pub(crate) struct Lora {
    a: Param,
    b: Param,
    factor: f32,
}

impl Lora {
    pub(crate) fn apply(&self, stream: &Stream, x: &Var) -> Result<Var, Error> {
        let low = linear(x, &stream.tape.param(&self.a))?;
        Ok(scale(&linear(&low, &stream.tape.param(&self.b))?, self.factor)?)
    }

    pub(crate) fn params(&self) -> [&Param; 2] {
        [&self.a, &self.b]
    }
}

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
}

/// Puts fresh factors of `rank` beside every attention projection of `model`.
///
/// # Errors
/// A rank of zero, or what the device reports.
pub fn add_lora(model: &mut Model, rank: usize, alpha: f64, random: &mut Random) -> Result<(), Error> {
    attach(model, rank, alpha, Weights::Random(random))
}

fn attach(model: &mut Model, rank: usize, alpha: f64, weights: Weights) -> Result<(), Error> {
    if rank == 0 {
        return Err(Error::Setting("lora.rank is 0; 8 is usual".into()));
    }
    let device = model.backbone.device().clone();
    let mut maker = Maker { device: &device, weights, name: String::new() };
    for (i, layer) in model.backbone.layers.iter_mut().enumerate() {
        for (projection, name) in layer.attention.iter_mut().zip(ATTENTION) {
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

/// Reads `adapter_config.json`.
pub(crate) fn read_info(folder: &Path) -> Result<LoraInfo, Error> {
    let path = folder.join(CONFIG);
    let info: LoraInfo = files::read_json(&path)?;
    if info.peft_type != "LORA" || info.target_modules.iter().any(|name| !ATTENTION.contains(&name.as_str())) {
        let what = format!(
            "a {} on {} is not supported; LORA on {} is",
            info.peft_type,
            info.target_modules.join(", "),
            ATTENTION.join(", ")
        );
        return Err(Error::content(&path, what));
    }
    Ok(info)
}

/// Puts the factors of an adapter's folder beside the projections of its base model.
pub(crate) fn load(model: &mut Model, folder: &Path, info: &LoraInfo) -> Result<(), Error> {
    let tensors = SafeTensors::open(&[folder.join(WEIGHTS)])?;
    attach(model, info.r, info.lora_alpha, Weights::File { tensors: &tensors, prefix: PREFIX })
}

/// Writes an adapter's folder, which exists.
pub(crate) fn save(
    model: &Model,
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
        target_modules: ATTENTION.map(String::from).into(),
        task_type: Some("CAUSAL_LM".into()),
    };
    let params = model.backbone.layers.iter().flat_map(|layer| layer.lora_params());
    write_safetensors(&folder.join(WEIGHTS), &to_file(params, |name| format!("{PREFIX}{name}"))?)?;
    files::write_json(&folder.join(CONFIG), &info)
}
