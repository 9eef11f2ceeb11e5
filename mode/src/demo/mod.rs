//! The demo: a small language model is pre-trained on English (and a tenth Code), adapted to Code and Math by every method
//! of the paper, and measured on what it gained and on what English it kept.
//!
//! Methods (arXiv 2410.10181, section 3): `base`, the model before; `full` and `full-long`, all weights; `lora` and
//! `lora-long`, low-rank factors; `mode-code` and `mode-math`, one expert; `mode-2x`, both experts composed and trained on;
//! `mode-2x-frozen`, the same with only the gates trained in stage 2. `full` and `lora` see as many tokens as
//! the two experts in stage 1, the `-long` ones as many as both stages of `mode-2x` together. No method sees English while it adapts.
//!
//! Everything is a [`Recipe`](crate::train::Recipe) that is written into the run's folder, carried out by the code behind
//! `mode train` and `mode compose`, and read by `mode eval`.

mod corpora;
mod outcome;
mod plan;
mod settings;
mod tune;
mod tuned;

pub use crate::data::DOMAINS;
pub use corpora::Sources;
pub use settings::Settings;
pub use tune::tune;

use crate::report::Row;
use crate::train::{self, Evaluation, Existing, Finished, run};
use crate::{Error, files, folders, memory};
use corpora::Texts;
use mode_tensor::Device;
use outcome::Measured;
use plan::Plan;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What the demo does: a line to say, or a step of a run.
pub enum Event<'a> {
    /// Something to tell.
    Say(String),
    /// What the run of this name, in this folder, tells of its steps.
    Run(&'a str, &'a Path, train::Event<'a>),
}

/// Where and how.
pub struct Demo<'a> {
    /// Folder to make.
    pub out: PathBuf,
    /// Sizes and steps.
    pub settings: Settings,
    /// Texts in place of the built-in ones.
    pub sources: Sources,
    /// What computes.
    pub device: Device,
    /// Who hears of it.
    pub listener: &'a mut dyn FnMut(Event) -> ControlFlow<()>,
}

impl Demo<'_> {
    fn say(&mut self, line: impl Into<String>) {
        // Between runs there is nothing to save: the next run's first step will hear of it.
        let _ = (self.listener)(Event::Say(line.into()));
    }

    /// Runs one recipe of the plan.
    fn run(&mut self, recipe: &crate::train::Recipe, name: &str) -> Result<Finished, Error> {
        folders::create(&self.out.join("recipes"))?;
        recipe.write(&self.out.join("recipes").join(format!("{name}.toml")))?;
        let listener = &mut *self.listener;
        run(recipe, &self.device, Existing::Replace, &mut |event| match event {
            train::Event::Say(line) | train::Event::Warn(line) => listener(Event::Say(line.into())),
            train::Event::Begin(_) | train::Event::Step(_) => listener(Event::Run(name, &recipe.out, event)),
        })
    }

    /// Evaluates a model's folder on each domain's windows; also the names of the branches that its gates choose among.
    fn evaluate(&self, model: &Path, windows: &[Vec<Vec<u32>>]) -> Result<(Vec<Evaluation>, Vec<String>), Error> {
        let model = crate::model::open(model, &self.device)?;
        let evaluations = windows.iter().map(|windows| crate::train::evaluate(&model, windows, false));
        let experts = model.experts.iter().map(|expert| expert.info.name.clone());
        Ok((evaluations.collect::<Result<_, _>>()?, std::iter::once("backbone".into()).chain(experts).collect()))
    }

    /// The plan, refused before anything is read or written if the demo's folder exists or its settings can't be.
    fn plan(&self, tuned: &tuned::Tuned, force: bool) -> Result<Plan, Error> {
        folders::refuse_unless(&self.out, force)?;
        let plan = Plan::new(self, tuned);
        plan.check().map_err(|what| Error::Setting(format!("--set: {what}")))?;
        memory::require(&self.device, plan.parameters().saturating_mul(4), "training the demo's model")?;
        Ok(plan)
    }
}

/// Runs the demo; writes models, `results.json`, test windows and `report.html` under its folder.
///
/// # Errors
/// A folder that exists, too little text, a loss that is not finite.
pub fn demo(mut demo: Demo, force: bool) -> Result<Vec<Row>, Error> {
    let plan = demo.plan(&tuned::committed()?, force)?;
    let texts = corpora::prepare(&mut demo)?;
    let base = demo.run(&plan.pretrain(), "base")?;
    let stage1: Vec<Finished> =
        plan.experts().iter().map(|(name, recipe)| demo.run(recipe, name)).collect::<Result<_, _>>()?;
    let mut measured = vec![measure(&mut demo, &texts, "base", &[base])?];
    for (name, recipe) in plan.baselines() {
        let finished = demo.run(&recipe, name)?;
        measured.push(measure(&mut demo, &texts, name, &[finished])?);
    }
    for (name, recipe, parts) in plan.compositions() {
        let finished = demo.run(&recipe, name)?;
        let runs: Vec<Finished> = parts.iter().map(|&i| stage1[i].clone()).chain([finished]).collect();
        measured.push(measure(&mut demo, &texts, name, &runs)?);
    }
    let rows: Vec<Row> = measured.iter().map(|measured| measured.row.clone()).collect();
    files::write_json(&demo.out.join("results.json"), &rows)?;
    outcome::write_report(&demo, &texts, &measured)?;
    Ok(rows)
}

/// Evaluates the model that the last of `runs` made, and adds up what all of them saw.
fn measure(demo: &mut Demo, texts: &Texts, method: &str, runs: &[Finished]) -> Result<Measured, Error> {
    let Some(last) = runs.last() else { return Err(Error::Setting(format!("{method} made no run"))) };
    let (evaluations, branches) = demo.evaluate(&last.out, &texts.test)?;
    let measured = Measured::new(method, runs, last, evaluations, branches);
    let row = &measured.row;
    let percent = [row.english, row.code, row.math, row.mean].map(|share| format!("{:6.2}", 100.0 * share));
    let [english, code, math, mean] = percent;
    demo.say(format!("{method:14}  English {english}  Code {code}  Math {math}  mean {mean}  ({:.0} s)", row.seconds));
    // A composition without steps trained nothing: what froze its base is the stage before.
    let last = runs.iter().rev().find(|run| run.steps > 0).unwrap_or(last);
    if !last.frozen_after.is_empty() {
        let (trained, frozen) = (last.params_trained, last.params_total - last.params_trained);
        demo.say(format!(
            "{:14}  trained {trained}, frozen {frozen} parameters; frozen sha256 {:.12}.. before, {:.12}.. after",
            "", last.frozen_before, last.frozen_after
        ));
    }
    Ok(measured)
}
