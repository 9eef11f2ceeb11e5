//! Recipes of a scale: what each method of the paper trains, on which texts and for how long. Paths are relative to the plan's folder.

use super::{Plan, RunIndex};
use crate::Error;
use crate::model::{Backbone, ExpertInit, GateRule, Gating, Random};
use crate::train::{
    BottleneckSettings, ComposeSettings, DataSource, ExpertSettings, LoraSettings, Method, PRETRAIN_RATE, Recipe, Size,
    TrainSettings, Unfrozen, gate_rule, share,
};
use mode_tensor::Device;
use std::path::PathBuf;

/// Seeds of experts that start random are this far apart, or two of one model would start as one.
const SEED_STRIDE: u64 = 1_000_003;

/// A text's number and its share of the windows.
pub type Mixture<'a> = &'a [(usize, f64)];

/// Code and Math, half and half: what the paper adapts to.
pub const MIXTURE: Mixture = &[(1, 0.5), (2, 0.5)];

/// Code alone.
pub const CODE: Mixture = &[(1, 1.0)];

/// How many of some examples are of the text of this weight.
pub fn share_of(examples: usize, weight: f64, data: Mixture) -> usize {
    let whole: f64 = data.iter().map(|(_, weight)| weight).sum();
    (examples as f64 * weight / whole).round() as usize
}

/// How an expert is cut and begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Blocks, m.
    pub blocks: usize,
    /// Layers a block, l.
    pub layers: usize,
    /// How they start.
    pub init: ExpertInit,
    /// The weight that gates give them at first.
    pub share: f64,
}

impl Plan<'_> {
    /// The expert of the settings.
    pub fn shape(&self, init: ExpertInit) -> Shape {
        Shape { blocks: self.settings().blocks, layers: self.settings().layers_per_block, init, share: share() }
    }

    /// The given base, or one of the same shape as those that are pre-trained.
    ///
    /// # Errors
    /// What the device reports.
    pub fn backbone(&self, device: &Device, random: &mut Random) -> Result<Backbone, Error> {
        let s = self.settings();
        match self.setup.base.given() {
            Some(given) => given.backbone(device),
            None => Backbone::random(
                s.size().shape(self.texts().tokenizer.clone(), s.length).config(s.vocabulary, None),
                device,
                random,
            ),
        }
    }

    /// A new model: English and a tenth Code.
    ///
    /// # Errors
    /// A recipe that can't be.
    pub fn pretrain(&mut self, seed: u64, size: Size) -> Result<RunIndex, Error> {
        let s = self.settings();
        let model = size.shape(self.texts().tokenizer.clone(), s.length);
        let recipe = self.recipe(Method::Pretrain, None, seed, PRETRAIN_RATE, s.pretrain_steps, &[(0, 0.9), (1, 0.1)]);
        self.run(Recipe { model: Some(model), ..recipe })
    }

    /// All weights.
    ///
    /// # Errors
    /// A recipe that can't be.
    pub fn full(&mut self, on: On, rate: f64, steps: u64) -> Result<RunIndex, Error> {
        self.run(self.on(Method::Full, on, rate, steps))
    }

    /// Low-rank factors.
    ///
    /// # Errors
    /// A recipe that can't be.
    pub fn lora(&mut self, on: On, lora: LoraSettings, rate: f64, steps: u64) -> Result<RunIndex, Error> {
        let lora = Some(lora);
        self.run(Recipe { lora, ..self.on(Method::Lora, on, rate, steps) })
    }

    /// Bottleneck adapters.
    ///
    /// # Errors
    /// A recipe that can't be.
    pub fn bottleneck(&mut self, on: On, size: usize, rate: f64, steps: u64) -> Result<RunIndex, Error> {
        let bottleneck = Some(BottleneckSettings { size });
        self.run(Recipe { bottleneck, ..self.on(Method::Bottleneck, on, rate, steps) })
    }

    /// Stage 1: an expert of the first of its texts; without steps one that is as it begins.
    ///
    /// # Errors
    /// A recipe that can't be.
    pub fn expert(&mut self, on: On, shape: Shape, rate: f64, steps: u64) -> Result<RunIndex, Error> {
        let domain = on.data.first().map_or(0, |&(domain, _)| domain);
        let name = &self.setup.domain(domain).name;
        let expert = Some(ExpertSettings {
            name: name.clone(),
            domain: name.clone(),
            blocks: shape.blocks,
            layers_per_block: shape.layers,
            init: shape.init,
            share: shape.share,
            private: false,
        });
        let data = if steps == 0 { &[] } else { on.data };
        let seed = if shape.init == ExpertInit::Copy { on.seed } else { on.seed + domain as u64 * SEED_STRIDE };
        self.run(Recipe { expert, ..self.on(Method::Expert, On { seed, data, ..on }, rate, steps) })
    }

    /// Stage 2: experts composed, and they and the gates, or the gates alone, trained on.
    ///
    /// # Errors
    /// A recipe that can't be.
    pub fn compose(
        &mut self,
        on: On,
        experts: &[RunIndex],
        stage: Stage,
        rate: f64,
        steps: u64,
    ) -> Result<RunIndex, Error> {
        let folders = experts.iter().map(|&expert| self.folder(expert)).collect();
        let compose =
            Some(ComposeSettings { experts: folders, train: stage.train, gates: stage.gates, gating: stage.gating });
        let on = On { data: if steps == 0 { &[] } else { on.data }, ..on };
        self.run(Recipe { compose, ..self.on(Method::Compose, on, rate, steps) })
    }

    fn on(&self, method: Method, on: On, rate: f64, steps: u64) -> Recipe {
        let mut recipe = self.recipe(method, Some(self.folder(on.base)), on.seed, rate, steps, on.data);
        for data in &mut recipe.data {
            data.examples = share_of(on.examples, data.weight, on.data);
        }
        recipe
    }

    fn recipe(&self, method: Method, base: Option<PathBuf>, seed: u64, rate: f64, steps: u64, data: Mixture) -> Recipe {
        let source = |&(domain, weight): &(usize, f64)| {
            let text = self.setup.domain(domain);
            DataSource { name: text.name.clone(), source: text.tokens.clone(), weight, examples: 0 }
        };
        let train = TrainSettings::new(steps, self.settings().batch, self.settings().length, rate);
        Recipe { seed, base, ..Recipe::new(method, train, data.iter().map(source).collect()) }
    }
}

/// What is trained on what.
#[derive(Debug, Clone, Copy)]
pub struct On<'a> {
    /// The base model.
    pub base: RunIndex,
    /// Seed of new weights and of the order of the data.
    pub seed: u64,
    /// The texts.
    pub data: Mixture<'a>,
    /// Training examples, shared out by the texts' weights; 0 for all there are.
    pub examples: usize,
}

impl<'a> On<'a> {
    /// All there is of these texts.
    pub fn all(base: RunIndex, seed: u64, data: Mixture<'a>) -> Self {
        Self { base, seed, data, examples: 0 }
    }
}

/// What stage 2 does.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// What it trains.
    pub train: Unfrozen,
    /// How it composes gates.
    pub gates: GateRule,
    /// Of which kind they are.
    pub gating: Gating,
}

impl Stage {
    /// Experts and gates.
    pub fn all() -> Self {
        Self { train: Unfrozen::All, gates: gate_rule(), gating: Gating::default() }
    }

    /// Gates alone.
    pub fn gates() -> Self {
        Self { train: Unfrozen::Gates, ..Self::all() }
    }

    /// The backbone too.
    pub fn everything() -> Self {
        Self { train: Unfrozen::Everything, ..Self::all() }
    }
}
