//! An expert: for each block of the backbone, a stack of l layers, trained on one domain.

use super::Backbone;
use super::config::Config;
use super::family::Names;
use super::gate::Gate;
use super::gating::Gating;
use super::init::{ExpertInit, Random, Start, stream_start};
use super::layer::Layer;
use super::remote::RemoteExpert;
use super::weights::{self, Cutting, Maker, Rule, Weights};
use crate::{Error, files, folders, memory};
use mode_autograd::Param;
use mode_tensor::{Device, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

pub(crate) const INFO: &str = "expert.json";
pub(crate) const WEIGHTS: &str = "expert.safetensors";
/// Where `expert.json` keeps the base's configuration, as far as it is maths.
pub(crate) const BASE_CONFIG: &str = "base_config";
/// Where `expert.json` says that the weights stay with their owner.
pub(crate) const PRIVATE: &str = "private";
/// Version of the expert folder's format.
pub(crate) const FORMAT: u32 = 1;

/// `expert.json`. Fields that this version does not know are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpertInfo {
    /// Version of the format, 1.
    pub format: u32,
    /// Name, which becomes a folder's: letters, digits, `_` and `-`.
    pub name: String,
    /// What it was trained on, in a word.
    pub domain: String,
    /// Hash of the base model's weights.
    pub base_sha256: String,
    /// Blocks m that the backbone is cut into.
    pub blocks: usize,
    /// Layers l that the expert has in each block.
    pub layers_per_block: usize,
    /// Provenance and whatever else.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl ExpertInfo {
    /// Information on a new expert.
    ///
    /// # Errors
    /// A name that can't be a folder's.
    pub fn new(name: &str, domain: &str, base: &str, blocks: usize, layers_per_block: usize) -> Result<Self, Error> {
        check_name(name).and_then(|()| check_domain(domain)).map_err(Error::Setting)?;
        let (name, domain, base_sha256) = (name.into(), domain.into(), base.into());
        Ok(Self { format: FORMAT, name, domain, base_sha256, blocks, layers_per_block, more: Default::default() })
    }

    /// True if it was made as one whose weights stay with their owner.
    pub(crate) fn is_private(&self) -> bool {
        self.more.get(PRIVATE) == Some(&Value::Bool(true))
    }

    /// An error if the base's configuration, of which the hash of its weights knows nothing, was another when the expert was made.
    fn check_config(&self, config: &Config) -> Result<(), String> {
        let now = config.maths();
        let Some(then) = self.more.get(BASE_CONFIG) else { return Ok(()) };
        // A key that one side lacks is as good as null: a later version may write more of them.
        let keys = [then, &now].into_iter().filter_map(Value::as_object).flat_map(|map| map.keys());
        let of = |map: &Value, key: &str| map.get(key).cloned().unwrap_or(Value::Null);
        match keys.map(|key| (key, of(then, key), of(&now, key))).find(|(_, was, is)| was != is) {
            None => Ok(()),
            Some((key, was, is)) => {
                Err(format!("was made beside a base whose {key} is {was}; here it is {is}: take that base"))
            }
        }
    }

    /// Reads an expert folder's `expert.json`.
    ///
    /// # Errors
    /// No such folder, a broken file, another format, or a name that can't be a folder's.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(INFO);
        if !path.exists() {
            return Err(Error::content(folder, "no such expert; an expert is a folder with expert.json"));
        }
        let info: Self = files::read_json(&path)?;
        if info.format != FORMAT {
            return Err(Error::content(&path, other_format(info.format, FORMAT)));
        }
        check_name(&info.name).and_then(|()| check_domain(&info.domain)).map_err(|what| Error::content(&path, what))?;
        Ok(info)
    }
}

/// What to say of a file of a format that is not ours, of which `newest` is the last.
pub(crate) fn other_format(format: u32, newest: u32) -> String {
    let advice = if format > newest { "use a newer version of the program" } else { "it is broken; make it again" };
    format!("format {format} is none that this program reads, of which the last is {newest}; {advice}")
}

