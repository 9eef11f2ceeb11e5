//! The pre-trained decoder: embedding, layers, final norm and head. Read from and written to a Hugging Face folder.

use super::config::Config;
use super::gguf::{Gguf, is_gguf};
use super::init::{Random, Start, stream_start};
use super::layer::Layer;
use super::lora::Lora;
use super::norm::Norm;
use super::rope::Rope;
use super::weights::{self, Cutting, Maker, Rule, Source, Weights};
use crate::{Error, files, memory};
use mode_autograd::Param;
use mode_tensor::{Device, Dtype, Rotation, SafeTensors};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A pre-trained decoder.
pub struct Backbone {
    /// Its shape and parts.
    pub config: Config,
    pub(crate) embedding: Param,
    /// What a LoRA adds to its rows.
    pub(crate) embedding_lora: Option<Lora>,
    /// Learned positions `[positions, width]`, where there are no rotary ones.
    pub(crate) positions: Option<Param>,
    /// Its layers, first to last.
    pub layers: Vec<Layer>,
    pub(crate) norm: Norm,
    /// None if the head is the embedding.
    pub(crate) head: Option<Param>,
    /// One for each of the configuration's angles.
    pub(crate) rotations: Vec<Rotation>,
    device: Device,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The weight files of a model: a GGUF file itself, of a folder `model.safetensors`, or the shards that its index names, in order.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    if is_gguf(folder) {
        return Ok(vec![folder.to_path_buf()]);
    }
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
    let shards: Vec<PathBuf> = shards.into_iter().map(|name| folder.join(name)).collect();
    match shards.iter().find(|shard| !shard.exists()) {
        Some(missing) => Err(Error::content(missing, "the index beside it names this shard; fetch the model again")),
        None => Ok(shards),
    }
}

/// Bytes of a model's weight files.
pub(crate) fn weight_bytes(folder: &Path) -> Result<u64, Error> {
    let bytes = |file: &PathBuf| Ok(std::fs::metadata(file).map_err(Error::file(file))?.len());
    weight_files(folder)?.iter().map(bytes).sum()
}

/// Hash of a model's weights: of the file, or of shards the hash of their hex hashes joined in order.
pub(crate) fn base_sha256(folder: &Path) -> Result<String, Error> {
    let hashes = weight_files(folder)?.iter().map(|file| files::sha256(file)).collect::<Result<Vec<_>, _>>()?;
    match hashes.as_slice() {
        [one] => Ok(one.clone()),
        many => Ok(files::sha256_of(many.concat().as_bytes())),
    }
}

/// The configuration of a model, of which its weights need not be there.
pub(crate) fn config(base: &Path) -> Result<Config, Error> {
    if is_gguf(base) { Gguf::open(base).map(|(_, config)| config) } else { config_of(base) }
}

/// That of a Hugging Face folder.
fn config_of(folder: &Path) -> Result<Config, Error> {
    if !folder.is_dir() {
        let what = if folder.exists() { "is a file; a model is" } else { "no such folder; a model is" };
        let what = format!("{what} a .gguf file, or a folder with config.json and model.safetensors");
        return Err(Error::content(folder, what));
    }
    let config = folder.join("config.json");
    if !config.exists() {
        return Err(Error::content(folder, "holds no model: config.json is missing; give a model's folder"));
    }
    Config::read(&config)
}

impl Backbone {
    /// Reads a Hugging Face folder, or a GGUF file, onto a device.
    ///
    /// # Errors
    /// A file that is missing or broken, or tensors that are not those of the configuration.
    pub fn open(folder: &Path, device: &Device) -> Result<Self, Error> {
        if is_gguf(folder) {
            let (file, config) = Gguf::open(folder)?;
            return Self::from_source(config, &file, folder, device);
        }
        let config = config_of(folder)?;
        let files = weight_files(folder)?;
        if !files[0].exists() {
            let what =
                "holds no model.safetensors; fetch it, or convert what is there (transformers' save_pretrained does)";
            return Err(Error::content(folder, what));
        }
        Self::from_source(config, &SafeTensors::open(&files)?, &files[0], device)
    }

    /// A decoder of the tensors of `path`, which must be those of the configuration.
    fn from_source(config: Config, tensors: &dyn Source, path: &Path, device: &Device) -> Result<Self, Error> {
        let names = &config.family.names;
        let mut wanted = Vec::new();
        Self::build(&config, &Device::dry(), Weights::Listed(&mut wanted, names))?;
        // Files of bare decoders, without a head, leave the body's name out.
        let has = |name: &str| tensors.names().contains(&name);
        let (body, first) = (names.body, format!("{}.weight", names.embedding));
        let bare = has(&first) && !has(&format!("{body}{first}"));
        let file_name = |name: &str| name.strip_prefix(body).filter(|_| bare).unwrap_or(name).to_string();
        wanted.iter_mut().for_each(|(name, _)| *name = file_name(name));
        let head = format!("{}.weight", names.head);
        let stored_head = config.tied && has(&head);
        let harmless = |name: &str| names.is_buffer(name) || stored_head && name == head;
        weights::check(tensors, path, "its configuration", &wanted, harmless)?;
        let embedding = file_name(&format!("{body}{first}"));
        if stored_head && !tensors.same(&head, &embedding)? {
            let what = format!("its {head} is not {embedding}, though the configuration beside it ties the two");
            return Err(Error::content(path, what + "; set tie_word_embeddings to false there"));
        }
        Self::build(&config, device, Weights::File { tensors, file_name: &file_name, names })?.turning(config)
    }

