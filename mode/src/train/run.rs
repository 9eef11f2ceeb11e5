//! A run: a recipe opened, trained, saved now and then, and written out.

use super::checkpoint::{self, Checkpoints};
use super::data::RunData;
use super::eval::evaluate;
use super::metrics::Metrics;
use super::recipe::{Recipe, Task, kebab};
use super::record::{Finished, PROFILE, RECIPE, RECORD, is_run};
use super::settings::{Precision, TrainSettings};
use super::trainer::{StepReport, Trainer};
use super::{LossScaling, frozen, method, mixed};
use crate::data::{Mixture, Source};
use crate::mesh::{Layout, Members, Places, Problem, Wired};
use crate::model::{Model, Trained};
use crate::{Error, files, folders, memory};
use mode_tensor::Device;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What a run tells while it goes on.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A line for people.
    Say(&'a str),
    /// A line that nobody should miss.
    Warn(&'a str),
    /// A step is about to be launched; this is its number. On a GPU the one before may still be under way, unless the listener
    /// breaks here: then this step has the device for itself.
    Begin(u64),
    /// A step was taken. If the listener breaks, the run is saved and ends, on a GPU after the next step if that is under way.
    Step(&'a StepReport),
}

/// Hears of a run's events, and may break.
pub type Listener<'a> = dyn FnMut(Event) -> ControlFlow<()> + 'a;

/// What is done with a folder that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is refused.
    Refuse,
    /// The run in it is replaced: what it made is gone once the new one begins.
    Replace,
    /// The run in it goes on from its last checkpoint.
    Resume,
}

/// Carries out a recipe on `device` and writes its folder.
///
/// # Errors
/// Bad input, before anything is written; a loss that is not finite; [`Error::Interrupted`] once the listener breaks.
pub fn run(recipe: &Recipe, device: &Device, existing: Existing, listener: &mut Listener) -> Result<Finished, Error> {
    let open = |name: &str| Ok(Device::choose(Some(name))?);
    run_wired(recipe, device, Members::Named(&open), existing, listener)
}

/// The same, with these devices for its mesh, of which some may be in other processes.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_wired(
    recipe: &Recipe,
    device: &Device,
    members: Members,
    existing: Existing,
    listener: &mut Listener,
) -> Result<Finished, Error> {
    let task = recipe.task().map_err(Error::Setting)?;
    folders::refuse_unless(&recipe.out, existing != Existing::Refuse)?;
    refuse_strange_paths(recipe)?;
    refuse_inputs(recipe)?;
    if existing != Existing::Refuse {
        refuse_other(&recipe.out)?;
    }
    if existing == Existing::Resume {
        refuse_other_recipe(recipe)?;
    }
    if existing == Existing::Resume && recipe.out.join(RECORD).exists() {
        let _ = listener(Event::Say(&format!("{}: the run has ended already", recipe.out.display())));
        return files::read_json(&recipe.out.join(RECORD));
    }
    if recipe.train.precision == Precision::F16
        && let Some(line) = mixed::check(device)?
    {
        let _ = listener(Event::Warn(line));
    }
    let Opened { model, trained, mixture, validation, data_sha256 } = Opened::new(recipe, &task, device)?;
    require_memory(&model, &recipe.train)?;
    let wired = match (members, &recipe.mesh) {
        (Members::Wired(wired), _) => Some(wired),
        (Members::Named(open), Some(mesh)) => {
            let layout = Layout::read(&mesh.layout, &model.expert_names())?;
            Some(Wired::local(layout, &mesh.devices, mesh.threads, open)?)
        }
        (Members::Named(_), None) => None,
    };
    let problem = || {
        let TrainSettings { batch, length, accumulate, .. } = recipe.train;
        Ok::<_, Error>(Problem::new(&model, batch, length)?.in_parts(accumulate))
    };
    let places = wired.map(|wired| Places::new(wired, problem()?)).transpose()?;
    if let Some(places) = &places {
        let _ = listener(Event::Say(&format!("layout {}", places.summary())));
    }

    // Another run may have made it while this one read its texts.
    let folders = match existing {
        Existing::Refuse => folders::create_new(&recipe.out)?,
        _ => folders::create(&recipe.out)?,
    };
    let made = folders::lock(&recipe.out, &[&checkpoint::folder(&recipe.out)]).and_then(|_lock| {
        if existing == Existing::Replace {
            clear(&recipe.out)?;
        }
        let mut run = Run { recipe, model: &model, trained, places, validation, data_sha256, listener };
        let finished = run.train(mixture)?;
        method::save(recipe, &task, &model)?;
        files::write_json(&recipe.out.join(RECORD), &finished)?;
        Ok(finished)
    });
    if made.is_err() {
        folders.remove_empty();
    }
    made
}

