//! A run: a recipe opened, trained, saved now and then, and written out.

use super::checkpoint::Checkpoints;
use super::data::RunData;
use super::metrics::Metrics;
use super::recipe::{Recipe, Task, kebab};
use super::record::{Finished, RECIPE, RECORD};
use super::settings::{Precision, TrainSettings};
use super::trainer::{StepReport, Trainer};
use super::{LossScaling, frozen, method, mixed, out};
use crate::data::Mixture;
use crate::mesh::{Connected, Layout, Leader, Members, Places};
use crate::model::{Held, Model, Trained};
use crate::{Error, files, memory};
use mode_autograd::AdamW;
use mode_tensor::Device;
use std::ops::ControlFlow;

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
    run_on(recipe, device, Members::Named(&open), existing, listener)
}

/// The same, with these devices for its mesh, of which some may be in other processes.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_on(
    recipe: &Recipe,
    device: &Device,
    members: Members,
    existing: Existing,
    listener: &mut Listener,
) -> Result<Finished, Error> {
    let task = recipe.task().map_err(Error::Setting)?;
    let private = match &members {
        Members::Named(_) => recipe.refuse_private().map(|()| Vec::new())?,
        Members::Connected(_) => recipe.private()?,
    };
    out::check(recipe, existing)?;
    if existing == Existing::Resume && recipe.out.join(RECORD).exists() {
        if let Members::Connected(connected) = members {
            connected.over()?;
        }
        let _ = listener(Event::Say(&format!("{}: the run has ended already", recipe.out.display())));
        return files::read_json(&recipe.out.join(RECORD));
    }
    if recipe.train.precision == Precision::F16
        && let Some(line) = mixed::check(device)?
    {
        let _ = listener(Event::Warn(line));
    }
    let held = Held { expert: &|name| !private.iter().any(|other| other == name), ..Held::ALL };
    let Opened { model, trained, mixture, validation, data_sha256 } = Opened::new(recipe, &task, device, held)?;
    let connected = match (members, &recipe.mesh) {
        (Members::Connected(connected), _) => Some(connected),
        (Members::Named(open), Some(mesh)) => {
            let layout = Layout::read(&mesh.layout, &model.expert_names())?;
            Some(Connected::local(layout, &mesh.devices, mesh.threads, open)?)
        }
        (Members::Named(_), None) => None,
    };
    let places = connected.map(|connected| Places::new(connected, recipe.problem(&model)?)).transpose()?;
    require_memory(&model, &recipe.train, frozen::count(&model, true), places.as_ref())?;
    if let Some(places) = &places {
        let _ = listener(Event::Say(&format!("layout {}", places.summary())));
    }

    out::make(recipe, existing, || {
        let mut run = Run { recipe, model: &model, trained, places, validation, data_sha256, listener };
        let finished = run.train(mixture)?;
        method::save(recipe, &task, &model)?;
        files::write_json(&recipe.out.join(RECORD), &finished)?;
        Ok(finished)
    })
}

/// A recipe's model, and its data, for whoever steps it in a way of its own.
pub(crate) struct Prepared {
    pub(crate) model: Model,
    /// None where there are no steps.
    pub(crate) mixture: Option<Mixture>,
}

/// Opens what is held of what a recipe names.
///
/// # Errors
/// Bad input.
pub(crate) fn prepare(recipe: &Recipe, device: &Device, held: Held) -> Result<Prepared, Error> {
    let task = recipe.task().map_err(Error::Setting)?;
    let Opened { model, mixture, .. } = Opened::new(recipe, &task, device, held)?;
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
    pub(super) fn new(recipe: &Recipe, task: &Task, device: &Device, held: Held) -> Result<Self, Error> {
        let (model, trained) = open_model(recipe, task, device, held)?;
        let data = RunData::read(recipe, &task.tokenizer())?;
        data.check(model.backbone.config.vocabulary)?;
        model.fits(recipe.train.length).map_err(|error| Error::Setting(format!("train.length: {error}")))?;
        let data_sha256 = data.sha256();
        let mixture = match recipe.train.steps {
            0 => None,
            _ => {
                let all = Mixture::new(recipe.seed, recipe.train.length + 1, data.training)?;
                Some(all.of_examples(recipe.data.iter().map(|data| data.examples)))
            }
        };
        Ok(Self { model, trained, mixture, validation: data.validation, data_sha256 })
    }
}

/// Opens what is held of a recipe's model, as its steps want it.
pub(super) fn open_model(recipe: &Recipe, task: &Task, device: &Device, held: Held) -> Result<(Model, Trained), Error> {
    let mixed = recipe.train.precision == Precision::F16;
    if mixed {
        mixed::check(device)?;
    }
    let (mut model, trained) = method::prepare(recipe, task, device, held)?;
    model.recompute = recipe.train.recompute;
    model.mixed = mixed;
    model.set_trained(trained);
    Ok((model, trained))
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
                if let Some(places) = self.places.take().filter(Places::leads) {
                    let (settings, model) = (recipe.train.adamw(), self.model);
                    let optimizer = AdamW::new(model.params(), settings)?;
                    Leader::new(places, settings, model, &optimizer)?.finish(&model.gates)?;
                }
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
        // Other processes may have to write what they keep even where no step is left.
        if let Some(places) = self.places.take().filter(|places| places.leads() || !trainer.is_finished()) {
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
            trainer.collect(true)?;
            trainer.check_finite()?;
            let loss = self.validation_loss(trainer)?;
            if let Some(loss) = loss {
                metrics.validation(step, loss)?;
            }
            let checkpoint = checkpoints.save(trainer, loss, settings.keep)?;
            if stop {
                return Err(Error::Interrupted { step, checkpoint });
            }
        }
        trainer.collect(false)?;
        trainer.check_finite()?;
        trainer.finish()
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
    fn validation_loss(&self, trainer: &mut Trainer) -> Result<Option<f64>, Error> {
        if self.validation.is_empty() {
            return Ok(None);
        }
        trainer.score(&self.validation).map(Some)
    }
}

/// An error if more is needed than what is free: on one device for the memory of an optimizer of `trained` numbers (weights, gradients, two
/// moments), logits and their gradients alone.
pub(super) fn require_memory(
    model: &Model,
    train: &TrainSettings,
    trained: u64,
    places: Option<&Places>,
) -> Result<(), Error> {
    if train.steps == 0 {
        return Ok(());
    }
    let windows = (train.batch / train.accumulate.max(1)) as u64;
    let what = format!("training with {windows} windows of {} tokens at once", train.length);
    match places {
        // The model is here already, in main memory; its moments are to come, and what the devices take.
        Some(places) => {
            let devices = places.bytes(model.backbone.weight_bytes()) / size_of::<f32>() as f64;
            memory::require(&Device::cpu(), 2 * trained + devices as u64, &what)
        }
        None => {
            let logits = windows * train.length as u64 * model.backbone.config.vocabulary as u64;
            memory::require(model.backbone.device(), 4 * trained + 2 * logits, &what)
        }
    }
}
