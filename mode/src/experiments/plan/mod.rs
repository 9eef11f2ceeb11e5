//! A plan: the runs that experiments need, each known by the hash of all that decides what it computes, and the cells that
//! are measured of them.
//!
//! A run's id is the SHA-256 of its recipe, in which the models and texts that it builds on are named by their own ids. So two
//! experiments that want the same expert train it once, a killed plan goes on where it was, and a changed setting changes the ids of
//! all that hangs on it and of nothing else.
//!
//! `methods.rs` has what experiments compare, of the recipes in `recipes.rs`; `settings.rs` how large they are, `setup.rs` what all have in
//! common: the base (`base.rs`), texts (`texts.rs`, `topics.rs`) and prices (`prices.rs`); `rates.rs` learning rates.

pub(super) mod base;
pub(super) mod methods;
pub(super) mod prices;
pub(super) mod rates;
pub(super) mod recipes;
pub(super) mod settings;
pub(super) mod setup;
pub(super) mod texts;
pub(super) mod topics;

use crate::experiments::{Experiment, Settings, VERSION};
use crate::train::{DryStep, Recipe};
use crate::{Error, files};
use base::Given;
use rates::{GRID, Rates, TUNING_SEED};
use recipes::{Mixture, share_of};
use setup::Setup;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use texts::{TestText, Texts};

/// How examples are chosen, which recipes don't say.
const DRAWN: &str = " examples drawn from all over the text";

/// A run's place in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunIndex(pub(crate) usize);

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Hex digits of its hash; the name of its folder.
    pub id: String,
    /// What is carried out, its paths relative to the plan's folder; None for the given base, which is there.
    pub recipe: Option<Recipe>,
    /// Runs whose models it builds on.
    pub needs: Vec<RunIndex>,
    /// What each of its steps takes, if it has any.
    pub step: Option<DryStep>,
}

impl Run {
    /// Its steps.
    pub fn steps(&self) -> u64 {
        self.recipe.as_ref().map_or(0, |recipe| recipe.train.steps)
    }

    /// Floating-point operations.
    pub fn flop(&self) -> f64 {
        self.step.map_or(0.0, |step| self.steps() as f64 * step.flop())
    }
}

/// What a cell's figures are for.
#[derive(Debug, Clone, PartialEq)]
pub enum Purpose {
    /// To choose the learning rate of a method: validation text.
    Tune {
        /// The method's name.
        method: String,
        /// Numbers of the domains whose mean is its score.
        scored: Vec<usize>,
        /// The rate that is tried.
        rate: f64,
    },
    /// To tell beforehand how much seeds differ: validation text.
    Pilot,
    /// To show what `mode inspect --gates` prints of it: samples of validation text.
    Inspect,
    /// To be reported: test text.
    Report,
}

/// A model that is measured.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Its row or point, such as `mode-2x`.
    pub name: String,
    /// Seed of the models that it builds on, of its weights and of the order of its data.
    pub seed: u64,
    /// The run that made the model, and those before it that count as its training.
    pub runs: Vec<RunIndex>,
    /// Numbers of the domains that it is measured on.
    pub domains: Vec<usize>,
    /// What for.
    pub purpose: Purpose,
}

/// A model of a grid's.
pub struct Tried {
    /// The runs that make it.
    pub runs: Vec<RunIndex>,
    /// What it is measured on.
    pub domains: Vec<usize>,
    /// What of that counts.
    pub scored: Vec<usize>,
}

/// Runs and cells.
pub struct Plan<'a> {
    /// What its runs have in common.
    pub setup: &'a Setup,
    rates: Rates,
    /// Cells that hang on a learning rate that is not known yet are planned with one from the middle of the grid, to be counted.
    guess: bool,
    pub(crate) runs: Vec<Run>,
    pub(crate) cells: Vec<Cell>,
    /// What can't be had of this base or these texts, in words.
    pub(crate) left_out: Vec<String>,
    index: HashMap<String, RunIndex>,
}

impl<'a> Plan<'a> {
    /// An empty plan, at rates that are known. With `guess` it holds all that will ever be needed but for rates beyond
    /// the grid, at rates that may be others in the end.
    pub fn new(setup: &'a Setup, rates: &Rates, guess: bool) -> Self {
        let (runs, cells, left_out, index) = Default::default();
        Self { setup, rates: rates.clone(), guess, runs, cells, left_out, index }
    }