/// A recipe's model, and its data, for whoever steps it in a way of its own.
pub(crate) struct Prepared {
    pub(crate) model: Model,
    /// None where there are no steps.
    pub(crate) mixture: Option<Mixture>,
}

/// Opens what a recipe names.
///
/// # Errors
/// Bad input.
pub(crate) fn prepare(recipe: &Recipe, device: &Device) -> Result<Prepared, Error> {
    let task = recipe.task().map_err(Error::Setting)?;
    let Opened { model, mixture, .. } = Opened::new(recipe, &task, device)?;
    Ok(Prepared { model, mixture })
}

/// What a recipe reads, and makes of it before the first step.
pub(super) struct Opened {
    pub(super) model: Model,
    trained: Trained,
    /// None where there are no steps.
    pub(super) mixture: Option<Mixture>,
    pub(super) validation: Vec<Vec<u32>>,
    data_sha256: String,
}

impl Opened {
    pub(super) fn new(recipe: &Recipe, task: &Task, device: &Device) -> Result<Self, Error> {
        let mixed = recipe.train.precision == Precision::F16;
        if mixed {
            mixed::check(device)?;
        }
        let (mut model, trained) = method::prepare(recipe, task, device)?;
        model.recompute = recipe.train.recompute;
        model.mixed = mixed;
        model.set_trained(trained);
        let data = RunData::read(recipe, &task.tokenizer())?;
        data.check(model.backbone.config.vocabulary)?;
        model.fits(recipe.train.length).map_err(|error| Error::Setting(format!("train.length: {error}")))?;
        let data_sha256 = data.sha256();
        let mixture = match recipe.train.steps {
            0 => None,
            _ => Some(Mixture::new(recipe.seed, recipe.train.length + 1, data.training)?),
        };
        Ok(Self { model, trained, mixture, validation: data.validation, data_sha256 })
    }
}

/// A run in its loop.
struct Run<'a, 'l> {
    recipe: &'a Recipe,
    model: &'a Model,
    trained: Trained,
    /// The devices of a mesh, if it is on one.
    places: Option<Places>,
    validation: Vec<Vec<u32>>,
    data_sha256: String,
    listener: &'a mut Listener<'l>,
}

impl Run<'_, '_> {
    fn train(&mut self, mixture: Option<Mixture>) -> Result<Finished, Error> {
        let recipe = self.recipe;
        let layout = self.places.as_ref().map(Places::summary);
        let frozen_before = frozen::hash(self.model)?;
        // What files are told apart by is what they hold; what must not change is what stands on the device.
        let stands = if self.model.mixed && self.halve()? { frozen::hash(self.model)? } else { frozen_before.clone() };
        let (losses, tokens_seen, seconds, scaling) = match mixture {
            None => {
                recipe.write(&recipe.out.join(RECIPE))?;
                Default::default()
            }
            Some(mixture) => {
                let mut trainer = Trainer::new(self.model, &recipe.train, mixture)?;
                self.steps(&mut trainer, &frozen_before)?;
                let scaling = trainer.scaling();
                if let Some(LossScaling { skipped, scale }) = scaling
                    && 2 * skipped > recipe.train.steps
                {
                    let steps = recipe.train.steps;
                    let _ = (self.listener)(Event::Warn(&format!(
                        "{skipped} of {steps} steps were skipped, for f16 does not hold their gradients at a loss scale of {scale} yet; \
                         train longer, or set train.precision = \"f32\""
                    )));
                }
                (trainer.losses, trainer.tokens_seen, trainer.seconds, scaling)
            }
        };
        if frozen::hash(self.model)? != stands {
            return Err(Error::FrozenChanged(recipe.out.display().to_string()));
        }
        let params_trained = frozen::count(self.model, true);
        let (trained, frozen) = frozen::words(self.model, self.trained);
        Ok(Finished {
            method: kebab(recipe.method).into(),
            out: recipe.out.clone(),
            layout,
            trained,
            frozen,
            params_total: params_trained + frozen::count(self.model, false),
            params_trained,
            steps: recipe.train.steps,
            tokens_seen,
            seconds,
            scaling,
            learning_rate: recipe.train.learning_rate,
            frozen_after: frozen_before.clone(),
            frozen_before,
            losses,
        })
    }

