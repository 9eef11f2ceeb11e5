//! Recipes: what `mode train` and `mode compose` read, a TOML file with `--set a.b=c` over it.

use super::Schedule;
use crate::model::{ExpertInit, GateRule};
use crate::{Error, files};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Tokens a step at the most.
const MOST_TOKENS: usize = 1 << 24;

/// Rank of a LoRA at the most.
const MOST_RANK: usize = 65_536;

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
    /// Folder of the base model; for every method but pretrain.
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
    /// For compose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<ComposeSettings>,
    /// Steps and their size.
    pub train: TrainSettings,
    /// Texts, mixed by weight; none where there are no steps.
    #[serde(default)]
    pub data: Vec<DataSource>,
}

/// A text to train on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSource {
    /// Its name.
    pub name: String,
    /// A text file, a folder, FILE.jsonl:field, or a file of tokens (`.tokens`).
    pub source: String,
    /// Share of the windows, relative to the other texts' weights.
    #[serde(default = "one_weight")]
    pub weight: f64,
}

/// Steps and their size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    /// Optimizer steps.
    pub steps: u64,
    /// Windows a step.
    pub batch: usize,
    /// Predicted tokens a window.
    pub length: usize,
    /// Greatest learning rate.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises.
    #[serde(default)]
    pub warmup: u64,
    /// What it does then.
    #[serde(default = "cosine")]
    pub schedule: Schedule,
    /// Decoupled weight decay.
    #[serde(default = "decay")]
    pub decay: f64,
    /// Greatest gradient norm; 0 for any.
    #[serde(default = "clip")]
    pub clip: f64,
    /// AdamW's decay of the first moment.
    #[serde(default = "beta1")]
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    #[serde(default = "beta2")]
    pub beta2: f64,
}

/// Shape of a new model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// A Hugging Face tokenizer.json.
    pub tokenizer: PathBuf,
    /// Width of the residual stream.
    pub width: usize,
    /// Width of the feed-forward's hidden layer.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Longest window.
    pub positions: usize,
    /// True if the head is the embedding.
    #[serde(default = "yes")]
    pub tied: bool,
}

/// A stage-1 expert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertSettings {
    /// Its name, which becomes a folder's.
    pub name: String,
    /// What it is trained on, in a word.
    pub domain: String,
    /// Blocks m that the base is cut into.
    pub blocks: usize,
    /// Layers l of the expert in each block.
    pub layers_per_block: usize,
    /// How its layers start.
    #[serde(default = "expert_init")]
    pub init: ExpertInit,
    /// The weight that its gates give it at first, between 0 and 1.
    #[serde(default = "share")]
    pub share: f64,
}

/// A LoRA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSettings {
    /// Rank of the factors.
    pub rank: usize,
    /// Factor of their product, times the rank.
    pub alpha: f64,
}

/// What stage 2 trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatesOr {
    /// Experts and gates.
    All,
    /// Gates alone.
    Gates,
}

/// A stage-2 composition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposeSettings {
    /// Expert folders, in gate order.
    pub experts: Vec<PathBuf>,
    /// What is trained.
    #[serde(default = "all")]
    pub train: GatesOr,
    /// How the gates are composed.
    #[serde(default = "gate_rule")]
    pub gates: GateRule,
}

fn one() -> u64 {
    1
}
fn one_weight() -> f64 {
    1.0
}
fn cosine() -> Schedule {
    Schedule::Cosine
}
fn decay() -> f64 {
    0.01
}
fn clip() -> f64 {
    1.0
}
fn beta1() -> f64 {
    0.9
}
fn beta2() -> f64 {
    0.95
}
fn yes() -> bool {
    true
}
fn all() -> GatesOr {
    GatesOr::All
}

/// The default start of an expert: the best of three on the demo's validation text.
pub(crate) fn expert_init() -> ExpertInit {
    ExpertInit::Copy
}

/// The default first weight of an expert: the best of four on the demo's validation text.
pub(crate) fn share() -> f64 {
    0.5
}