    /// The plan of experiments.
    ///
    /// # Errors
    /// A recipe that can't be.
    pub fn of(experiments: &[&Experiment], setup: &'a Setup, rates: &Rates, guess: bool) -> Result<Self, Error> {
        let mut plan = Self::new(setup, rates, guess);
        experiments.iter().try_for_each(|experiment| (experiment.cells)(&mut plan))?;
        Ok(plan)
    }

    /// The settings.
    pub fn settings(&self) -> &'a Settings {
        &self.setup.settings
    }

    /// The texts.
    pub fn texts(&self) -> &'a Texts {
        &self.setup.texts
    }

    /// The test text that it reports on.
    pub fn test_text(&self) -> TestText {
        let domains: Vec<usize> = self.cells.iter().flat_map(|cell| cell.domains.iter().copied()).collect();
        let documents = domains.iter().map(|&domain| self.setup.domain(domain).test_documents.clone()).collect();
        TestText { windows: self.setup.texts_of(&domains).test_id.clone(), documents }
    }

    /// Hash of the windows that a cell is measured on.
    pub fn windows_id(&self, cell: &Cell) -> &'a str {
        let texts = self.setup.texts_of(&cell.domains);
        if cell.purpose == Purpose::Report { &texts.test_id } else { &texts.validation_id }
    }

    /// The windows of a domain that a cell is measured on.
    pub fn windows(&self, cell: &Cell, domain: usize) -> &'a [Vec<u32>] {
        let text = self.setup.domain(domain);
        if cell.purpose == Purpose::Report { &text.test } else { &text.validation }
    }

    /// The seeds of each cell.
    pub fn seeds(&self) -> std::ops::RangeInclusive<u64> {
        1..=self.settings().seeds as u64
    }

    /// Adds a recipe, whose `out` is empty, unless it is there already.
    ///
    /// # Errors
    /// A recipe that can't be carried out.
    pub fn run(&mut self, recipe: Recipe) -> Result<RunIndex, Error> {
        let id = id(&recipe)?;
        if let Some(&index) = self.index.get(&id) {
            return Ok(index);
        }
        let recipe = Recipe { out: folder(&id), ..recipe };
        recipe.check().map_err(Error::Setting)?;
        let parts = recipe.base.iter().chain(recipe.compose.iter().flat_map(|compose| &compose.experts));
        let needs: Vec<RunIndex> = parts.filter_map(|path| self.index_of(path)).collect();
        let of: Vec<&Recipe> = needs.iter().filter_map(|need| self.runs[need.0].recipe.as_ref()).collect();
        let step = (recipe.train.steps > 0).then(|| self.setup.step(&recipe, &of)).transpose()?;
        Ok(self.add_run(Run { id, recipe: Some(recipe), needs, step }))
    }

    fn add_run(&mut self, run: Run) -> RunIndex {
        let index = RunIndex(self.runs.len());
        self.index.insert(run.id.clone(), index);
        self.runs.push(run);
        index
    }

    /// The given base, which other runs build on as on one that is done.
    pub fn given(&mut self, given: &Given) -> RunIndex {
        let run = || Run { id: given.id.clone(), recipe: None, needs: Vec::new(), step: None };
        self.index.get(&given.id).copied().unwrap_or_else(|| self.add_run(run()))
    }

    /// Whether texts hold so many examples, each its share of a mixture; takes down what is left out where one does not, for examples of which
    /// some come twice are fewer than they are said to be.
    pub fn holds(&mut self, examples: usize, data: Mixture) -> bool {
        let lacks = data.iter().find_map(|&part| {
            let (text, wanted) = (self.setup.domain(part.0), share_of(examples, part.1, data));
            let there = text.trained_on / (self.settings().length + 1);
            (there < wanted).then(|| format!("{wanted} of {}, which holds {there}", text.name))
        });
        if let Some(lacks) = &lacks {
            let seen = self.settings().length;
            self.leave_out(format!("{examples} examples are left out: they are windows of {seen} tokens, {lacks}."));
        }
        lacks.is_none()
    }

    /// Takes down what this plan can't have, for whoever reads its results.
    pub fn leave_out(&mut self, what: String) {
        if !self.left_out.contains(&what) {
            self.left_out.push(what);
        }
    }

    /// The run that makes a folder.
    fn index_of(&self, folder: &Path) -> Option<RunIndex> {
        self.index.get(folder.file_name()?.to_str()?).copied()
    }

    /// The folder that a run makes, as recipes name it.
    pub fn folder(&self, run: RunIndex) -> PathBuf {
        folder(&self.runs[run.0].id)
    }

    /// What the gates of a composition's model choose among: the backbone, then the experts.
    pub fn branches(&self, run: RunIndex) -> Vec<String> {
        let recipe = |run: RunIndex| self.runs[run.0].recipe.as_ref();
        let experts = recipe(run).and_then(|recipe| recipe.compose.as_ref()).map(|compose| compose.experts.iter());
        let runs = experts.into_iter().flatten().filter_map(|folder| self.index_of(folder));
        let name = |(i, run): (usize, RunIndex)| {
            // An expert without a stage 1 is none of any domain.
            let is_fresh = self.runs[run.0].steps() == 0;
            let name = &recipe(run)?.expert.as_ref()?.name;
            Some(if is_fresh { format!("fresh {}", i + 1) } else { name.clone() })
        };
        std::iter::once("backbone".into()).chain(runs.enumerate().filter_map(name)).collect()
    }

    /// Adds the runs of the grid, which `train` makes of a seed and a rate, of one model or several; the mean of their scores counts. Where the
    /// grid's end is the best it goes on. The learning rate of the method, if it was tuned.
    ///
    /// # Errors
    /// `train`'s.
    pub fn rate(
        &mut self,
        method: &str,
        mut train: impl FnMut(&mut Self, u64, f64) -> Result<Vec<Tried>, Error>,
    ) -> Result<Option<f64>, Error> {
        for rate in self.rates.to_try(method) {
            for Tried { runs, domains, scored } in train(self, TUNING_SEED, rate)? {
                let purpose = Purpose::Tune { method: method.into(), scored, rate };
                self.add(Cell { name: method.into(), seed: TUNING_SEED, runs, domains, purpose });
            }
        }
        Ok(self.known_rate(method))
    }

    /// The learning rate that another method of this plan was tuned to, once it is known.
    pub fn known_rate(&self, method: &str) -> Option<f64> {
        self.tuned(method).map(|(rate, _)| rate)
    }

    /// The method of these that scored best, and its rate, once all of them are known.
    pub fn best_of<'m>(&self, methods: &[&'m str]) -> Option<(&'m str, f64)> {
        let tuned: Option<Vec<_>> = methods.iter().map(|&method| Some((method, self.tuned(method)?))).collect();
        // Among equals the first.
        let best = tuned?.into_iter().rev().max_by(|(_, (_, a)), (_, (_, b))| a.total_cmp(b));
        best.map(|(method, (rate, _))| (method, rate))
    }

    /// A method's rate and its score.
    fn tuned(&self, method: &str) -> Option<(f64, f64)> {
        let guess = self.guess.then_some((GRID[GRID.len() / 2], 0.0));
        self.rates.of(method).map(|tuned| (tuned.rate, tuned.score)).or(guess)
    }

    /// Adds a cell of every seed, once its method's rate is known: `train` makes its runs, the last of which makes the model. Its rate is
    /// the best for the mean of all `domains`.
    ///
    /// # Errors
    /// `train`'s.
    pub fn cells(
        &mut self,
        name: &str,
        domains: &[usize],
        train: impl FnMut(&mut Self, u64, f64) -> Result<Vec<RunIndex>, Error>,
    ) -> Result<(), Error> {
        self.cells_best_at(domains, name, domains, train)
    }

    /// The same at the rate that is best for the mean of the domains that are `scored`, of all that are measured.
    ///
    /// # Errors
    /// `train`'s.
    pub fn cells_best_at(
        &mut self,
        scored: &[usize],
        name: &str,
        domains: &[usize],
        mut train: impl FnMut(&mut Self, u64, f64) -> Result<Vec<RunIndex>, Error>,
    ) -> Result<(), Error> {
        let one = |plan: &mut Self, seed, rate| {
            let runs = train(plan, seed, rate)?;
            Ok(vec![Tried { runs, domains: domains.into(), scored: scored.into() }])
        };
        let Some(rate) = self.rate(name, one)? else { return Ok(()) };
        for seed in self.seeds() {
            let runs = train(self, seed, rate)?;
            self.add(Cell { name: name.into(), seed, runs, domains: domains.into(), purpose: Purpose::Report });
        }
        Ok(())
    }

    /// Adds a cell of every seed with nothing to tune: it trains nothing of its own, or at a rate that is given.
    ///
    /// # Errors
    /// `train`'s.
    pub fn untuned(
        &mut self,
        name: &str,
        domains: &[usize],
        mut train: impl FnMut(&mut Self, u64) -> Result<Vec<RunIndex>, Error>,
    ) -> Result<(), Error> {
        for seed in self.seeds() {
            let runs = train(self, seed)?;
            self.add(Cell { name: name.into(), seed, runs, domains: domains.into(), purpose: Purpose::Report });
        }
        Ok(())
    }

    /// Has what `mode inspect --gates` prints of a cell's first model taken down beside its figures.
    pub fn inspect(&mut self, name: &str) {
        let first = self.cells.iter().find(|cell| cell.name == name && cell.purpose == Purpose::Report);
        if let Some(cell) = first.map(|cell| Cell { purpose: Purpose::Inspect, ..cell.clone() }) {
            self.add(cell);
        }
    }

    /// The same runs with other cells.
    pub(crate) fn with_cells(&self, cells: Vec<Cell>) -> Self {
        let Self { setup, guess, ref rates, ref runs, ref left_out, ref index, .. } = *self;
        let (rates, runs, left_out, index) = (rates.clone(), runs.clone(), left_out.clone(), index.clone());
        Self { setup, rates, guess, runs, cells, left_out, index }
    }

    fn add(&mut self, cell: Cell) {
        let same = |other: &Cell| {
            other.name == cell.name
                && other.seed == cell.seed
                && other.runs == cell.runs
                && other.purpose == cell.purpose
        };
        if !self.cells.iter().any(same) {
            self.cells.push(cell);
        }
    }
}

