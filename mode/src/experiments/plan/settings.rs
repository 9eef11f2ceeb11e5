//! How large an experiment is: sizes, steps and seeds of a scale, each changed by `--set name=value`.

use super::base::{Base, Given};
use crate::Error;
use crate::data::DOMAINS;
use crate::set::{apply, from_table};
use crate::train::Size;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Seeds at the most.
const MOST_SEEDS: usize = 100;

/// What a given base decides.
const OF_BASE: [&str; 6] = ["vocabulary", "width", "hidden", "layers", "heads", "pretrain_steps"];

/// What reads files.
const READING: [&str; 2] = ["base", "data"];

/// What follows a domain's name where a text is to be tested on alone.
pub(crate) const TEST: &str = "-test";

/// Whether texts of this name are for one of the [`DOMAINS`].
pub(crate) fn is_known(key: &str) -> bool {
    DOMAINS.contains(&key.strip_suffix(TEST).unwrap_or(key))
}

/// How large experiments are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// A model that is pre-trained here, for two cores and some hours.
    Tiny,
    /// A model that is given, for a GPU.
    Gpu,
    /// The paper's model and steps, to be estimated and not to be carried out.
    Paper,
}

impl Scale {
    /// By its name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn of(name: &str) -> Result<Self, Error> {
        match name {
            "tiny" => Ok(Self::Tiny),
            "gpu" => Ok(Self::Gpu),
            "paper" => Ok(Self::Paper),
            _ => Err(Error::Setting(format!("--scale {name}: there are tiny, gpu and paper"))),
        }
    }
}

/// Sizes, steps and texts. What is here decides what is computed, and so belongs to what a result is known by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Seeds of each cell: 1, 2, ..
    pub seeds: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream, d.
    pub width: usize,
    /// Width of the feed-forward's hidden layer.
    pub hidden: usize,
    /// Layers, L.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Predicted tokens a window: one training example.
    pub length: usize,
    /// Windows a step.
    pub batch: usize,
    /// Steps of pre-training.
    pub pretrain_steps: u64,
    /// Steps of an expert, and of what is trained on the mixture.
    pub steps: u64,
    /// Blocks, m.
    pub blocks: usize,
    /// Expert layers a block, l.
    pub layers_per_block: usize,
    /// Rank of the LoRA.
    pub rank: usize,
    /// Examples of the largest points of Figure 3 and of question 3, where the texts hold so many.
    pub examples: usize,
    /// Tokens of test text a domain; of a smaller text a fifth.
    pub test_tokens: usize,
    /// Tokens of validation text a domain.
    pub validation_tokens: usize,
    /// Texts in place of the built-in ones, by domain: a file, a folder, or `FILE.jsonl:field,field`; NAME-test is one to test on. One of a
    /// name of its own is the fourth domain of `claims`.
    pub data: BTreeMap<String, String>,
    /// The given base's folder or GGUF file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seeds: 5,
            vocabulary: 1_024,
            width: 128,
            hidden: 352,
            layers: 6,
            heads: 4,
            length: 128,
            batch: 8,
            pretrain_steps: 1_000,
            steps: 120,
            blocks: 3,
            layers_per_block: 1,
            rank: 8,
            examples: 10_000,
            test_tokens: 60_000,
            validation_tokens: 12_000,
            data: BTreeMap::new(),
            base: None,
        }
    }
}

impl Settings {
    /// Those of a scale before anything is set, but for what its base decides.
    fn of(scale: Scale) -> Self {
        match scale {
            Scale::Tiny => Self::default(),
            Scale::Gpu => Self {
                seeds: 3,
                length: 512,
                batch: 16,
                steps: 1_000,
                layers_per_block: 2,
                examples: 1_000_000,
                test_tokens: 250_000,
                validation_tokens: 50_000,
                ..Self::default()
            },
            // The paper does not say how long windows are: the length is ours.
            Scale::Paper => {
                Self { seeds: 3, length: 1_024, batch: 128, steps: 50_000, layers_per_block: 2, ..Self::default() }
            }
        }
    }

