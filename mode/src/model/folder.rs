//! Opening what a folder holds: a plain model, a composed model, or a model with a LoRA or bottlenecks.

use super::adapter;
use super::backbone::{Backbone, base_sha256};
use super::bottleneck;
use super::decoder::Model;
use super::expert::{self, Expert, ExpertInfo, FORMAT, check_name, other_format};
use super::gate::{Gate, GateRule};
use super::gating::Gating;
use super::gguf::is_gguf;
use super::held::Held;
use super::switch::Base;
use super::weights;
use crate::{Error, files};
use mode_tensor::{Device, SafeTensors};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const COMPOSED: &str = "mode.json";
const GATES: &str = "gates.safetensors";

/// Version of the format with gates of other kinds than the paper's, which programs that know [`FORMAT`] alone would take for those.
const FORMAT_OF_KINDS: u32 = 2;

/// `mode.json` of a composed model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ComposedInfo {
    /// Version of the format: 1, or 2 with a kind of gates.
    pub format: u32,
    /// The base model's folder or GGUF file, relative to this folder.
    pub base: PathBuf,
    /// Hash of the base model's weights.
    pub base_sha256: String,
    /// Blocks m.
    pub blocks: usize,
    /// Layers l an expert has in each block.
    pub layers_per_block: usize,
    /// Names of the experts, in gate order.
    pub experts: Vec<String>,
    /// The kind of the gates.
    #[serde(default, skip_serializing_if = "Gating::is_default")]
    pub gating: Gating,
    /// Whatever else.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// The base model of a model: itself, or `given`, or what its folder's file names.
pub(crate) fn base_of(folder: &Path, given: Option<&Path>) -> Result<PathBuf, Error> {
    let (named, file) = if folder.join(COMPOSED).exists() {
        (files::read_json::<ComposedInfo>(&folder.join(COMPOSED))?.base, COMPOSED)
    } else if folder.join(adapter::CONFIG).exists() {
        let named = adapter::read_info(folder)?.base_model_name_or_path;
        if named.is_none() && given.is_none() {
            let what = format!("its {} names no base_model_name_or_path; give its place as --base", adapter::CONFIG);
            return Err(Error::content(folder, what));
        }
        (named.unwrap_or_default().into(), adapter::CONFIG)
    } else if folder.join(bottleneck::CONFIG).exists() {
        (bottleneck::read_info(folder)?.base.into(), bottleneck::CONFIG)
    } else if given.is_some() && folder.exists() {
        return Err(Error::content(folder, "is a plain model, which has no base; leave --base out"));
    } else {
        return Ok(folder.to_path_buf());
    };
    let base = given.map_or_else(|| folder.join(named), Path::to_path_buf);
    if !is_plain(&base) {
        let what = format!("{} is no plain model; name in {file} the one that it was made of", base.display());
        return Err(Error::content(folder, what));
    }
    if base.is_dir() || base.is_file() && is_gguf(&base) {
        return Ok(base);
    }
    Err(Error::content(
        folder,
        format!(
            "its base model is not there: {} is no folder and no .gguf file; give its place as --base, or in {file}",
            base.display()
        ),
    ))
}

/// True unless a folder holds what stands beside another model.
fn is_plain(folder: &Path) -> bool {
    [COMPOSED, adapter::CONFIG, bottleneck::CONFIG, expert::INFO].iter().all(|file| !folder.join(file).exists())
}

/// Opens any model: a folder, or a GGUF file.
///
/// # Errors
/// A file that is missing, broken or does not fit, or a base model that is gone or another.
pub fn open(folder: &Path, device: &Device) -> Result<Model, Error> {
    open_on(folder, None, device)
}

/// The same with the base model's folder given, in place of the one that a composed model or an adapter names.
///
/// # Errors
/// As [`open`].
pub fn open_on(folder: &Path, base: Option<&Path>, device: &Device) -> Result<Model, Error> {
    open_on_held(folder, base, device, Held::ALL)
}

/// The same, of a composed model with the experts that are held alone.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_on_held(folder: &Path, base: Option<&Path>, device: &Device, held: Held) -> Result<Model, Error> {
    if folder.join(COMPOSED).exists() {
        return open_composed(folder, base, device, held);
    }
    if folder.join(adapter::CONFIG).exists() {
        let info = adapter::read_info(folder)?;
        let base = base_of(folder, base)?;
        if let Some(wanted) = &info.base_sha256 {
            check_base(folder, wanted, &base)?;
        }
        let mut backbone = Backbone::open(&base, device)?;
        adapter::load(&mut backbone, folder, &info)?;
        return Ok(Model::plain(backbone));
    }
    if folder.join(bottleneck::CONFIG).exists() {
        let info = bottleneck::read_info(folder)?;
        let base = base_of(folder, base)?;
        check_base(folder, &info.base_sha256, &base)?;
        let mut backbone = Backbone::open(&base, device)?;
        bottleneck::load(&mut backbone, folder, &info)?;
        return Ok(Model::plain(backbone));
    }
    if folder.join(expert::INFO).exists() {
        let what = "is an expert, not a model; give it as --expert beside --model with its base";
        return Err(Error::content(folder, what));
    }
    let base = base_of(folder, base)?;
    let mut model = Model::plain(Backbone::open(&base, device)?);
    model.base = Some(Base::new(&base));
    Ok(model)
}