/// The folder of a run, in the plan's.
fn folder(id: &str) -> PathBuf {
    Path::new("runs").join(id)
}

/// A recipe's hash: of its text without `out`, and of the version of the method.
fn id(recipe: &Recipe) -> Result<String, Error> {
    let nameless = Recipe { out: PathBuf::new(), ..recipe.clone() };
    let text = toml::to_string(&nameless).map_err(|e| Error::Setting(e.to_string()))?;
    // Separators of paths must not make other runs of the same recipe.
    let drawn = if recipe.data.iter().any(|data| data.examples > 0) { DRAWN } else { "" };
    let hash = files::sha256_of(format!("{VERSION}{drawn}\n{}", text.replace("\\\\", "/")).as_bytes());
    Ok(hash[..16].into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DOMAINS;
    use crate::experiments::paper::table1;
    use base::Base;

    #[test]
    fn runs_are_known_by_the_ids_that_they_have_always_had() -> Result<(), Error> {
        let (texts, rates) = (Texts::on_paper(&DOMAINS), Rates::default());
        let setup = Setup::new(Settings::default(), Base::Pretrained, texts, None);
        let plan = Plan::of(&[&table1::EXPERIMENT], &setup, &rates, true)?;
        let id = |name: &str| {
            let cell = plan.cells.iter().find(|cell| cell.name == name && cell.purpose == Purpose::Report);
            cell.and_then(|cell| cell.runs.last()).map_or("", |run| &plan.runs[run.0].id)
        };
        // What results are kept by: with others all that was measured would have to be measured anew.
        let known = [
            ("full", "58a4eb3f09338f57"),
            ("lora-english-long", "92e7c103406fe972"),
            ("dense-long", "183004e6e09a1be9"),
            ("mode-2x", "a904e6ed64433ee9"),
        ];
        assert_eq!(known.map(|(name, _)| (name, id(name))), known);
        Ok(())
    }

    #[test]
    fn of_two_methods_the_better_counts_once_both_are_known() {
        let setup = Setup::new(Settings::default(), Base::Pretrained, Texts::on_paper(&DOMAINS), None);
        let tuned = |score| rates::Tuned { rate: GRID[2], score, tried: GRID.to_vec() };
        let known = |scores: &[(&str, f64)]| {
            Rates(scores.iter().map(|&(name, score)| (name.to_string(), tuned(score))).collect())
        };
        let best = |scores: &[(&str, f64)], guess| {
            let rates = known(scores);
            Plan::new(&setup, &rates, guess).best_of(&["a", "b"]).map(|(method, _)| method.to_string())
        };
        assert_eq!(best(&[("a", 0.1), ("b", 0.2)], false).as_deref(), Some("b"));
        assert_eq!(best(&[("a", 0.2), ("b", 0.2)], false).as_deref(), Some("a"));
        assert_eq!(best(&[("a", 0.2)], false), None);
        assert_eq!(best(&[], true).as_deref(), Some("a"));
    }
}