/// An error unless `name` can be a folder's.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(fine) {
        return Ok(());
    }
    Err(format!("the name '{name}' can't be a folder's; use letters, digits, _ and -"))
}

/// An error unless `domain` can be printed.
fn check_domain(domain: &str) -> Result<(), String> {
    if domain.chars().any(char::is_control) {
        return Err(format!("the domain {domain:?} holds line ends or control characters; use a word"));
    }
    Ok(())
}

/// An error unless m blocks of l layers an expert fit a decoder.
pub(crate) fn check_blocks(config: &Config, blocks: usize, layers_per_block: usize) -> Result<(), String> {
    if blocks == 0 || !config.layers.is_multiple_of(blocks) {
        let fits: Vec<String> =
            (1..=config.layers).filter(|m| config.layers.is_multiple_of(*m)).map(|m| m.to_string()).collect();
        let fits = fits.join(", ");
        return Err(format!("{blocks} blocks do not divide the model's {} layers; {fits} would", config.layers));
    }
    if layers_per_block == 0 || layers_per_block > 1_000 {
        return Err(format!("an expert of {layers_per_block} layers a block; 1 to 1,000 are possible"));
    }
    Ok(())
}

/// An expert on a device.
pub struct Expert {
    /// What its folder says.
    pub info: ExpertInfo,
    /// Layers by block.
    pub blocks: Vec<Vec<Layer>>,
    /// What stands before its parameters' names in the model, and not in its own file.
    prefix: String,
    names: &'static Names,
    /// Whether its weights are in another process, and what is here has its shape alone.
    is_remote: bool,
    /// The way to them, if there is one.
    pub(super) way: Option<Box<dyn RemoteExpert>>,
}

impl Expert {
    /// A new expert beside `backbone`.
    ///
    /// # Errors
    /// Blocks that do not divide the backbone, more layers to copy than a block has, or what the device reports.
    pub fn new(backbone: &Backbone, info: ExpertInfo, init: ExpertInit, random: &mut Random) -> Result<Self, Error> {
        Self::on(backbone.device(), backbone, info, init, random)
    }

    /// The same on another device than the backbone's.
    pub(crate) fn on(
        device: &Device,
        backbone: &Backbone,
        info: ExpertInfo,
        init: ExpertInit,
        random: &mut Random,
    ) -> Result<Self, Error> {
        let config = &backbone.config;
        check_blocks(config, info.blocks, info.layers_per_block).map_err(Error::Setting)?;
        let layers = info.blocks * info.layers_per_block;
        let numbers = config.layer_parameters().saturating_mul(layers as u64);
        memory::require(device, numbers, &format!("an expert of {layers} layers"))?;
        let output = match init {
            ExpertInit::ZeroOutput => Start::Constant(0.0),
            ExpertInit::Random | ExpertInit::Copy => stream_start(config),
        };
        let expert = Self::build(config, device, info, Weights::Random(random), output, "")?;
        if init == ExpertInit::Copy {
            let per_block = config.layers / expert.info.blocks;
            let l = expert.info.layers_per_block;
            if l > per_block {
                let what = format!("expert.init = \"copy\" needs at most {per_block} layers a block, not {l}");
                return Err(Error::Setting(what));
            }
            for (i, layers) in expert.blocks.iter().enumerate() {
                let last = &backbone.layers[(i + 1) * per_block - l..(i + 1) * per_block];
                for (to, from) in layers.iter().zip(last) {
                    to.copy_from(from)?;
                }
            }
        }
        Ok(expert)
    }

    /// An expert whose values follow a rule, as benchmarks want it.
    ///
    /// # Errors
    /// As [`Expert::new`].
    pub fn by_rule(backbone: &Backbone, info: ExpertInfo, rule: &Rule) -> Result<Self, Error> {
        let config = &backbone.config;
        check_blocks(config, info.blocks, info.layers_per_block).map_err(Error::Setting)?;
        Self::build(config, backbone.device(), info, Weights::Rule(rule), Start::Constant(0.0), "")
    }

