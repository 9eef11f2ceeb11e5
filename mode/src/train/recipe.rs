//! Recipes: what `mode train` and `mode compose` read, a TOML file with `--set a.b=c` over it.

use super::settings::{
    BottleneckSettings, CheckpointSettings, ComposeSettings, DataSource, ExpertSettings, LoraSettings, MeshSettings,
    ModelShape, Precision, TrainSettings,
};
#[cfg(any(feature = "mpi", feature = "net"))]
use super::{checkpoint::FREE, record::RECIPE};
use crate::mesh::Problem;
#[cfg(any(feature = "mpi", feature = "net"))]
use crate::model::{EXPERT_WEIGHTS, base_sha256};
use crate::model::{ExpertInfo, Model, tokenizer_file};
use crate::set::{apply, from_table, located};
use crate::{Error, files};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A text's weight at the most, so that the sum of all is a number.
const MOST_WEIGHT: f64 = 1e9;

/// Rank of a LoRA, and size of a bottleneck, at the most.
const MOST_RANK: usize = 65_536;

fn one() -> u64 {
    1
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A new model from random weights.
    Pretrain,
    /// All weights of the base.
    Full,
    /// Low-rank factors beside the base's attention.
    Lora,
    /// Bottleneck adapters after the halves of the base's layers.
    Bottleneck,
    /// Stage 1: one expert and its gates beside the frozen base.
    Expert,
    /// Stage 2: several experts beside the frozen base.
    Compose,
}

/// A recipe. Paths are relative to the folder where the program is started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What to do.
    pub method: Method,
    /// Folder to make.
    pub out: PathBuf,
    /// Seed of weights and of the order of the data.
    #[serde(default = "one")]
    pub seed: u64,
    /// Folder or GGUF file of the base model; for every method but pretrain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Shape of a new model; for pretrain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelShape>,
    /// For expert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expert: Option<ExpertSettings>,
    /// For lora.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSettings>,
    /// For bottleneck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<BottleneckSettings>,
    /// For compose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<ComposeSettings>,
    /// Devices that it is trained on, for expert and compose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<MeshSettings>,
    /// Steps and their size.
    pub train: TrainSettings,
    /// How often the run is saved.
    #[serde(default)]
    pub checkpoint: CheckpointSettings,
    /// Texts, mixed by weight; none where there are no steps.
    #[serde(default)]
    pub data: Vec<DataSource>,
}

impl Recipe {
    /// One of a method without what else it is to have: its folder, the model it works on, and the method's own settings.
    pub(crate) fn new(method: Method, train: TrainSettings, data: Vec<DataSource>) -> Self {
        let (base, model, expert, lora, bottleneck, compose, mesh) = Default::default();
        let (out, seed, checkpoint) = (PathBuf::new(), 1, CheckpointSettings::default());
        Self { method, out, seed, base, model, expert, lora, bottleneck, compose, mesh, train, checkpoint, data }
    }
}

/// An expert of a recipe.
pub(crate) struct Named {
    pub(crate) name: String,
    /// Whether its weights stay in its owner's process.
    pub(crate) private: bool,
}

