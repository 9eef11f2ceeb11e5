//! The demo's recipes.

use super::corpora::{tokenizer_file, tokens_file};
use super::tuned::Tuned;
use super::{Demo, Settings};
use crate::model::{Adapted, Gating};
use crate::train::{
    ComposeSettings, DataSource, ExpertSettings, LoraSettings, Method, PRETRAIN_RATE, Recipe, TrainSettings, Unfrozen,
};
use std::path::PathBuf;

/// Baselines take this many times the steps of one stage: as much of each domain as the two experts see in stage 1.
const SHORT: u64 = 2;

/// Long baselines take this many: as much as both stages of `mode-2x` see together.
const LONG: u64 = 3;

/// Makes recipes out of settings and learning rates.
pub(super) struct Plan {
    out: PathBuf,
    settings: Settings,
    tuned: Tuned,
    tokenizer: PathBuf,
    tokens: [String; 3],
}

impl Plan {
    pub(super) fn new(demo: &Demo, tuned: &Tuned) -> Self {
        let tokens = super::DOMAINS.map(|domain| tokens_file(demo, domain).to_string_lossy().into_owned());
        Self {
            out: demo.out.clone(),
            settings: demo.settings.clone(),
            tuned: tuned.clone(),
            tokenizer: tokenizer_file(demo),
            tokens,
        }
    }

    /// An error for settings that would stop the demo halfway.
    pub(super) fn check(&self) -> Result<(), String> {
        let s = &self.settings;
        let pretrain = self.pretrain();
        if let Some(shape) = &pretrain.model {
            shape.config(s.vocabulary, None).check()?;
        }
        let compositions = self.compositions().into_iter().map(|(_, recipe, _)| recipe);
        let others = self.experts().into_iter().chain(self.baselines()).map(|(_, recipe)| recipe);
        for recipe in std::iter::once(pretrain).chain(others).chain(compositions) {
            recipe.check()?;
        }
        Ok(())
    }

    /// Parameters of the model that is pre-trained.
    pub(super) fn parameters(&self) -> u64 {
        let shape = self.pretrain().model;
        shape.map_or(0, |shape| shape.config(self.settings.vocabulary, None).parameters())
    }

    /// English and a tenth Code.
    pub(super) fn pretrain(&self) -> Recipe {
        let s = &self.settings;
        let shape = s.size().shape(self.tokenizer.clone(), s.length);
        Recipe {
            base: None,
            model: Some(shape),
            ..self.recipe(Method::Pretrain, "base", PRETRAIN_RATE, s.pretrain_steps, &[(0, 0.9), (1, 0.1)])
        }
    }

    /// Stage 1: the Code expert and the Math expert.
    pub(super) fn experts(&self) -> Vec<(&'static str, Recipe)> {
        vec![
            ("expert-code", self.expert(1, self.tuned.rate("expert"))),
            ("expert-math", self.expert(2, self.tuned.rate("expert"))),
        ]
    }

    pub(super) fn expert(&self, domain: usize, rate: f64) -> Recipe {
        let s = &self.settings;
        let name = super::DOMAINS[domain];
        let settings = ExpertSettings {
            name: name.into(),
            domain: name.into(),
            blocks: s.blocks,
            layers_per_block: s.layers_per_block,
            init: s.expert_init,
            share: s.share,
            private: false,
        };
        let folder = format!("expert-{name}");
        Recipe { expert: Some(settings), ..self.recipe(Method::Expert, &folder, rate, s.steps, &[(domain, 1.0)]) }
    }

    /// Full fine-tuning and LoRA on the mixture, short and long.
    pub(super) fn baselines(&self) -> Vec<(&'static str, Recipe)> {
        ["full", "full-long", "lora", "lora-long"].map(|name| (name, self.baseline(name, self.tuned.rate(name)))).into()
    }

    pub(super) fn baseline(&self, name: &str, rate: f64) -> Recipe {
        let s = &self.settings;
        let steps = s.steps * if name.ends_with("-long") { LONG } else { SHORT };
        let lora = name.starts_with("lora");
        let method = if lora { Method::Lora } else { Method::Full };
        Recipe {
            lora: lora.then_some(LoraSettings {
                rank: s.rank,
                alpha: 2.0 * s.rank as f64,
                adapted: Adapted::Attention,
            }),
            ..self.recipe(method, name, rate, steps, &[(1, 0.5), (2, 0.5)])
        }
    }

    /// Stage 2, and single experts as composed models; with the numbers of the stage-1 runs that each builds on.
    pub(super) fn compositions(&self) -> Vec<(&'static str, Recipe, Vec<usize>)> {
        let composed = |name, experts: &[usize], train, rate, steps| {
            (
                name,
                self.composition(name, experts, train, rate, steps),
                experts.iter().map(|domain| domain - 1).collect(),
            )
        };
        let steps = self.settings.steps;
        vec![
            composed("mode-code", &[1], Unfrozen::All, self.tuned.rate("expert"), 0),
            composed("mode-math", &[2], Unfrozen::All, self.tuned.rate("expert"), 0),
            composed("mode-2x", &[1, 2], Unfrozen::All, self.tuned.rate("mode-2x"), steps),
            composed("mode-2x-frozen", &[1, 2], Unfrozen::Gates, self.tuned.rate("mode-2x-frozen"), steps),
        ]
    }

    pub(super) fn composition(&self, name: &str, experts: &[usize], train: Unfrozen, rate: f64, steps: u64) -> Recipe {
        let folder = |domain: &usize| self.out.join(format!("expert-{}", super::DOMAINS[*domain]));
        let settings = ComposeSettings {
            experts: experts.iter().map(folder).collect(),
            train,
            gates: self.settings.gate_rule,
            gating: Gating::default(),
        };
        let data: &[(usize, f64)] = if steps == 0 { &[] } else { &[(1, 0.5), (2, 0.5)] };
        Recipe { compose: Some(settings), ..self.recipe(Method::Compose, name, rate, steps, data) }
    }

    fn recipe(&self, method: Method, folder: &str, rate: f64, steps: u64, data: &[(usize, f64)]) -> Recipe {
        let source = |&(domain, weight): &(usize, f64)| DataSource {
            name: super::DOMAINS[domain].into(),
            source: self.tokens[domain].clone(),
            weight,
            examples: 0,
        };
        let s = &self.settings;
        let train = TrainSettings { precision: s.precision, ..TrainSettings::new(steps, s.batch, s.length, rate) };
        let data = data.iter().map(source).collect();
        let (out, base) = (self.out.join(folder), Some(self.out.join("base")));
        Recipe { out, base, seed: s.seed, ..Recipe::new(method, train, data) }
    }
}
