//! Carries plans out: runs whose models are there already are left alone, others go to as many jobs as are wanted, each when what it builds
//! on is done (`jobs.rs`); cells are measured when their model is.
//!
//! `study.rs` carries experiments out with it, `dry_run.rs` says what they would take, `rerun.rs` makes one cell again; `timed.rs` times
//! steps and `inspected.rs` looks at gates.

pub(super) mod dry_run;
pub(super) mod inspected;
pub(super) mod jobs;
pub(super) mod rerun;
pub(super) mod study;
pub(super) mod timed;

use crate::experiments::plan::base::Base;
use crate::experiments::plan::{Cell, Plan, Purpose, RunIndex};
use crate::experiments::results::{Line, Results, Score, place};
use crate::experiments::{Experiment, VERSION};
use crate::model::{Model, open, open_on};
use crate::train::{self, Existing, Finished, Method, Recipe, evaluate, read_run, run};
use crate::{Error, files};
use inspected::inspected;
use jobs::{Alarm, Clock, State, Task, lock, next};
use mode_tensor::Device;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

/// Where and how plans are carried out.
pub struct Lab<'a> {
    /// The plan's folder.
    pub root: PathBuf,
    /// Opens a job's device.
    pub device: &'a (dyn Fn() -> Result<Device, Error> + Sync),
    /// Runs at once.
    pub jobs: usize,
    /// Threads of each on the CPU.
    pub threads: usize,
    /// Hears what is said, and says whether to go on.
    pub listener: &'a (dyn Fn(Said) -> ControlFlow<()> + Sync),
}