    /// Reads an expert folder; in the model its parameters are named after `prefix`.
    pub(crate) fn open(folder: &Path, config: &Config, device: &Device, prefix: &str) -> Result<Self, Error> {
        let info = ExpertInfo::read(folder)?;
        check_blocks(config, info.blocks, info.layers_per_block)
            .and_then(|()| info.check_config(config))
            .map_err(|what| Error::content(&folder.join(INFO), what))?;
        let path = folder.join(WEIGHTS);
        let without = || {
            let what = format!(
                "holds no layers: they stayed with their owner, whose `mode worker` trains with them; where `mode expert serve` answers \
                 for them, give --connect {}=HOST:PORT",
                info.name
            );
            Error::content(folder, what)
        };
        if !path.exists() && info.is_private() {
            return Err(without());
        }
        let tensors = SafeTensors::open(std::slice::from_ref(&path))?;
        let names = &config.family.names;
        let mut wanted = Vec::new();
        let start = Start::Constant(0.0);
        Self::build(config, &Device::dry(), info.clone(), Weights::Listed(&mut wanted, names), start, "")?;
        let gates: Vec<[String; 2]> = (0..info.blocks).map(Gate::names).collect();
        let gate = |name: &str| gates.iter().flatten().any(|gate| gate == name);
        let harmless = |name: &str| gate(name) || names.is_buffer(name);
        if info.is_private() && tensors.names().all(harmless) {
            return Err(without());
        }
        weights::check(&tensors, &path, "expert.json and the base model", &wanted, harmless)?;
        let file_name = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_string();
        let weights = Weights::File { tensors: &tensors, file_name: &file_name, names };
        Self::build(config, device, info, weights, start, prefix)
    }

    /// One whose weights are in another process: its shape, without numbers.
    ///
    /// # Errors
    /// Blocks that do not divide the backbone.
    pub fn remote(config: &Config, info: ExpertInfo, prefix: &str) -> Result<Self, Error> {
        check_blocks(config, info.blocks, info.layers_per_block)
            .and_then(|()| info.check_config(config))
            .map_err(|what| Error::Setting(format!("expert {}: {what}", info.name)))?;
        let mut names = Vec::new();
        let listed = Weights::Listed(&mut names, &config.family.names);
        let shape = Self::build(config, &Device::dry(), info, listed, Start::Constant(0.0), prefix)?;
        Ok(Self { is_remote: true, ..shape })
    }

    /// True if its weights are in another process.
    pub(crate) fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// Gives one whose weights are in another process a way to them.
    pub fn reach(&mut self, way: impl RemoteExpert + 'static) {
        self.way = Some(Box::new(way));
    }

    /// A part of this expert, or all of it elsewhere: of the sizes that `config` has, with what `cut` gives for each parameter.
    pub(crate) fn shard(&self, config: &Config, device: &Device, cut: &Cutting) -> Result<Self, Error> {
        Self::build(config, device, self.info.clone(), Weights::Cut(cut), Start::Constant(0.0), &self.prefix)
    }

    /// A parameter's name in the expert's own file.
    fn file_name(&self, name: &str) -> String {
        name.strip_prefix(&self.prefix).unwrap_or(name).into()
    }

    /// The two-way gates that stage 1 trained beside it.
    pub(crate) fn open_gates(
        folder: &Path,
        info: &ExpertInfo,
        width: usize,
        device: &Device,
    ) -> Result<Vec<Gate>, Error> {
        let tensors = SafeTensors::open(&[folder.join(WEIGHTS)])?;
        if !tensors.has(&Gate::names(0)[0]) {
            let what = "holds no gates: it is part of a composed model, which keeps them; open that, or the expert of its stage 1";
            return Err(Error::content(folder, what));
        }
        Gate::read_all(&tensors, info.blocks, [2, width], Gating::default(), device)
    }

