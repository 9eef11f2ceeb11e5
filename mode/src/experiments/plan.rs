//! A plan: the runs that experiments need, each known by the hash of all that decides what it computes, and the cells that
//! are measured of them.
//!
//! A run's id is the SHA-256 of its recipe, in which the models and texts that it builds on are named by their own ids. So two
//! experiments that want the same expert train it once, a killed plan goes on where it was, and a changed setting changes the ids of
//! all that hangs on it and of nothing else.

use super::base::Given;
use super::rates::Rates;
use super::recipes::{Mixture, share_of};
use super::setup::Setup;
use super::texts::Texts;
use super::{Settings, VERSION};
use crate::train::Recipe;
use crate::{Error, files};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The seed that learning rates are tuned with, which no cell has.
pub(super) const TUNING_SEED: u64 = 0;

/// Learning rates that every method may choose among.
pub(super) const GRID: [f64; 5] = [3e-4, 1e-3, 3e-3, 1e-2, 3e-2];

/// A run's place in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunIndex(pub(super) usize);

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Hex digits of its hash; the name of its folder.
    pub id: String,
    /// What is carried out, its paths relative to the plan's folder; None for the given base, which is there.
    pub recipe: Option<Recipe>,
    /// Runs whose models it builds on.
    pub needs: Vec<RunIndex>,
    /// Floating-point operations, roughly.
    pub flop: f64,
}

/// What a cell's figures are for.
#[derive(Debug, Clone, PartialEq)]
pub enum Purpose {
    /// To choose the learning rate of a method: validation text, scored by the mean over these domains.
    Tune {
        /// The method's name.
        method: String,
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

/// Runs and cells.
pub struct Plan<'a> {
    /// What its runs have in common.
    pub setup: &'a Setup,
    rates: &'a Rates,
    /// Cells that hang on a learning rate that is not known yet are planned with one from the middle of the grid, to be counted.
    guess: bool,
    pub(super) runs: Vec<Run>,
    pub(super) cells: Vec<Cell>,
    /// What can't be had of this base or these texts, in words.
    pub(super) left_out: Vec<String>,
    index: HashMap<String, RunIndex>,
}

impl<'a> Plan<'a> {
    /// An empty plan. With `guess` it holds all that will ever be needed, at rates that may be others in the end.
    pub fn new(setup: &'a Setup, rates: &'a Rates, guess: bool) -> Self {
        let (runs, cells, left_out, index) = Default::default();
        Self { setup, rates, guess, runs, cells, left_out, index }
    }

    /// The settings.
    pub fn settings(&self) -> &'a Settings {
        &self.setup.settings
    }