/// What is said while plans are carried out.
#[derive(Debug, Clone, Copy)]
pub enum Said<'a> {
    /// How far it has got.
    Line(&'a str),
    /// What should be known in any case.
    Warning(&'a str),
    /// Nothing: a moment at which it may be stopped.
    Nothing,
}

/// Share of a step's operations that goes forward: a third where all is trained, nearly half where little is.
const FORWARD: f64 = 0.4;

/// What is left of a plan.
pub struct Left {
    /// Runs, by index.
    pub runs: BTreeSet<RunIndex>,
    /// Numbers of cells.
    pub cells: Vec<usize>,
}

impl Left {
    /// Operations of the runs.
    pub fn flop(&self, plan: &Plan) -> f64 {
        // The sum of nothing is -0, which nobody wants to read.
        self.runs.iter().map(|run| plan.runs[run.0].flop()).sum::<f64>() + 0.0
    }

    /// Operations of measuring the cells, roughly: of a step's the share that goes forward.
    pub fn flop_of_cells(&self, plan: &Plan) -> f64 {
        let s = plan.settings();
        let of_cell = |cell: &Cell| {
            let step = cell.runs.iter().rev().find_map(|run| plan.runs[run.0].step).map_or(0.0, |step| step.flop());
            let windows: usize = cell.domains.iter().map(|&domain| plan.windows(cell, domain).len()).sum();
            FORWARD * step * windows as f64 / s.batch as f64
        };
        self.cells.iter().map(|&cell| of_cell(&plan.cells[cell])).sum()
    }
}

impl Lab<'_> {
    /// Says a line.
    pub(crate) fn say(&self, line: &str) {
        let _ = (self.listener)(Said::Line(line));
    }

    /// Says what should be known in any case.
    pub(crate) fn warn(&self, line: &str) {
        let _ = (self.listener)(Said::Warning(line));
    }

    /// An error if it is to stop.
    pub(crate) fn go_on(&self) -> Result<(), Error> {
        if (self.listener)(Said::Nothing).is_break() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// What a plan still needs: cells without figures, the runs that made their models, and those that these build on.
    pub fn left(&self, plan: &Plan, results: &Results, wanted: impl Fn(&Cell) -> bool) -> Left {
        let cells: Vec<usize> = (0..plan.cells.len())
            .filter(|&i| wanted(&plan.cells[i]) && results.of_cell(plan, &plan.cells[i]).is_none())
            .collect();
        self.needed(plan, cells)
    }

    /// These cells, the runs that make their models, and those that these build on, as far as they are not there.
    pub fn needed(&self, plan: &Plan, cells: Vec<usize>) -> Left {
        let mut runs = BTreeSet::new();
        let mut open: Vec<RunIndex> = cells.iter().flat_map(|&cell| plan.cells[cell].runs.iter().copied()).collect();
        while let Some(run) = open.pop() {
            if !self.is_done(plan, run) && runs.insert(run) {
                open.extend(&plan.runs[run.0].needs);
            }
        }
        Left { runs, cells }
    }

    fn is_done(&self, plan: &Plan, run: RunIndex) -> bool {
        plan.runs[run.0].recipe.is_none() || matches!(read_run(&self.root.join(plan.folder(run))), Ok((_, Some(_))))
    }

    /// Carries out what is left, and measures the cells, whose lines `done` takes.
    ///
    /// # Errors
    /// The first that a run reports, but for one that left no numbers: that is a cell without figures.
    pub fn carry_out(
        &self,
        plan: &Plan,
        left: &Left,
        done: &(dyn Fn(&Cell, Line) -> Result<(), Error> + Sync),
    ) -> Result<(), Error> {
        let state = Mutex::new(State {
            runs: left.runs.clone(),
            cells: left.cells.clone(),
            under_way: BTreeSet::new(),
            diverged: BTreeSet::new(),
            error: None,
        });
        let clock = Clock { started: Instant::now(), flop: left.flop(plan), finished: Mutex::new((0, 0.0)) };
        let changed = Condvar::new();
        let work = || {
            let _alarm = Alarm { state: &state, changed: &changed };
            let device = (self.device)();
            loop {
                let Some(task) = next(plan, &state, &changed) else { return };
                let found = match &device {
                    Ok(device) => self.task(plan, &task, device, &state, &clock, left.runs.len(), done),
                    Err(error) => Err(Error::Setting(error.to_string())),
                };
                let mut state = lock(&state);
                if let Task::Run(run) = task {
                    state.under_way.remove(&run);
                }
                if let Err(error) = found {
                    state.error.get_or_insert(error);
                }
                changed.notify_all();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    // This thread is one of its pool's, so that a job of one core wakes no other.
                    match rayon::ThreadPoolBuilder::new().num_threads(self.threads).use_current_thread().build() {
                        Ok(_pool) => work(),
                        Err(error) => {
                            let error = Error::Setting(format!("--threads {}: {error}; give fewer", self.threads));
                            lock(&state).error.get_or_insert(error);
                        }
                    }
                });
            }
        });
        lock(&state).error.take().map_or(Ok(()), Err)
    }

    #[expect(clippy::too_many_arguments)]
    fn task(
        &self,
        plan: &Plan,
        task: &Task,
        device: &Device,
        state: &Mutex<State>,
        clock: &Clock,
        of: usize,
        done: &(dyn Fn(&Cell, Line) -> Result<(), Error> + Sync),
    ) -> Result<(), Error> {
        match *task {
            Task::Run(index) => {
                let run = &plan.runs[index.0];
                let Some(recipe) = &run.recipe else { return Ok(()) };
                match self.train(recipe, &plan.setup.base, device) {
                    Ok(finished) => {
                        let name = train::kebab(recipe.method);
                        let (method, seconds) = (format!("{name} {}", run.id), finished.seconds);
                        let (count, left) = clock.tick(run.flop());
                        self.say(&format!("{count:4} of {of}  {method:28} {seconds:6.1} s  {left}"));
                        Ok(())
                    }
                    Err(error) if error.is_divergence() => {
                        self.warn(&format!("{}: {error}", run.id));
                        clock.tick(run.flop());
                        lock(state).diverged.insert(index);
                        Ok(())
                    }
                    Err(Error::Interrupted { .. }) => Err(Error::Stopped),
                    Err(error) => Err(error),
                }
            }
            Task::Measure(number) => {
                self.go_on()?;
                let cell = &plan.cells[number];
                done(cell, self.measure(plan, cell, device)?)
            }
        }
    }

    /// Carries out one recipe, or goes on with it.
    fn train(&self, recipe: &Recipe, base: &Base, device: &Device) -> Result<Finished, Error> {
        let recipe = rooted(recipe, &self.root, base);
        // What a killed program left is no checkpoint; what an interrupted one left is, unless folders were moved since.
        let same = || read_run(&recipe.out).is_ok_and(|(there, _)| there == recipe);
        let resumes = recipe.out.join("checkpoints").is_dir() && same();
        let existing = if resumes { Existing::Resume } else { Existing::Replace };
        run(&recipe, device, existing, &mut |event| match event {
            train::Event::Warn(line) => (self.listener)(Said::Warning(line)),
            train::Event::Step(_) => (self.listener)(Said::Nothing),
            _ => ControlFlow::Continue(()),
        })
    }

    /// Opens a run's model, with a given base where that is now.
    fn open(&self, plan: &Plan, run: RunIndex, device: &Device) -> Result<Model, Error> {
        let folder = self.root.join(plan.folder(run));
        match (&plan.setup.base, &plan.runs[run.0].recipe) {
            (Base::Given(given), None) => open(&given.place, device),
            (Base::Given(given), Some(recipe)) if recipe.method != Method::Full => {
                open_on(&folder, Some(&given.place), device)
            }
            _ => open(&folder, device),
        }
    }

    /// Figures of a cell's model; none where a run that makes it left no numbers, and so no model.
    pub(crate) fn measure(&self, plan: &Plan, cell: &Cell, device: &Device) -> Result<Line, Error> {
        let last = last(cell)?;
        let mut line = Line {
            version: VERSION.into(),
            cell: cell.name.clone(),
            seed: cell.seed,
            run: plan.runs[last.0].id.clone(),
            windows: plan.windows_id(cell).into(),
            scores: BTreeMap::new(),
            params_total: plan.setup.base.given().map_or(0, |given| given.config.parameters()),
            params_trained: 0,
            steps: 0,
            tokens_seen: 0,
            seconds: 0.0,
            learning_rate: plan.runs[last.0].recipe.as_ref().map_or(0.0, |recipe| recipe.train.learning_rate),
            machine: place(device),
            printed: None,
        };
        if cell.runs.iter().any(|&run| !self.is_done(plan, run)) {
            return Ok(line);
        }
        for run in cell.runs.iter().filter(|run| plan.runs[run.0].recipe.is_some()) {
            let (_, finished) = read_run(&self.root.join(plan.folder(*run)))?;
            let Some(finished) = finished else { continue };
            line.steps += finished.steps;
            line.tokens_seen += finished.tokens_seen;
            line.seconds += finished.seconds;
            line.params_total = finished.params_total;
            // A composition without steps trains nothing itself: what counts is the stage before it.
            if finished.steps > 0 {
                line.params_trained = finished.params_trained;
            }
        }
        let model = self.open(plan, last, device)?;
        if cell.purpose == Purpose::Inspect {
            return match inspected(&self.root, &plan.folder(last), &model, plan.texts()) {
                Ok(printed) => Ok(Line { printed: Some(printed), ..line }),
                Err(error) if error.is_divergence() => Ok(line),
                Err(error) => Err(error),
            };
        }
        for &domain in &cell.domains {
            match evaluate(&model, plan.windows(cell, domain), false) {
                Ok(found) => {
                    let score = Score {
                        accuracy: found.next_token_accuracy,
                        nll: found.mean_nll,
                        tokens: found.tokens,
                        hits: found.hits,
                        gates: found.gate_means,
                    };
                    line.scores.insert(plan.setup.domain(domain).name.clone(), score);
                }
                Err(error) if error.is_divergence() => {
                    line.scores.clear();
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(line)
    }
}

/// The run that makes a cell's model.
fn last(cell: &Cell) -> Result<RunIndex, Error> {
    cell.runs.last().copied().ok_or_else(|| Error::Setting(format!("{} has no run", cell.name)))
}

/// A recipe whose paths are below `root`, but for that of a given base.
fn rooted(recipe: &Recipe, root: &Path, base: &Base) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.out = root.join(&recipe.out);
    recipe.base = recipe.base.map(|folder| match base {
        Base::Given(given) => given.place.clone(),
        Base::Pretrained => root.join(folder),
    });
    if let Some(model) = &mut recipe.model {
        model.tokenizer = root.join(&model.tokenizer);
    }
    for expert in recipe.compose.iter_mut().flat_map(|compose| &mut compose.experts) {
        *expert = root.join(&*expert);
    }
    for data in &mut recipe.data {
        data.source = root.join(&data.source).to_string_lossy().into_owned();
    }
    recipe
}

/// Hash of all cells that an experiment reports.
pub(crate) fn design(plan: &Plan, experiment: &Experiment) -> String {
    let reported = plan.cells.iter().filter(|cell| cell.purpose == Purpose::Report);
    let lines = reported.map(|cell| {
        let id = cell.runs.last().map_or("", |run| &plan.runs[run.0].id);
        format!("{} {} {id}\n", cell.name, cell.seed)
    });
    files::sha256_of((experiment.name.to_string() + &lines.collect::<String>()).as_bytes())[..16].into()
}