    fn build(
        config: &Config,
        device: &Device,
        info: ExpertInfo,
        weights: Weights,
        output: Start,
        prefix: &str,
    ) -> Result<Self, Error> {
        let mut maker = Maker { device, weights };
        let (per_block, l) = (config.layers / info.blocks, info.layers_per_block);
        let mut block = |i: usize| {
            (0..l)
                .map(|k| {
                    let at = format!("{prefix}blocks.{i}.layers.{k}.");
                    Layer::new(config, &mut maker, &at, i * per_block + stands_for(per_block, l, k), output)
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let blocks = (0..info.blocks).map(&mut block).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { info, blocks, prefix: prefix.into(), names: &config.family.names, is_remote: false, way: None })
    }

    /// All its parameters.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        self.blocks.iter().flatten().flat_map(Layer::params)
    }
}

/// Marks the expert in `folder` as one whose weights stay with its owner, and makes of it the new folder `public` for everybody else:
/// what it is and its gates, without its layers.
///
/// # Errors
/// A folder without layers or gates, a `public` that exists, or files that can't be read or written.
pub fn make_private(folder: &Path, public: &Path) -> Result<ExpertInfo, Error> {
    let mut info = ExpertInfo::read(folder)?;
    let path = folder.join(WEIGHTS);
    let tensors = SafeTensors::open(std::slice::from_ref(&path))?;
    let [weight, _] = Gate::names(0);
    let width = if tensors.has(&weight) { tensors.shape(&weight)?.last().copied().unwrap_or(0) } else { 0 };
    let gates = Expert::open_gates(folder, &info, width, &Device::cpu())?;
    let gate = |name: &str| gates.iter().flat_map(Gate::params).any(|param| param.name() == name);
    if tensors.names().all(gate) {
        return Err(Error::content(folder, "holds no layers: it is what others get of a private expert already"));
    }
    if public.exists() {
        return Err(Error::content(public, "exists already; choose another folder as --public"));
    }
    info.more.insert(PRIVATE.into(), true.into());
    folders::make(public, |made| {
        Gate::write_all(&gates, &made.join(WEIGHTS))?;
        files::write_json(&made.join(INFO), &info)
    })?;
    files::write_json(&folder.join(INFO), &info)?;
    Ok(info)
}

/// Which layer of its block an expert's layer number `k` of `l` stands for, whose window and angles it has: the last of the block
/// that are as many as the expert's, or where these are more, the first more than once.
fn stands_for(per_block: usize, l: usize, k: usize) -> usize {
    per_block - (l - k).min(per_block)
}

/// Bytes of the files that opening an expert reads.
pub(crate) fn bytes(folder: &Path) -> Result<u64, Error> {
    [INFO, WEIGHTS].iter().try_fold(0, |sum, name| {
        let path = folder.join(name);
        Ok(sum + std::fs::metadata(&path).map_err(Error::file(&path))?.len())
    })
}

/// Writes an expert folder, which exists, with `gates` if it has its own; of an expert that is elsewhere all but its layers.
pub(crate) fn save(expert: &Expert, folder: &Path, gates: &[Gate]) -> Result<(), Error> {
    save_as(&expert.info, expert, folder, gates)
}

/// The same, with other information on it.
pub(crate) fn save_as(info: &ExpertInfo, expert: &Expert, folder: &Path, gates: &[Gate]) -> Result<(), Error> {
    let layers = expert.params().filter(|_| !expert.is_remote);
    let params: Vec<&Param> = layers.chain(gates.iter().flat_map(Gate::params)).collect();
    if !params.is_empty() {
        weights::write(&folder.join(WEIGHTS), params, |name| expert.file_name(name), expert.names)?;
    }
    files::write_json(&folder.join(INFO), info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_experts_layers_stand_for_the_last_of_the_block() {
        let all = |per_block, l| (0..l).map(|k| stands_for(per_block, l, k)).collect::<Vec<_>>();
        assert_eq!(all(3, 1), [2]);
        assert_eq!(all(3, 2), [1, 2]);
        assert_eq!(all(3, 3), [0, 1, 2]);
        assert_eq!(all(3, 5), [0, 0, 0, 1, 2]);
    }
}