    /// Makes f16 of the frozen matrices that can be; true if there was one.
    fn halve(&mut self) -> Result<bool, Error> {
        let halves = self.model.halve_frozen()?;
        if let Some(first) = halves.kept.first() {
            let (kept, all) = (halves.kept.len(), halves.kept.len() + halves.converted);
            let more = if kept > 1 { ", .." } else { "" };
            let _ = (self.listener)(Event::Warn(&format!(
                "{kept} of {all} frozen matrices stay bf16, for f16 does not hold their numbers ({first}{more}); they multiply slower"
            )));
        }
        Ok(halves.converted > 0)
    }

    /// All steps that are left, from the last checkpoint on if there is one.
    fn steps(&mut self, trainer: &mut Trainer, frozen_sha256: &str) -> Result<(), Error> {
        let recipe = self.recipe;
        let settings = &recipe.checkpoint;
        let checkpoints =
            Checkpoints::new(recipe, &self.model.backbone.config, frozen_sha256.into(), self.data_sha256.clone())?;
        let resumed = checkpoints.resume(trainer, &mut |line| {
            let _ = (self.listener)(Event::Warn(line));
        })?;
        if resumed > 0 {
            let _ = (self.listener)(Event::Say(&format!("going on after step {resumed}")));
        }
        if !recipe.out.join(RECIPE).exists() {
            recipe.write(&recipe.out.join(RECIPE))?;
        }
        if let Some(places) = self.places.take().filter(|_| !trainer.is_finished()) {
            trainer.put_on(places)?;
        }
        let mut metrics = Metrics::open(&recipe.out, resumed)?;
        let due = |step: u64| settings.every > 0 && step.is_multiple_of(settings.every);
        while !trainer.is_finished() {
            let alone = (self.listener)(Event::Begin(trainer.steps() + 1)).is_break();
            let mut stop = alone && self.read(trainer, &mut metrics, 0)?;
            if !stop {
                if let Err(error) = trainer.launch() {
                    // What the step before it found comes first.
                    self.read(trainer, &mut metrics, 0)?;
                    return Err(error);
                }
                // A checkpoint holds what there is after its step, and nothing of the next.
                let wait = alone || due(trainer.steps()) || trainer.is_finished();
                stop = self.read(trainer, &mut metrics, if wait { 0 } else { trainer.most_in_flight() - 1 })?;
            }
            let step = trainer.steps();
            stop &= !trainer.is_finished();
            if !(stop || due(step)) {
                continue;
            }
            trainer.collect()?;
            trainer.check_finite()?;
            let loss = self.validation_loss()?;
            if let Some(loss) = loss {
                metrics.validation(step, loss)?;
            }
            let checkpoint = checkpoints.save(trainer, loss, settings.keep)?;
            if stop {
                return Err(Error::Interrupted { step, checkpoint });
            }
        }
        trainer.collect()?;
        trainer.check_finite()
    }

    /// Reads steps in flight until only `rest` of them are left, or none once the listener breaks; true if it did.
    fn read(&mut self, trainer: &mut Trainer, metrics: &mut Metrics, mut rest: usize) -> Result<bool, Error> {
        let mut stop = false;
        while trainer.in_flight() > rest {
            let Some(report) = trainer.read()? else { break };
            metrics.step(&report, memory::in_use(self.model.backbone.device()))?;
            if (self.listener)(Event::Step(&report)).is_break() {
                (stop, rest) = (true, 0);
            }
        }
        Ok(stop)
    }

    /// Mean loss on the validation windows, if there are any.
    fn validation_loss(&self) -> Result<Option<f64>, Error> {
        if self.validation.is_empty() {
            return Ok(None);
        }
        Ok(Some(evaluate(self.model, &self.validation, false)?.mean_nll))
    }
}

/// An error if there is something in a folder to resume or to replace that no run has left there.
fn refuse_other(out: &Path) -> Result<(), Error> {
    if !out.exists() || is_run(out) {
        return Ok(());
    }
    let mut files = std::fs::read_dir(out).map_err(Error::file(out))?;
    if files.all(|file| file.is_ok_and(|file| folders::is_leftover(&file.file_name()))) {
        return Ok(());
    }
    Err(Error::content(out, "holds no run to resume or replace: it has no recipe.toml; choose another --out DIR"))
}