/// Opens a plain model with experts beside it: one as stage 1 left it, several composed by `rule`.
///
/// # Errors
/// As [`open`]; experts of another base or of different shapes, or two of one name.
pub fn open_with_experts(base: &Path, experts: &[PathBuf], rule: GateRule, device: &Device) -> Result<Model, Error> {
    open_held(base, experts, rule, device, Held::ALL)
}

/// The same, of what is held alone; gates are always.
///
/// # Errors
/// As [`open_with_experts`].
pub(crate) fn open_held(
    base: &Path,
    experts: &[PathBuf],
    rule: GateRule,
    device: &Device,
    held: Held,
) -> Result<Model, Error> {
    if !is_plain(base) {
        let what = "is no plain model; experts are put beside the plain one that it was made of";
        return Err(Error::content(base, what));
    }
    let mut model = Model::plain(Backbone::open(base, &held.backbone_on(device))?);
    model.base = Some(Base::new(base));
    model.switch_held(experts, rule, device, held)?;
    Ok(model)
}

fn open_composed(folder: &Path, base: Option<&Path>, device: &Device, held: Held) -> Result<Model, Error> {
    let path = folder.join(COMPOSED);
    let info: ComposedInfo = files::read_json(&path)?;
    if ![FORMAT, FORMAT_OF_KINDS].contains(&info.format) {
        return Err(Error::content(&path, other_format(info.format, FORMAT_OF_KINDS)));
    }
    if info.format != format_of(info.gating) {
        let what =
            format!("format {FORMAT_OF_KINDS} goes with gating that is not the paper's, and no other; make it again");
        return Err(Error::content(&path, what));
    }
    info.gating.check(info.experts.len() + 1).map_err(|what| Error::content(&path, what))?;
    if info.experts.is_empty() {
        return Err(Error::content(&path, "it has no experts; compose at least one"));
    }
    for (i, name) in info.experts.iter().enumerate() {
        check_name(name).map_err(|what| Error::content(&path, what))?;
        if info.experts[..i].contains(name) {
            let what = format!("expert '{name}' is listed twice; each has a place of its own in the gates");
            return Err(Error::content(&path, what));
        }
    }
    let base = base_of(folder, base)?;
    check_base(folder, &info.base_sha256, &base)?;
    let backbone = Backbone::open(&base, device)?;
    let mut experts = Vec::new();
    for name in &info.experts {
        let part = folder.join("experts").join(name);
        let prefix = format!("experts.{name}.");
        let expert = match (held.expert)(name) {
            true => Expert::open(&part, &backbone.config, device, &prefix)?,
            false => Expert::remote(&backbone.config, ExpertInfo::read(&part)?, &prefix)?,
        };
        if expert.info.name != *name {
            let what = format!(
                "its expert.json is of '{}'; a composed model's folders carry their experts' names",
                expert.info.name
            );
            return Err(Error::content(&part, what));
        }
        if (expert.info.blocks, expert.info.layers_per_block) != (info.blocks, info.layers_per_block) {
            return Err(Error::content(&part, "its blocks are not those of mode.json; compose the model anew"));
        }
        if expert.info.base_sha256 != info.base_sha256 {
            let (wanted, found) = (expert.info.base_sha256, info.base_sha256);
            return Err(Error::OtherBase { adapter: part, base, wanted, found });
        }
        experts.push(expert);
    }
    let path = folder.join(GATES);
    let tensors = SafeTensors::open(std::slice::from_ref(&path))?;
    let (branches, width) = (experts.len() + 1, backbone.config.width);
    let wanted: Vec<_> = (0..info.blocks).flat_map(|i| Gate::listed(i, branches, width, info.gating)).collect();
    weights::check(&tensors, &path, "mode.json and the base model", &wanted, |_| false)?;
    let gates = Gate::read_all(&tensors, info.blocks, [branches, width], info.gating, device)?;
    let mut model = Model::with_experts(backbone, experts, gates)?;
    model.base = Some(Base::new(&base));
    Ok(model)
}

pub(super) fn check_base(adapter: &Path, wanted: &str, base: &Path) -> Result<(), Error> {
    let found = base_sha256(base)?;
    if found == wanted {
        return Ok(());
    }
    Err(Error::OtherBase { adapter: adapter.into(), base: base.into(), wanted: wanted.into(), found })
}

/// The format of a model whose gates are of this kind.
fn format_of(gating: Gating) -> u32 {
    if gating.is_default() { FORMAT } else { FORMAT_OF_KINDS }
}

/// Writes a composed model's folder, which exists. `base` is as the folder will name it; the experts are of it from now on.
pub(crate) fn save_composed(model: &Model, folder: &Path, base: PathBuf, base_sha256: &str) -> Result<(), Error> {
    let first = &model.experts[0].info;
    let gating = model.gating();
    let info = ComposedInfo {
        format: format_of(gating),
        base,
        base_sha256: base_sha256.into(),
        blocks: first.blocks,
        layers_per_block: first.layers_per_block,
        experts: model.experts.iter().map(|expert| expert.info.name.clone()).collect(),
        gating,
        more: Default::default(),
    };
    for expert in &model.experts {
        let part = folder.join("experts").join(&expert.info.name);
        std::fs::create_dir_all(&part).map_err(Error::file(&part))?;
        let info = ExpertInfo { base_sha256: base_sha256.into(), ..expert.info.clone() };
        expert::save_as(&info, expert, &part, &[])?;
    }
    Gate::write_all(&model.gates, &folder.join(GATES))?;
    files::write_json(&folder.join(COMPOSED), &info)
}