/// The default composition of gates: on the demo's validation text the best of those with which one expert composes to
/// itself.
pub(crate) fn gate_rule() -> GateRule {
    GateRule::Diluted
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
        let recipe: Self = table.try_into().map_err(|e: toml::de::Error| Error::content(path, explain(e.message())))?;
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

    fn check(&self) -> Result<(), String> {
        let train = &self.train;
        for (path, key) in [(Some(&self.out), "out"), (self.base.as_ref(), "base")] {
            if path.is_some_and(|path| path.as_os_str().is_empty()) {
                return Err(format!("{key} is empty; name a folder"));
            }
        }
        let tokens = train.batch.checked_mul(train.length).filter(|&tokens| tokens > 0 && tokens <= MOST_TOKENS);
        if tokens.is_none() {
            return Err(format!("train.batch times train.length must lie between 1 and {MOST_TOKENS} tokens"));
        }
        let fractions = [(train.beta1, "beta1"), (train.beta2, "beta2")];
        if let Some((beta, name)) = fractions.into_iter().find(|(beta, _)| !(0.0..1.0).contains(beta)) {
            return Err(format!("train.{name} is {beta}; it lies between 0 and 1, 1 excluded"));
        }
        let sizes = [(train.decay, "decay"), (train.clip, "clip")];
        if let Some((size, name)) = sizes.into_iter().find(|(size, _)| !(size.is_finite() && *size >= 0.0)) {
            return Err(format!("train.{name} is {size}; 0 or a positive number is wanted"));
        }
        if let Some(lora) = &self.lora
            && !(lora.alpha.is_finite() && lora.alpha > 0.0 && (1..=MOST_RANK).contains(&lora.rank))
        {
            return Err(format!("lora.alpha must be a positive number, and lora.rank lie between 1 and {MOST_RANK}"));
        }
        if !(train.learning_rate.is_finite() && train.learning_rate >= 0.0) {
            return Err(format!("train.learning_rate is {}; a small positive number is wanted", train.learning_rate));
        }
        if self.data.is_empty() && train.steps > 0 {
            return Err("there is no [[data]] to train on; add one with name and source".into());
        }
        if self.data.iter().any(|data| !(data.weight.is_finite() && data.weight > 0.0)) {
            return Err("a weight of [[data]] is not a positive number".into());
        }
        let method = self.method;
        let needs = |there: bool, what: &str| {
            if there { Ok(()) } else { Err(format!("method \"{}\" needs {what}", kebab(method))) }
        };
        match method {
            Method::Pretrain => return needs(self.model.is_some(), "a [model] table"),
            Method::Full => {}
            Method::Lora => needs(self.lora.is_some(), "a [lora] table")?,
            Method::Expert => needs(self.expert.is_some(), "an [expert] table")?,
            Method::Compose => needs(self.compose.is_some(), "a [compose] table")?,
        }
        needs(self.base.is_some(), "base, the folder of the base model")
    }
}

/// A method's name in recipes.
pub(crate) fn kebab(method: Method) -> &'static str {
    match method {
        Method::Pretrain => "pretrain",
        Method::Full => "full",
        Method::Lora => "lora",
        Method::Expert => "expert",
        Method::Compose => "compose",
    }
}

/// Sets one `a.b=c`; the value is TOML if it can be, else text.
pub(crate) fn apply(table: &mut toml::Table, set: &str) -> Result<(), Error> {
    let wrong = || Error::Setting(format!("--set {set}: write it as key=value or table.key=value"));
    let (path, value) = set.split_once('=').ok_or_else(wrong)?;
    let value = format!("v = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.into()));
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().filter(|key| !key.is_empty()).ok_or_else(wrong)?;
    let mut at = table;
    for key in keys {
        let next = at.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = next.as_table_mut().ok_or_else(wrong)?;
    }
    at.insert(last.into(), value);
    Ok(())
}

/// A parser's message in one line, with the line of the file.
fn located(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
    format!("line {line}: {}", explain(error.message()))
}

/// An unknown key with the nearest known one, in place of the list of all.
pub(crate) fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.starts_with("unknown ")) else {
        return message.split_whitespace().collect::<Vec<_>>().join(" ");
    };
    let kind = if message.starts_with("unknown variant") { "value" } else { "key" };
    let nearest = quoted.max_by(|a, b| {
        let near = |known: &str| strsim::jaro_winkler(unknown, known);
        near(a).total_cmp(&near(b))
    });
    match nearest {
        Some(known) => format!("unknown {kind} '{unknown}'; did you mean '{known}'?"),
        None => format!("unknown {kind} '{unknown}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named() {
        let message = "unknown field `sedd`, expected one of `method`, `seed`, `base`";
        assert_eq!(explain(message), "unknown key 'sedd'; did you mean 'seed'?");
    }

    #[test]
    fn settings_reach_into_tables() -> Result<(), Error> {
        let mut table = toml::Table::new();
        apply(&mut table, "train.steps=5")?;
        apply(&mut table, "out=runs/x")?;
        assert_eq!(table["train"]["steps"].as_integer(), Some(5));
        assert_eq!(table["out"].as_str(), Some("runs/x"));
        assert!(apply(&mut table, "steps").is_err());
        Ok(())
    }
}
