//! A run's process without the first device: its devices do what that orders. Experts that are private to it are opened, saved and written
//! here alone: its folder gets checkpoints of the steps of which the first device's process has some, and in the end the experts.

use super::checkpoint::{self, PRIVATE, entries, open, place};
use super::method;
use super::out;
use super::recipe::{Recipe, Task};
use super::record::RECIPE;
use super::run::{Existing, open_model, require_memory};
use super::trainer::check_finite;
use crate::Error;
use crate::mesh::{Connected, Follower, FollowerEvent, Places};
use crate::model::{EXPERT_WEIGHTS, Expert, Gate, Held, Model, base_sha256, save_expert};
use mode_autograd::AdamW;
use mode_tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// What a private checkpoint holds beside tensors.
#[derive(Serialize, Deserialize)]
struct Note {
    step: u64,
    /// The recipe.
    recipe: Value,
    /// Hash of the base that the experts were trained beside.
    base_sha256: String,
}

/// Does what the first device orders to the end; the steps that the run has got to, or none if it had ended before.
///
/// # Errors
/// Bad input, what a device reports, or a first device that ends before the last step.
pub(crate) fn follow(recipe: &Recipe, mut connected: Connected, existing: Existing) -> Result<Option<u64>, Error> {
    let task = recipe.task().map_err(Error::Setting)?;
    let (layout, here) = (&connected.layout, connected.here.iter().map(|here| here.number).collect::<Vec<_>>());
    let experts = recipe.experts()?;
    let mine: Vec<usize> =
        (0..experts.len()).filter(|&expert| layout.is_among(layout.experts[expert], &here)).collect();
    let private: Vec<usize> = mine.iter().copied().filter(|&expert| experts[expert].private).collect();
    let checked = if private.is_empty() { Ok(()) } else { out::check(recipe, existing) };
    let held = Held {
        backbone: layout.is_among(0, &here),
        expert: &|name| mine.iter().any(|&expert| experts[expert].name == name),
    };
    let opened = checked.and_then(|()| open_model(recipe, &task, &Device::cpu(), held));
    let (model, _) = opened.inspect_err(|error| connected.give_up(error))?;
    let places = Places::new(connected, recipe.problem(&model)?)?;
    let own = private.iter().flat_map(|&expert| model.experts[expert].params()).filter(|param| param.is_trained());
    require_memory(&model, &recipe.train, own.map(|param| param.value().len() as u64).sum(), Some(&places))?;
    let mut follower = Follower::new(places, recipe.train.adamw(), &model, &private, recipe.train.steps)?;
    let steps = match private.is_empty() {
        true => obey(&mut follower, None),
        false => out::make(recipe, existing, || obey(&mut follower, Some(Owner::new(recipe, &task, &model, private)?))),
    };
    let steps = steps.inspect_err(|error| follower.give_up(error))?;
    drop(follower);
    match (steps, recipe.train.steps) {
        (Some(steps), wanted) if steps < wanted => Err(Error::Peer {
            device: "the first device's process".into(),
            what: format!("has ended the run after step {steps} of {wanted}; go on with --resume"),
        }),
        _ => Ok(steps),
    }
}

/// Carries out what is ordered until nothing more is.
fn obey(follower: &mut Follower, owner: Option<Owner>) -> Result<Option<u64>, Error> {
    loop {
        match follower.next()? {
            FollowerEvent::Save(step) => {
                if let Some(owner) = &owner {
                    owner.save(follower, step)?;
                }
                follower.give()?;
            }
            FollowerEvent::Load(step) => {
                if let Some(owner) = &owner {
                    owner.load(step)?;
                }
                follower.take_over(owner.as_ref().and_then(|owner| owner.optimizer.as_ref()))?;
            }
            FollowerEvent::Finish(gates) => {
                if let Some(owner) = &owner {
                    owner.write(follower, &gates)?;
                }
                follower.finished()?;
            }
            FollowerEvent::End(steps) => return Ok(Some(steps)),
            FollowerEvent::Over => return owner.as_ref().map_or(Ok(()), Owner::check_written).map(|()| None),
        }
    }
}

/// Whose experts stay in this process.
struct Owner<'a> {
    recipe: &'a Recipe,
    task: &'a Task<'a>,
    model: &'a Model,
    /// The numbers of its experts.
    experts: Vec<usize>,
    /// Of what is trained of them, whole.
    optimizer: Option<AdamW>,
    note: Note,
}

