//! What was measured, as JSON lines: one file an experiment, `results/NAME.jsonl`, `results/tuning.jsonl` of learning rates, and
//! `results/inspected.jsonl` of what `mode inspect` prints. Lines are added and never changed; a program that is killed leaves at most a
//! broken last line, which is passed over.
//!
//! `tuned.rs` has the learning rates that they tell, `timed.rs` seconds of steps, `statistics.rs` intervals, and `finding.rs` what the
//! paper says beside them.

pub(super) mod finding;
pub(super) mod numbers;
pub(super) mod statistics;
pub(super) mod timed;
pub(super) mod tuned;

use crate::experiments::plan::texts::TestText;
use crate::experiments::plan::{Cell, Plan, Purpose};
use crate::experiments::{ALL, VERSION};
use crate::{Error, files, folders, memory};
use mode_tensor::Device;
use serde::{Deserialize, Serialize};
use statistics::mean;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use timed::Timed;

/// The file of learning rates.
pub(crate) const TUNING: &str = "tuning";

/// The file of what `mode inspect` prints.
pub(crate) const INSPECTED: &str = "inspected";

/// A device and its machine, as lines name them.
pub(crate) fn place(device: &Device) -> String {
    format!("{}, {}", device.name(), memory::machine())
}

/// A model on one domain's windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Share of tokens predicted right.
    pub accuracy: f64,
    /// Mean negative log-likelihood, in nats.
    pub nll: f64,
    /// Predicted tokens.
    pub tokens: usize,
    /// Tokens predicted right, by window.
    pub hits: Vec<u32>,
    /// Mean gate weights by block and branch, if there are gates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Vec<f64>>,
}

/// One cell's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Which program and method made it.
    pub version: String,
    /// Row or point.
    pub cell: String,
    /// Seed.
    pub seed: u64,
    /// Id of the run whose model it is.
    pub run: String,
    /// Hash of the windows that it was measured on.
    pub windows: String,
    /// Figures by domain; none if the training left no numbers.
    pub scores: BTreeMap<String, Score>,
    /// Parameters of the whole model.
    pub params_total: u64,
    /// Parameters trained last.
    pub params_trained: u64,
    /// Steps of all its runs but the base's, unless that is all there is.
    pub steps: u64,
    /// Tokens predicted in them.
    pub tokens_seen: u64,
    /// Seconds of them.
    pub seconds: f64,
    /// Greatest learning rate of the last of them.
    pub learning_rate: f64,
    /// Device and machine.
    pub machine: String,
    /// What `mode inspect --gates` prints of the model, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub printed: Option<String>,
}

impl Line {
    /// True unless a domain is missing that the cell is measured on: another cell of the same model may want fewer.
    fn has(&self, plan: &Plan, cell: &Cell) -> bool {
        let mut names = cell.domains.iter().map(|&domain| &plan.setup.domain(domain).name);
        self.scores.is_empty() || names.all(|name| self.scores.contains_key(name))
    }

    /// Mean accuracy over these domains; 0 where training left no numbers.
    pub fn accuracy_on(&self, domains: &[&str]) -> f64 {
        let of = |domain: &&str| self.scores.get(*domain).map_or(0.0, |score| score.accuracy);
        mean(&domains.iter().map(of).collect::<Vec<_>>())
    }

    /// Mean loss over these domains, in nats; infinite where training left no numbers.
    pub fn loss_on(&self, domains: &[&str]) -> f64 {
        let of = |domain: &&str| self.scores.get(*domain).map_or(f64::INFINITY, |score| score.nll);
        mean(&domains.iter().map(of).collect::<Vec<_>>())
    }
}

/// That an experiment was measured on a test text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tested {
    version: String,
    experiment: String,
    /// Hash of all its cells.
    design: String,
    #[serde(flatten)]
    text: TestText,
}

/// All lines of a folder.
pub struct Results {
    folder: PathBuf,
    lines: BTreeMap<String, Vec<Line>>,
    tested: Vec<Tested>,
    /// Steps that were timed.
    pub timed: Vec<Timed>,
    /// Lines of other versions, which count for nothing.
    pub outdated: usize,
    /// Files whose last line has no end, and how many of their bytes are whole lines.
    unended: BTreeMap<PathBuf, usize>,
}