/// What a recipe's method works on; a recipe that lacks it is refused.
pub(crate) enum Task<'a> {
    Pretrain(&'a ModelShape),
    Full { base: &'a Path },
    Lora { base: &'a Path, lora: &'a LoraSettings },
    Bottleneck { base: &'a Path, size: usize },
    Expert { base: &'a Path, expert: &'a ExpertSettings },
    Compose { base: &'a Path, compose: &'a ComposeSettings },
}

impl Task<'_> {
    /// Where the tokenizer of the model is, or would be.
    pub(crate) fn tokenizer(&self) -> PathBuf {
        match self {
            Self::Pretrain(shape) => shape.tokenizer.clone(),
            Self::Full { base }
            | Self::Lora { base, .. }
            | Self::Bottleneck { base, .. }
            | Self::Expert { base, .. }
            | Self::Compose { base, .. } => tokenizer_file(base),
        }
    }
}

impl Recipe {
    /// Reads a recipe and sets `a.b=c` over it.
    ///
    /// # Errors
    /// No such file, broken TOML, an unknown key (with the nearest known one), or a value that can't be.
    pub fn read(path: &Path, sets: &[String]) -> Result<Self, Error> {
        let text = files::read_text(path)?;
        let broken = |e: toml::de::Error| Error::content(path, located(&text, &e));
        let mut table: toml::Table = text.parse().map_err(broken)?;
        for set in sets {
            apply(&mut table, set)?;
        }
        let recipe: Self = from_table(table).map_err(|what| Error::content(path, what))?;
        recipe.check().map_err(|what| Error::content(path, what))?;
        Ok(recipe)
    }

    /// Writes the recipe.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        files::write(path, toml::to_string(self).map_err(|e| Error::content(path, e.to_string()))?)
    }

    /// The method with the settings that it needs.
    ///
    /// # Errors
    /// The table or the folder that the recipe lacks.
    pub(crate) fn task(&self) -> Result<Task<'_>, String> {
        let lacks = |what: &str| format!("method \"{}\" needs {what}", kebab(self.method));
        let base = || self.base.as_deref().ok_or_else(|| lacks("base, the base model's folder or .gguf file"));
        match self.method {
            Method::Pretrain => self.model.as_ref().map(Task::Pretrain).ok_or_else(|| lacks("a [model] table")),
            Method::Full => Ok(Task::Full { base: base()? }),
            Method::Lora => match &self.lora {
                Some(lora) => Ok(Task::Lora { base: base()?, lora }),
                None => Err(lacks("a [lora] table")),
            },
            Method::Bottleneck => match &self.bottleneck {
                Some(bottleneck) => Ok(Task::Bottleneck { base: base()?, size: bottleneck.size }),
                None => Err(lacks("a [bottleneck] table")),
            },
            Method::Expert => match &self.expert {
                Some(expert) => Ok(Task::Expert { base: base()?, expert }),
                None => Err(lacks("an [expert] table")),
            },
            Method::Compose => match &self.compose {
                Some(compose) if compose.experts.is_empty() => {
                    Err("compose.experts is empty; name at least one expert folder".into())
                }
                Some(compose) if compose.experts.iter().any(|folder| folder.as_os_str().is_empty()) => {
                    Err("compose.experts has an empty path; name the expert's folder".into())
                }
                Some(compose) => Ok(Task::Compose { base: base()?, compose }),
                None => Err(lacks("a [compose] table")),
            },
        }
    }

    /// The names of the experts that it trains, in gate order.
    ///
    /// # Errors
    /// An expert's folder that can't be read.
    pub(crate) fn experts(&self) -> Result<Vec<Named>, Error> {
        match self.task().map_err(Error::Setting)? {
            Task::Expert { expert, .. } => Ok(vec![Named { name: expert.name.clone(), private: expert.private }]),
            Task::Compose { compose, .. } => {
                let named = |info: ExpertInfo| Named { private: info.is_private(), name: info.name };
                compose.experts.iter().map(|folder| ExpertInfo::read(folder).map(named)).collect()
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The names of those of its experts that are private.
    ///
    /// # Errors
    /// As [`Recipe::experts`].
    pub(crate) fn private(&self) -> Result<Vec<String>, Error> {
        Ok(self.experts()?.into_iter().filter(|expert| expert.private).map(|expert| expert.name).collect())
    }

    /// An error if one of its experts is private: then its owner's process has it, and not this one.
    pub(crate) fn refuse_private(&self) -> Result<(), Error> {
        match self.private()?.first() {
            None => Ok(()),
            Some(name) => Err(Error::Setting(format!(
                "expert '{name}' is private: its weights stay with its owner, and here they would be beside the backbone; start `mode \
                 worker` for its mesh and for the backbone's"
            ))),
        }
    }

    /// Its steps on a model, in numbers.
    ///
    /// # Errors
    /// As [`Problem::new`].
    pub(crate) fn problem(&self, model: &Model) -> Result<Problem, Error> {
        let TrainSettings { batch, length, accumulate, .. } = self.train;
        Ok(Problem::new(model, batch, length)?.in_microbatches(accumulate))
    }

    /// Hash of what its results follow from: itself, but for settings that change no bit of them, and the files of weights that it begins with,
    /// the base's, then those of experts that are not private.
    ///
    /// # Errors
    /// A file that can't be read.
    #[cfg(any(feature = "mpi", feature = "net"))]
    pub(crate) fn sha256(&self) -> Result<String, Error> {
        let mut value =
            serde_json::to_value(self).map_err(|source| Error::Json { path: self.out.join(RECIPE), source })?;
        if let Some(table) = value.as_object_mut() {
            table.retain(|key, _| !FREE.contains(&key.as_str()));
        }
        let named = self.experts()?;
        let experts = self.compose.iter().flat_map(|compose| &compose.experts).zip(&named);
        let experts = experts
            .filter(|(_, expert)| !expert.private)
            .map(|(folder, _)| files::sha256(&folder.join(EXPERT_WEIGHTS)));
        let weights = self.base.iter().map(|base| base_sha256(base)).chain(experts).collect::<Result<String, _>>()?;
        Ok(files::sha256_of((value.to_string() + &weights).as_bytes()))
    }

    /// An error for what can be seen to be wrong without opening any file.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (path, key) in [(Some(&self.out), "out"), (self.base.as_ref(), "base")] {
            if path.is_some_and(|path| path.as_os_str().is_empty()) {
                return Err(format!("{key} is empty; name a folder"));
            }
        }
        let tables = [
            (self.model.is_some(), "model", Method::Pretrain),
            (self.expert.is_some(), "expert", Method::Expert),
            (self.lora.is_some(), "lora", Method::Lora),
            (self.bottleneck.is_some(), "bottleneck", Method::Bottleneck),
            (self.compose.is_some(), "compose", Method::Compose),
        ];
        if let Some((_, table, of)) = tables.iter().find(|(there, _, of)| *there && *of != self.method) {
            let (method, of) = (kebab(self.method), kebab(*of));
            return Err(format!("method \"{method}\" has no use for [{table}]; drop it, or set method = \"{of}\""));
        }
        self.train.check()?;
        if let Some(mesh) = &self.mesh {
            if !matches!(self.method, Method::Expert | Method::Compose) {
                let method = kebab(self.method);
                return Err(format!("method \"{method}\" has no use for [mesh], which is for experts; drop it"));
            }
            if self.train.precision != Precision::F32 {
                return Err("meshes compute in f32; set train.precision = \"f32\"".into());
            }
            if !(1..=4_096).contains(&mesh.threads) || mesh.devices.is_empty() {
                return Err("mesh.threads lies between 1 and 4096, and mesh.devices names one device or more".into());
            }
        }
        if let Some(compose) = &self.compose {
            compose.gating.check(compose.experts.len() + 1).map_err(|what| format!("compose.{what}"))?;
            if self.mesh.is_some() && !compose.gating.is_default() {
                return Err(
                    "gates on meshes read the token and weigh all branches; drop [compose.gating] or [mesh]".into()
                );
            }
        }
        if let Some(shape) = &self.model
            && shape.heads > 0
            && !shape.width.is_multiple_of(shape.heads)
        {
            return Err(format!("model.width {} is no multiple of model.heads {}", shape.width, shape.heads));
        }
        if let Some(lora) = &self.lora
            && !(lora.alpha.is_finite() && lora.alpha > 0.0 && (1..=MOST_RANK).contains(&lora.rank))
        {
            return Err(format!("lora.alpha must be a positive number, and lora.rank lie between 1 and {MOST_RANK}"));
        }
        if let Some(BottleneckSettings { size }) = self.bottleneck
            && !(1..=MOST_RANK).contains(&size)
        {
            return Err(format!("bottleneck.size lies between 1 and {MOST_RANK}"));
        }
        if self.data.is_empty() && self.train.steps > 0 {
            return Err("there is no [[data]] to train on; add one with name and source".into());
        }
        if self.data.iter().any(|data| !(data.weight > 0.0 && data.weight <= MOST_WEIGHT)) {
            return Err(format!("a weight of [[data]] is not a positive number up to {MOST_WEIGHT}"));
        }
        self.task().map(drop)
    }
}

/// A method's name in recipes.
pub(crate) fn kebab(method: Method) -> &'static str {
    match method {
        Method::Pretrain => "pretrain",
        Method::Full => "full",
        Method::Lora => "lora",
        Method::Bottleneck => "bottleneck",
        Method::Expert => "expert",
        Method::Compose => "compose",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// The recipes in a folder and in those inside it.
    fn recipes(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let of = |path: PathBuf| if path.is_dir() { recipes(&path) } else { vec![path] };
        entries.flat_map(of).filter(|path| path.extension().is_some_and(|end| end == "toml")).collect()
    }

    #[test]
    fn the_examples_are_recipes() {
        let all = recipes(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/recipes")));
        assert!(all.len() >= 10, "{all:?}");
        for path in all {
            let recipe = Recipe::read(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
            assert!(recipe.task().is_ok(), "{}", path.display());
        }
    }
}