    /// A scale with `sets` over it, and its base.
    ///
    /// # Errors
    /// An unknown name, a value that can't be, one that the base decides, or a base that is none.
    pub fn new(scale: Scale, sets: &[String]) -> Result<(Self, Base), Error> {
        let mut table = toml::Table::try_from(Self::of(scale)).map_err(|e| Error::Setting(e.to_string()))?;
        let refused = match scale {
            Scale::Tiny => READING[..1].to_vec(),
            Scale::Gpu => OF_BASE.to_vec(),
            Scale::Paper => [&OF_BASE[..], &READING].concat(),
        };
        refused.iter().for_each(|key| drop(table.remove(*key)));
        for set in sets {
            apply(&mut table, set)?;
        }
        if let Some(key) = refused.iter().find(|key| table.contains_key(**key)) {
            return Err(Error::Setting(match scale {
                Scale::Tiny => {
                    format!(
                        "--set {key}: at --scale tiny a model is pre-trained here; give --scale gpu to adapt this one"
                    )
                }
                Scale::Gpu => format!("--set {key}: at --scale gpu the base decides it; leave it out"),
                Scale::Paper => format!("--set {key}: at --scale paper it is the paper's, or not read; leave it out"),
            }));
        }
        let wrong = |what| Error::Setting(format!("--set: {what}"));
        let mut settings: Self = from_table(table).map_err(wrong)?;
        let base = match (scale, &settings.base) {
            (Scale::Tiny, _) => Base::Pretrained,
            (Scale::Gpu, Some(place)) => Base::Given(Given::open(place, settings.length)?.into()),
            (Scale::Paper, _) => Base::Given(Given::on_paper().into()),
            (Scale::Gpu, None) => {
                let what = "--scale gpu adapts a model that is there; give its folder with --set base=FOLDER";
                return Err(Error::Setting(what.into()));
            }
        };
        if let Some(Given { config, .. }) = base.given() {
            let (width, hidden, layers) = (config.width, config.hidden, config.layers);
            let (heads, vocabulary) = (config.heads, config.vocabulary);
            settings = Self { width, hidden, layers, heads, vocabulary, ..settings };
        }
        settings.check().map_err(wrong)?;
        Ok((settings, base))
    }

    /// The scale, and what is set otherwise than there, as flags: texts by their names without folders, for they may lie elsewhere.
    pub fn flags(&self) -> String {
        let (scale, mut flags) = match self.base {
            Some(_) => (Scale::Gpu, String::from("--scale gpu --set base=FOLDER")),
            None => (Scale::Tiny, String::from("--scale tiny")),
        };
        let [own, others] = [self, &Self::of(scale)].map(|of| toml::Table::try_from(of).unwrap_or_default());
        let skipped = |key: &str| READING.contains(&key) || (self.base.is_some() && OF_BASE.contains(&key));
        for (key, value) in own.iter().filter(|(key, value)| !skipped(key) && others.get(*key) != Some(value)) {
            flags.push_str(&format!(" --set {key}={value}"));
        }
        for (key, source) in &self.data {
            let name = Path::new(source).file_name().map_or(source.into(), |name| name.to_string_lossy());
            flags.push_str(&format!(" --set data.{key}={name}"));
        }
        flags
    }

    /// The base's sizes.
    pub fn size(&self) -> Size {
        Size { width: self.width, hidden: self.hidden, layers: self.layers, heads: self.heads }
    }

    /// The name of the domain that stands among the texts beside the three, if there is one: the fourth of `claims`.
    pub fn own_domain(&self) -> Option<&str> {
        self.data.keys().map(String::as_str).find(|key| !is_known(key))
    }

    /// An error for sizes of which no plan can be made; recipes check what is theirs.
    fn check(&self) -> Result<(), String> {
        if !(2..=MOST_SEEDS).contains(&self.seeds) {
            return Err(format!(
                "seeds is {}; 2 to {MOST_SEEDS} are possible, for of one there is no interval",
                self.seeds
            ));
        }
        if self.steps == 0 || self.pretrain_steps == 0 || self.batch == 0 || self.length == 0 {
            return Err("steps, pretrain_steps, batch and length are 1 or more".into());
        }
        if self.rank == 0 || self.vocabulary == 0 || self.width == 0 || self.hidden == 0 {
            return Err("rank, vocabulary, width and hidden are 1 or more".into());
        }
        if self.test_tokens <= self.length || self.validation_tokens <= self.length {
            return Err(format!("test_tokens and validation_tokens hold a window of {} at least", self.length + 1));
        }
        // A given base's heads may be of any width.
        let size = if self.base.is_some() { Size { width: 2, heads: 1, ..self.size() } } else { self.size() };
        size.check(self.blocks, self.layers_per_block, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_was_set() -> Result<(), Error> {
        let sets = ["seeds=3", "data.code=there/a.jsonl:text,code", "data.math=b"].map(String::from);
        let (settings, _) = Settings::new(Scale::Tiny, &sets)?;
        assert_eq!(settings.flags(), "--scale tiny --set seeds=3 --set data.code=a.jsonl:text,code --set data.math=b");
        let sets = ["steps=7", "width=64"].map(String::from);
        let (settings, _) = Settings::new(Scale::Tiny, &sets)?;
        assert_eq!(settings.flags(), "--scale tiny --set steps=7 --set width=64");
        let given = Settings { base: Some("somewhere/model".into()), width: 7, ..Settings::of(Scale::Gpu) };
        assert_eq!(given.flags(), "--scale gpu --set base=FOLDER");
        Ok(())
    }
}
