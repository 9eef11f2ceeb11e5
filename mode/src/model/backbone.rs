//! The pre-trained decoder: embedding, layers, final norm and head. Read from and written to a Hugging Face folder.

use super::config::Config;
use super::init::{Random, Start};
use super::layer::Layer;
use super::weights::{self, Maker, Rule, Weights, refuse_unread};
use crate::{Error, files, memory};
use mode_autograd::Param;
use mode_tensor::{Device, Dtype, Rotation, SafeTensors};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A decoder of the Llama family.
pub struct Backbone {
    /// Its shape.
    pub config: Config,
    pub(crate) embedding: Param,
    /// Its layers, first to last.
    pub layers: Vec<Layer>,
    pub(crate) norm: Param,
    /// None if the head is the embedding.
    pub(crate) head: Option<Param>,
    pub(crate) rotation: Rotation,
    device: Device,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The weight files of a folder: `model.safetensors`, or the shards that its index names, in order.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let index = folder.join("model.safetensors.index.json");
    if folder.join("model.safetensors").exists() || !index.exists() {
        return Ok(vec![folder.join("model.safetensors")]);
    }
    let names: Index = files::read_json(&index)?;
    let mut shards: Vec<&String> = names.weight_map.values().collect();
    shards.sort();
    shards.dedup();
    if shards.is_empty() {
        return Err(Error::content(&index, "weight_map names no shard; fetch the model again"));
    }
    if shards.iter().any(|name| name.contains(['/', '\\'])) {
        return Err(Error::content(&index, "a shard lies outside the folder; put the shards beside the index"));
    }
    Ok(shards.into_iter().map(|name| folder.join(name)).collect())
}

/// Hash of a model folder's weights: of the file, or of shards the hash of their hex hashes joined in order.
pub(crate) fn base_sha256(folder: &Path) -> Result<String, Error> {
    let hashes = weight_files(folder)?.iter().map(|file| files::sha256(file)).collect::<Result<Vec<_>, _>>()?;
    match hashes.as_slice() {
        [one] => Ok(one.clone()),
        many => Ok(files::sha256_of(many.concat().as_bytes())),
    }
}

impl Backbone {
    /// Reads a Hugging Face folder onto a device.
    ///
    /// # Errors
    /// A file that is missing or broken, or a tensor that does not fit the configuration.
    pub fn open(folder: &Path, device: &Device) -> Result<Self, Error> {
        if !folder.is_dir() {
            let what = if folder.exists() { "is a file; a model is a folder" } else { "no such folder" };
            return Err(Error::content(folder, format!("{what} with config.json and model.safetensors")));
        }
        let config = Config::read(&folder.join("config.json"))?;
        let files = weight_files(folder)?;
        let tensors = SafeTensors::open(&files)?;
        let bare = !tensors.has("model.embed_tokens.weight") && tensors.has("embed_tokens.weight");
        let prefix = if bare { "" } else { "model." };
        let weights = |prefix| Weights::File { tensors: &tensors, prefix };
        let backbone = Self::build(
            config,
            device,
            &mut Maker { device, weights: weights(prefix), name: "model.".into() },
            &mut Maker { device, weights: weights(""), name: String::new() },
        )?;
        let file_name = |name: &str| name.strip_prefix("model.").map_or(name.into(), |rest| format!("{prefix}{rest}"));
        let harmless =
            |name: &str| name.ends_with("rotary_emb.inv_freq") || name == "lm_head.weight" && backbone.config.tied;
        refuse_unread(&tensors, &files[0], backbone.params(), file_name, harmless)?;
        Ok(backbone)
    }

    /// A decoder of random weights: matrices normal with deviation 1/sqrt(in), those that write to the stream smaller by
    /// sqrt(2 layers), so that the stream's variance does not grow with depth; embedding 0.02.
    ///
    /// # Errors
    /// Sizes that do not fit each other, or what the device reports.
    pub fn random(config: Config, device: &Device, random: &mut Random) -> Result<Self, Error> {
        config.check().map_err(Error::Setting)?;
        memory::require(device, config.parameters(), "the model")?;
        let (mut body, mut head) = (random.fork(), random.fork());
        Self::build(
            config,
            device,
            &mut Maker { device, weights: Weights::Random(&mut body), name: "model.".into() },
            &mut Maker { device, weights: Weights::Random(&mut head), name: String::new() },
        )
    }

    /// A decoder whose values follow a rule, as benchmarks want it.
    ///
    /// # Errors
    /// Sizes that do not fit each other, or another number of values than a parameter has.
    pub fn by_rule(config: Config, device: &Device, rule: &Rule) -> Result<Self, Error> {
        config.check().map_err(Error::Setting)?;
        let maker = |name: &str| Maker { device, weights: Weights::Rule(rule), name: name.into() };
        Self::build(config, device, &mut maker("model."), &mut maker(""))
    }

    fn build(config: Config, device: &Device, body: &mut Maker, head: &mut Maker) -> Result<Self, Error> {
        let (d, vocabulary) = (config.width, config.vocabulary);
        let layers = (0..config.layers)
            .map(|i| Layer::new(&config, body, &format!("layers.{i}."), stream_start(&config)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            embedding: body.param("embed_tokens.weight", &[vocabulary, d], Start::Normal(0.02))?,
            layers,
            norm: body.param("norm.weight", &[d], Start::Constant(1.0))?,
            head: match config.tied {
                true => None,
                false => Some(head.param("lm_head.weight", &[vocabulary, d], Start::Normal(0.02))?),
            },
            rotation: Rotation::new(device, config.positions.min(MOST_POSITIONS), config.head_width, config.theta)?,
            device: device.clone(),
            config,
        })
    }

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// All parameters of the pre-trained model, as transformers names them.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        let outer = [Some(&self.embedding), Some(&self.norm), self.head.as_ref()];
        self.layers.iter().flat_map(Layer::params).chain(outer.into_iter().flatten())
    }

    /// Writes a Hugging Face folder, which exists: configuration and weights.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        weights::write(&folder.join("model.safetensors"), self.params(), str::to_string)?;
        let dtype = match self.embedding.value().dtype() {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::BF16 => "bfloat16",
        };
        files::write_json(&folder.join("config.json"), &self.config.to_json(dtype))
    }
}

/// Rotary tables are made for no more positions than this; longer windows are refused when they come.
const MOST_POSITIONS: usize = 32_768;

/// How the matrices that write to the stream start.
pub(crate) fn stream_start(config: &Config) -> Start {
    Start::Normal((config.width as f64 * 2.0 * config.layers as f64).powf(-0.5))
}