/// An error if the run in a folder, which has a recipe there, is another: what it left is as that says, so it stays as it is.
fn refuse_other_recipe(recipe: &Recipe) -> Result<(), Error> {
    let path = recipe.out.join(RECIPE);
    if !path.exists() {
        return Ok(());
    }
    let value =
        |recipe: &Recipe| serde_json::to_value(recipe).map_err(|source| Error::Json { path: path.clone(), source });
    match checkpoint::difference("", &value(&Recipe::read(&path, &[])?)?, &value(recipe)?) {
        None => Ok(()),
        Some((key, was, is)) => {
            let what =
                format!("{key} is {was} there and {is} now; resume with the same recipe, or choose another --out");
            Err(Error::content(&path, what))
        }
    }
}

/// Takes away what would make the folder's old run, or what it made, pass for the new one's.
fn clear(out: &Path) -> Result<(), Error> {
    let old = [RECORD, RECIPE, PROFILE, "config.json"].into_iter().chain(method::MARKERS);
    let old = old.map(|name| out.join(name)).chain(super::tensorboard::files(out));
    for file in old.filter(|file| file.exists()) {
        std::fs::remove_file(&file).map_err(Error::file(&file))?;
    }
    for entry in checkpoint::entries(&checkpoint::folder(out))? {
        std::fs::remove_file(&entry.path).map_err(Error::file(&entry.path))?;
    }
    Ok(())
}

/// An error if the optimizer's memory (weights, gradients, two moments), logits and their gradients alone are more than what is
/// free.
fn require_memory(model: &Model, train: &TrainSettings) -> Result<(), Error> {
    if train.steps == 0 {
        return Ok(());
    }
    let windows = (train.batch / train.accumulate.max(1)) as u64;
    let logits = windows * train.length as u64 * model.backbone.config.vocabulary as u64;
    let what = format!("training with {windows} windows of {} tokens at once", train.length);
    memory::require(model.backbone.device(), 4 * frozen::count(model, true) + 2 * logits, &what)
}

/// An error if something that the recipe reads lies in the folder to make, which not even `--force` may write over, or the folder
/// in a text's, which would then be another text.
fn refuse_inputs(recipe: &Recipe) -> Result<(), Error> {
    // It may not be there yet, but the folder above it that is tells where it will be.
    let there = recipe.out.ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Some((folder.canonicalize().ok()?, folder == recipe.out))
    });
    let Some((out, exists)) = there else { return Ok(()) };
    for data in &recipe.data {
        let source = Path::new(&data.source);
        if source.is_dir() && source.canonicalize().is_ok_and(|source| out.starts_with(source)) {
            let what = format!("lies in {}, which this recipe reads; choose another out", source.display());
            return Err(Error::content(&recipe.out, what));
        }
    }
    if !exists {
        return Ok(());
    }
    let tokenizer = recipe.model.as_ref().map(|shape| shape.tokenizer.clone());
    let experts = recipe.compose.iter().flat_map(|compose| compose.experts.iter().cloned());
    let data = recipe.data.iter().filter_map(|data| data.source.parse().ok()).map(|source| match source {
        Source::Path(path) => path,
        Source::JsonLines { file, .. } => file,
    });
    for input in recipe.base.clone().into_iter().chain(tokenizer).chain(experts).chain(data) {
        let what = match input.canonicalize() {
            Ok(whole) if whole == out => "is read by this recipe".into(),
            Ok(whole) if whole.starts_with(&out) => format!("holds {}, which this recipe reads", input.display()),
            _ => continue,
        };
        return Err(Error::content(&recipe.out, what + "; choose another out"));
    }
    Ok(())
}

/// An error for paths that a recipe or a model's file, which are UTF-8, can't name.
fn refuse_strange_paths(recipe: &Recipe) -> Result<(), Error> {
    let whole = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let paths = [recipe.out.clone(), std::env::current_dir().unwrap_or_default()];
    match paths.into_iter().chain(recipe.base.as_ref().map(whole)).find(|path| path.to_str().is_none()) {
        None => Ok(()),
        Some(path) => Err(Error::content(&path, "this path is not UTF-8, which files of models are; rename it")),
    }
}