impl Results {
    /// Reads what is there of all experiments.
    ///
    /// # Errors
    /// A file that can't be read, or a broken line before the last.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let mut results = Self {
            folder: folder.into(),
            lines: BTreeMap::new(),
            tested: Vec::new(),
            timed: Vec::new(),
            outdated: 0,
            unended: BTreeMap::new(),
        };
        for name in ALL.iter().map(|experiment| experiment.name).chain([TUNING, INSPECTED]) {
            let all: Vec<Line> = results.read(name)?;
            let before = all.len();
            let current: Vec<Line> = all.into_iter().filter(|line| line.version == VERSION).collect();
            results.outdated += before - current.len();
            results.lines.insert(name.into(), current);
        }
        results.timed = results.read("timed")?;
        results.timed.retain(|timed| timed.version == VERSION);
        // A text that another version has looked at has been looked at.
        results.tested = results.read("tested")?;
        Ok(results)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.jsonl"))
    }

    fn read<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> Result<Vec<T>, Error> {
        let path = self.file(name);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let bytes = std::fs::read(&path).map_err(Error::file(&path))?;
        // A last line may end within a character.
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let is_ended = bytes.is_empty() || bytes.ends_with(b"\n");
        if !is_ended {
            self.unended.insert(path.clone(), bytes.len());
        }
        let mut all = Vec::new();
        for (i, line) in lines.iter().enumerate() {
            match serde_json::from_str(line) {
                Ok(line) => all.push(line),
                Err(_) if line.trim().is_empty() => {}
                Err(_) if i + 1 == lines.len() && !is_ended => {
                    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
                    self.unended.insert(path.clone(), whole);
                }
                Err(error) => {
                    let what = format!("line {}: {error}; mend or remove the line, or give another --out", i + 1);
                    return Err(Error::content(&path, what));
                }
            }
        }
        Ok(all)
    }

    /// Adds a line to an experiment's file.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn add(&mut self, experiment: &str, line: Line) -> Result<(), Error> {
        self.append(experiment, &line)?;
        self.lines.entry(experiment.into()).or_default().push(line);
        Ok(())
    }

    fn append(&mut self, name: &str, line: &impl Serialize) -> Result<(), Error> {
        folders::create(&self.folder)?;
        let path = self.file(name);
        let mut text = serde_json::to_string(line).map_err(|source| Error::Json { path: path.clone(), source })?;
        text.push('\n');
        // A broken last line must not swallow the next, nor a whole one that was left without an end.
        if let Some(&whole) = self.unended.get(&path) {
            let mut lines = std::fs::read(&path).map_err(Error::file(&path))?;
            lines.truncate(whole);
            if lines.last().is_some_and(|&last| last != b'\n') {
                lines.push(b'\n');
            }
            lines.extend(text.as_bytes());
            files::write(&path, lines)?;
            self.unended.remove(&path);
            return Ok(());
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_data()));
        written.map_err(Error::file(&path))
    }

    /// Adds steps that were timed.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn add_timed(&mut self, timed: Timed) -> Result<(), Error> {
        self.append("timed", &timed)?;
        self.timed.push(timed);
        Ok(())
    }

    /// The figures of this experiment's cell.
    pub fn line(&self, experiment: &str, cell: &str, seed: u64, run: &str, windows: &str) -> Option<&Line> {
        let same = |line: &&Line| line.cell == cell && line.seed == seed && line.run == run && line.windows == windows;
        self.lines.get(experiment)?.iter().find(same)
    }

    /// The figures of a cell of a plan, as its experiment has them, or another that has the same model.
    pub fn of_cell(&self, plan: &Plan, cell: &Cell) -> Option<&Line> {
        let id = &plan.runs[cell.runs.last()?.0].id;
        let windows = plan.windows_id(cell);
        match &cell.purpose {
            Purpose::Tune { .. } | Purpose::Pilot => self.line(TUNING, &cell.name, cell.seed, id, windows),
            Purpose::Inspect => self.line(INSPECTED, &cell.name, cell.seed, id, windows),
            Purpose::Report => {
                let same = |line: &&Line| {
                    line.run == *id && line.seed == cell.seed && line.windows == windows && line.has(plan, cell)
                };
                self.lines.values().flatten().find(same)
            }
        }
    }

    /// The devices and machines that lines come from.
    pub fn machines(&self) -> BTreeSet<&str> {
        self.lines.values().flatten().map(|line| line.machine.as_str()).collect()
    }

    /// An error if an experiment was measured on this test text, or a domain of it, as another design, unless that may be
    /// done `again`. The same cells may always be gone on with.
    ///
    /// # Errors
    /// Other cells were measured on this text.
    pub fn may_test(&self, experiment: &str, design: &str, text: &TestText, again: bool) -> Result<(), Error> {
        if again || self.is_tested_as(experiment, design, text) || self.times_tested(experiment, text) == 0 {
            return Ok(());
        }
        let what =
            format!("{experiment} was measured on this test text before, with other settings, cells or learning rates");
        Err(Error::Setting(what + "; figures that are looked at twice flatter: give --again to do it all the same"))
    }

    /// True if an experiment was ever measured.
    pub fn is_tested(&self, experiment: &str) -> bool {
        self.tested.iter().any(|tested| tested.experiment == experiment)
    }

    fn is_tested_as(&self, experiment: &str, design: &str, text: &TestText) -> bool {
        let mut of_text = self.on(experiment, text);
        of_text.any(|tested| tested.design == design && tested.text.windows == text.windows)
    }

    /// Takes down that an experiment is about to be measured on its test text.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn test(&mut self, experiment: &str, design: &str, text: TestText) -> Result<(), Error> {
        // A line of before documents were kept says too little.
        let same = |tested: &Tested| tested.experiment == experiment && tested.design == design && tested.text == text;
        if self.tested.iter().any(same) {
            return Ok(());
        }
        let [experiment, design] = [experiment, design].map(String::from);
        let tested = Tested { version: VERSION.into(), experiment, design, text };
        self.append("tested", &tested)?;
        self.tested.push(tested);
        Ok(())
    }

    /// How often an experiment was measured on a test text, or on one that shares a domain's documents.
    pub fn times_tested(&self, experiment: &str, text: &TestText) -> usize {
        let looks: BTreeSet<_> =
            self.on(experiment, text).map(|tested| (&tested.design, &tested.text.windows)).collect();
        looks.len()
    }

    fn on<'r>(&'r self, experiment: &'r str, text: &'r TestText) -> impl Iterator<Item = &'r Tested> {
        self.tested.iter().filter(move |tested| tested.experiment == experiment && tested.text.shares(text))
    }
}