    /// The texts.
    pub fn texts(&self) -> &'a Texts {
        &self.setup.texts
    }

    /// Hash of the windows that it reports on.
    pub fn test_id(&self) -> &'a str {
        let domains: Vec<usize> = self.cells.iter().flat_map(|cell| cell.domains.iter().copied()).collect();
        &self.setup.texts_of(&domains).test_id
    }

    /// The seeds of each cell.
    pub fn seeds(&self) -> std::ops::RangeInclusive<u64> {
        1..=self.settings().seeds as u64
    }

    /// Adds a recipe, whose `out` is empty, unless it is there already.
    ///
    /// # Errors
    /// A recipe that can't be carried out.
    pub fn run(&mut self, recipe: Recipe, flop: f64) -> Result<RunIndex, Error> {
        let id = id(&recipe)?;
        if let Some(&index) = self.index.get(&id) {
            return Ok(index);
        }
        let recipe = Recipe { out: folder(&id), ..recipe };
        recipe.check().map_err(Error::Setting)?;
        let parts = recipe.base.iter().chain(recipe.compose.iter().flat_map(|compose| &compose.experts));
        let needs = parts.filter_map(|path| self.index_of(path)).collect();
        Ok(self.add_run(Run { id, recipe: Some(recipe), needs, flop }))
    }

    fn add_run(&mut self, run: Run) -> RunIndex {
        let index = RunIndex(self.runs.len());
        self.index.insert(run.id.clone(), index);
        self.runs.push(run);
        index
    }

    /// The given base, which other runs build on as on one that is done.
    pub fn given(&mut self, given: &Given) -> RunIndex {
        let run = || Run { id: given.id.clone(), recipe: None, needs: Vec::new(), flop: 0.0 };
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
        let names = runs.filter_map(|run| Some(recipe(run)?.expert.as_ref()?.name.clone()));
        std::iter::once("backbone".into()).chain(names).collect()
    }

    /// Adds the runs of the grid, which `train` makes of a seed and a rate: those of each model that is scored, and the domains that count for
    /// it. The mean of all models' counts. The learning rate of the method, if it was tuned.
    ///
    /// # Errors
    /// `train`'s.
    pub fn rate(
        &mut self,
        method: &str,
        mut train: impl FnMut(&mut Self, u64, f64) -> Result<Vec<(Vec<RunIndex>, Vec<usize>)>, Error>,
    ) -> Result<Option<f64>, Error> {
        for rate in GRID {
            for (runs, domains) in train(self, TUNING_SEED, rate)? {
                let purpose = Purpose::Tune { method: method.into(), rate };
                self.add(Cell { name: method.into(), seed: TUNING_SEED, runs, domains, purpose });
            }
        }
        Ok(self.known_rate(method))
    }

    /// The learning rate that another method of this plan was tuned to, once it is known.
    pub fn known_rate(&self, method: &str) -> Option<f64> {
        self.rates.of(method).or(self.guess.then_some(GRID[GRID.len() / 2]))
    }

    /// Adds a cell of every seed, once its method's rate is known: `train` makes its runs, the last of which makes the model.
    ///
    /// # Errors
    /// `train`'s.
    pub fn cells(
        &mut self,
        name: &str,
        domains: &[usize],
        mut train: impl FnMut(&mut Self, u64, f64) -> Result<Vec<RunIndex>, Error>,
    ) -> Result<(), Error> {
        let one = |plan: &mut Self, seed, rate| Ok(vec![(train(plan, seed, rate)?, domains.to_vec())]);
        let Some(rate) = self.rate(name, one)? else { return Ok(()) };
        for seed in self.seeds() {
            let runs = train(self, seed, rate)?;
            self.add(Cell { name: name.into(), seed, runs, domains: domains.into(), purpose: Purpose::Report });
        }
        Ok(())
    }

    /// Adds a cell of every seed that trains nothing of its own, so that there is no rate to tune.
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
    pub(super) fn with_cells(&self, cells: Vec<Cell>) -> Self {
        let Self { setup, rates, guess, ref runs, ref left_out, ref index, .. } = *self;
        Self { setup, rates, guess, runs: runs.clone(), cells, left_out: left_out.clone(), index: index.clone() }
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
    let hash = files::sha256_of(format!("{VERSION}\n{}", text.replace("\\\\", "/")).as_bytes());
    Ok(hash[..16].into())
}

#[cfg(test)]
mod tests {
    use super::super::base::Base;
    use super::super::texts::DOMAINS;
    use super::super::{Experiment, table1};
    use super::*;

    #[test]
    fn runs_are_known_by_the_ids_that_they_have_always_had() -> Result<(), Error> {
        let (texts, rates) = (Texts::on_paper(&DOMAINS), Rates::default());
        let setup = Setup::new(Settings::default(), Base::Pretrained, texts, None);
        let ids = |experiment: &Experiment| -> Result<(String, String), Error> {
            let mut plan = Plan::new(&setup, &rates, true);
            (experiment.cells)(&mut plan)?;
            let all: String = plan.runs.iter().map(|run| run.id.as_str()).collect();
            let cell = plan.cells.iter().find(|cell| cell.name == "mode-2x" && cell.purpose == Purpose::Report);
            let last = cell.and_then(|cell| cell.runs.last()).map_or("", |run| &plan.runs[run.0].id);
            Ok((last.into(), files::sha256_of(all.as_bytes())[..16].into()))
        };
        // What results are kept by: with others all that was measured would have to be measured anew.
        assert_eq!(ids(&table1::EXPERIMENT)?, ("a904e6ed64433ee9".into(), "70fd054f86978e42".into()));
        Ok(())
    }
}