impl<'a> Owner<'a> {
    fn new(recipe: &'a Recipe, task: &'a Task<'a>, model: &'a Model, experts: Vec<usize>) -> Result<Self, Error> {
        let params = experts.iter().flat_map(|&expert| model.experts[expert].params());
        let trained: Vec<_> = params.filter(|param| param.is_trained()).collect();
        let optimizer = match trained.is_empty() {
            true => None,
            false => Some(AdamW::new(trained, recipe.train.adamw())?),
        };
        let file = recipe.out.join(RECIPE);
        let value = serde_json::to_value(recipe).map_err(|source| Error::Json { path: file.clone(), source })?;
        if !file.exists() {
            recipe.write(&file)?;
        }
        let base_sha256 = recipe.base.as_deref().map_or_else(|| Ok(String::new()), base_sha256)?;
        let note = Note { step: 0, recipe: value, base_sha256 };
        Ok(Self { recipe, task, model, experts, optimizer, note })
    }

    /// Saves what it has trained; one more than the first device's process keeps, whose last one may be older.
    fn save(&self, follower: &Follower, step: u64) -> Result<(), Error> {
        let Some(optimizer) = &self.optimizer else { return Ok(()) };
        self.collect(follower, optimizer, step)?;
        let tensors = checkpoint::tensors(optimizer);
        let note = Note { step, recipe: self.note.recipe.clone(), base_sha256: self.note.base_sha256.clone() };
        let folder = checkpoint::folder(&self.recipe.out);
        let placed = place(&folder, step, &tensors, PRIVATE, &note)?;
        // Later ones are of before the run went back: it makes them anew, but no other process has a say in whether the old ones go.
        checkpoint::set_aside(&folder, &placed)?;
        checkpoint::prune(&entries(&folder)?, self.recipe.checkpoint.keep.max(1) + 1, None)
    }

    fn collect(&self, follower: &Follower, optimizer: &AdamW, step: u64) -> Result<(), Error> {
        follower.collect(optimizer)?;
        check_finite(optimizer, step)
    }

    /// What it had trained after this step.
    fn load(&self, step: u64) -> Result<(), Error> {
        let Some(optimizer) = &self.optimizer else { return Ok(()) };
        let folder = checkpoint::folder(&self.recipe.out);
        let Some(entry) = entries(&folder)?.into_iter().rev().find(|entry| entry.step == step) else {
            let what = format!("holds no checkpoint of step {step}, from which the first device's process goes on");
            return Err(Error::content(
                &folder,
                what + "; give back one that ends in .before, or start both anew with --force",
            ));
        };
        let tensors = open(&entry.path)?;
        let wrong = |what: &str| Error::content(&entry.path, what);
        let note = tensors.note(PRIVATE)?.ok_or_else(|| wrong("is no checkpoint of private experts"))?;
        let note: Note =
            serde_json::from_str(&note).map_err(|source| Error::Json { path: entry.path.clone(), source })?;
        if note.base_sha256 != self.note.base_sha256 {
            return Err(wrong("the base is not the one that it was made beside; give that back"));
        }
        if let Some((key, was, is)) = checkpoint::difference("", &note.recipe, &self.note.recipe) {
            return Err(wrong(&format!("{key} was {was} and is {is}; resume with the same recipe")));
        }
        checkpoint::restore_states(optimizer, &tensors)
    }

    /// Writes its experts: that of stage 1 with its gates, those of stage 2 as a composed model has them.
    fn write(&self, follower: &Follower, gates: &[(String, Vec<usize>, Vec<f32>)]) -> Result<(), Error> {
        if let Some(optimizer) = &self.optimizer {
            self.collect(follower, optimizer, self.recipe.train.steps)?;
        }
        if matches!(self.task, Task::Expert { .. }) {
            for param in self.model.gates.iter().flat_map(Gate::params) {
                let gate = gates.iter().find(|(name, shape, _)| name == param.name() && shape == param.value().shape());
                let Some((_, _, values)) = gate else {
                    let (device, name) = ("device 0".into(), param.name());
                    return Err(Error::Peer {
                        device,
                        what: format!("has not sent {name} {:?}", param.value().shape()),
                    });
                };
                param.value().write(values)?;
            }
            return method::save(self.recipe, self.task, self.model);
        }
        for (expert, folder) in self.folders() {
            std::fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
            save_expert(expert, &folder, &[])?;
        }
        Ok(())
    }

    /// Its experts, each with the folder that it is written to.
    fn folders(&self) -> impl Iterator<Item = (&Expert, PathBuf)> {
        let folder = |expert: &Expert| match self.task {
            Task::Compose { .. } => self.recipe.out.join("experts").join(&expert.info.name),
            _ => self.recipe.out.clone(),
        };
        self.experts.iter().map(|&expert| &self.model.experts[expert]).map(move |expert| (expert, folder(expert)))
    }

    /// An error unless its experts were written when the run ended.
    fn check_written(&self) -> Result<(), Error> {
        match self.folders().find(|(_, folder)| !folder.join(EXPERT_WEIGHTS).exists()) {
            None => Ok(()),
            Some((expert, folder)) => Err(Error::content(
                &folder,
                format!(
                    "lacks expert '{}', and yet the first device's process says that the run has ended; remove run.json from its \
                     folder, and resume both",
                    expert.info.name
                ),
            )),
        }
    }
}