    /// A decoder of random weights, normal with these deviations: matrices that read the stream 1 / sqrt(width); those that write to
    /// it 1 / sqrt(2 layers width), so that it does not grow much with depth; embedding, positions and a head of its own 0.02.
    ///
    /// # Errors
    /// Sizes that do not fit each other, or what the device reports.
    pub fn random(config: Config, device: &Device, random: &mut Random) -> Result<Self, Error> {
        config.check().map_err(Error::Setting)?;
        memory::require(device, config.parameters(), "the model")?;
        Self::build(&config, device, Weights::Random(random))?.turning(config)
    }

    /// A decoder whose values follow a rule, as benchmarks want it.
    ///
    /// # Errors
    /// Sizes that do not fit each other, or another number of values than a parameter has.
    pub fn by_rule(config: Config, device: &Device, rule: &Rule) -> Result<Self, Error> {
        config.check().map_err(Error::Setting)?;
        Self::build(&config, device, Weights::Rule(rule))?.turning(config)
    }

    /// All parameters, and no rotations yet.
    fn build(config: &Config, device: &Device, weights: Weights) -> Result<Self, Error> {
        let (d, vocabulary, names) = (config.width, config.vocabulary, &config.family.names);
        let maker = &mut Maker { device, weights };
        let body = |name: &str| format!("{}{name}", names.body);
        let layer = |i: usize| body(&format!("{}{i}.", names.layer));
        let layers = (0..config.layers)
            .map(|i| Layer::new(config, maker, &layer(i), i, stream_start(config)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut table =
            |name: String, rows: usize| maker.param(&format!("{name}.weight"), &[rows, d], Start::Normal(0.02));
        Ok(Self {
            embedding: table(body(names.embedding), vocabulary)?,
            embedding_lora: None,
            positions: match config.ropes.is_empty() {
                true => Some(table(body(names.positions), config.positions)?),
                false => None,
            },
            head: match config.tied {
                true => None,
                false => Some(table(names.head.into(), vocabulary)?),
            },
            layers,
            norm: Norm::new(config, maker, &body(names.norm), d, 1.0)?,
            rotations: Vec::new(),
            device: device.clone(),
            config: Config::default(),
        })
    }

    /// With its configuration, and the angles that it says.
    fn turning(mut self, config: Config) -> Result<Self, Error> {
        self.rotations = rotations(&config, &self.device)?;
        self.config = config;
        Ok(self)
    }

    /// A part of this decoder, or all of it elsewhere: of the sizes that `config` has, with what `cut` gives for each parameter.
    pub(crate) fn shard(config: Config, device: &Device, cut: &Cutting) -> Result<Self, Error> {
        Self::build(&config, device, Weights::Cut(cut))?.turning(config)
    }

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes of a number of its matrices.
    pub(crate) fn weight_bytes(&self) -> f64 {
        if self.embedding.value().dtype() == Dtype::F32 { 4.0 } else { 2.0 }
    }

    /// All parameters of the pre-trained model, as transformers names them.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        let outer = std::iter::once(&self.embedding).chain(&self.positions).chain(self.norm.params()).chain(&self.head);
        self.layers.iter().flat_map(Layer::params).chain(outer)
    }

    /// The factors of its LoRAs.
    pub(crate) fn lora_params(&self) -> impl Iterator<Item = &Param> {
        let embedding = self.embedding_lora.iter().flat_map(Lora::params);
        self.layers.iter().flat_map(Layer::lora_params).chain(embedding)
    }

    /// Those, and its bottleneck adapters'.
    pub(crate) fn adapter_params(&self) -> impl Iterator<Item = &Param> {
        self.lora_params().chain(self.layers.iter().flat_map(Layer::bottleneck_params))
    }

    /// Writes a Hugging Face folder, which exists: configuration and weights.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        let names = &self.config.family.names;
        weights::write(&folder.join("model.safetensors"), self.params(), str::to_string, names)?;
        let dtype = match self.embedding.value().dtype() {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::BF16 => "bfloat16",
        };
        files::write_json(&folder.join("config.json"), &self.config.to_json(dtype))
    }
}

/// A configuration's angles on a device.
pub(crate) fn rotations(config: &Config, device: &Device) -> Result<Vec<Rotation>, Error> {
    let positions = config.positions.min(MOST_POSITIONS);
    let rotation =
        |rope: &Rope| Rotation::new(device, positions, &rope.frequencies(config.head_width), rope.attention_factor());
    Ok(config.ropes.iter().map(rotation).collect::<Result<_, _>>()?)
}

/// Rotary tables are made for no more positions than this; longer windows are refused when they come.
const MOST_POSITIONS: usize = 32_768;
