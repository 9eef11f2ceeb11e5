//! Layouts side by side: the same steps from the same weights on each, in turns, and what they took.

use crate::Error;
use crate::mesh::{
    EmulatedLink, Here, Layout, Options, Problem, Schedule, Team, TeamStep, Traced, check_threads, plan,
};
use crate::model::{Held, Model};
use crate::train::{Prepared, Recipe, TrainSettings};
use mode_tensor::Device;
use serde::Serialize;

/// What a layout's steps took.
#[derive(Debug, Clone, Serialize)]
pub struct MeasuredLayout {
    /// Which layout.
    pub layout: String,
    /// How many devices it has.
    pub devices: usize,
    /// The loss before each step.
    pub losses: Vec<f32>,
    /// Seconds of each round's fastest step, of all but the first.
    pub rounds: Vec<f64>,
    /// Bytes that go between devices of one mesh in a step.
    pub bytes_within: u64,
    /// Bytes that go from mesh to mesh in a step.
    pub bytes_between: u64,
    /// The share of the step in `traced` in which each device computes.
    pub busy: Vec<f64>,
    /// The fastest step: its schedule, and when each device's entries began and ended, in seconds. Where there are GPUs it is another, in
    /// which they were waited for at each entry's end and which took longer for it.
    #[serde(skip)]
    pub traced: Option<Traced>,
}

impl MeasuredLayout {
    /// Seconds of the fastest step.
    pub fn seconds(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// How far apart the rounds are: the slowest over the fastest, less one.
    pub fn spread(&self) -> f64 {
        self.rounds.iter().copied().fold(0.0, f64::max) / self.seconds() - 1.0
    }

    /// The share of that step in which devices do nothing but wait, of all of them.
    pub fn idle(&self) -> f64 {
        1.0 - self.busy.iter().sum::<f64>() / self.busy.len() as f64
    }
}

/// A recipe's model and steps, to be put on layouts.
pub struct MeshBench {
    model: Model,
    problem: Problem,
    /// The windows of each step, and its learning rate; no windows where nobody reads them.
    batches: Vec<(Vec<Vec<u32>>, f64)>,
    train: TrainSettings,
    experts: Vec<String>,
}

impl MeshBench {
    /// Opens what a recipe names.
    ///
    /// # Errors
    /// Bad input, a method that trains no experts, or a private expert.
    pub fn new(recipe: &Recipe) -> Result<Self, Error> {
        recipe.refuse_private()?;
        Self::open(recipe, Held::ALL)
    }

    /// The same of what is held; data are read where the backbone is.
    pub(crate) fn open(recipe: &Recipe, held: Held) -> Result<Self, Error> {
        if recipe.train.steps == 0 {
            return Err(Error::Setting("train.steps is 0; a step or more is needed".into()));
        }
        let mut read = recipe.clone();
        if !held.backbone {
            (read.data, read.train.steps) = (Vec::new(), 0);
        }
        let Prepared { model, mut mixture } = crate::train::prepare(&read, &Device::cpu(), held)?;
        let problem = recipe.problem(&model)?;
        let batch = |step| {
            let windows = mixture.as_mut().map(|mixture| mixture.batch(recipe.train.batch));
            (windows.unwrap_or_default(), recipe.train.rate(step))
        };
        let batches = (1..=recipe.train.steps).map(batch).collect();
        let experts = model.expert_names();
        Ok(Self { model, problem, batches, train: recipe.train.clone(), experts })
    }

    /// The same, but gradients of frozen weights are computed as well.
    pub fn unfrozen(mut self) -> Self {
        self.problem.computes_frozen = true;
        self
    }

    /// The names of its experts, in gate order.
    pub fn experts(&self) -> &[String] {
        &self.experts
    }

    /// How many steps it takes.
    pub fn steps(&self) -> usize {
        self.batches.len()
    }

    /// What it is in numbers.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Takes the recipe's steps on each layout, `rounds` times in turns. `devices` gives the devices of a layout of so many.
    ///
    /// # Errors
    /// A layout that does not fit, or what devices report.
    pub fn measure(
        &self,
        layouts: &[Layout],
        rounds: usize,
        devices: &dyn Fn(usize) -> Result<Vec<Device>, Error>,
        options: &Options,
    ) -> Result<Vec<MeasuredLayout>, Error> {
        let mut all: Vec<MeasuredLayout> = Vec::new();
        // All of them, before the first takes its time.
        for layout in layouts {
            self.problem.check(layout)?;
            check_threads(layout.devices(), options.threads)?;
            options.link.map_or(Ok(()), |link| check_link(link, layout, &plan(&self.problem, layout)))?;
        }
        for round in 0..rounds {
            for (i, layout) in layouts.iter().enumerate() {
                let here = Here::all(layout, &devices(layout.devices())?, options.link);
                let found = self.round(layout, here, options.threads)?;
                match all.get_mut(i).filter(|_| round > 0) {
                    None => all.push(found),
                    Some(before) => before.add(found),
                }
            }
        }
        Ok(all)
    }

    /// Takes the recipe's steps on a layout, and tells of each when its entries began and ended; GPUs are waited for at each end.
    ///
    /// # Errors
    /// As [`MeshBench::measure`].
    pub fn trace(&self, layout: &Layout, devices: &[Device], options: &Options) -> Result<Vec<Traced>, Error> {
        let mut team = Team::new(&self.model, &self.problem, layout, devices, self.train.adamw(), options)?;
        team.wait_at_entries()?;
        let schedule = team.schedule().clone();
        let step = |(windows, rate): &(Vec<Vec<u32>>, f64)| {
            let TeamStep { spans, seconds, .. } = team.step_unchecked(windows.clone(), *rate)?;
            Ok(Traced { schedule: schedule.clone(), spans, seconds })
        };
        self.batches.iter().map(step).collect()
    }

    /// Bytes of a weight of the frozen backbone.
    pub fn weight_bytes(&self) -> f64 {
        self.model.backbone.weight_bytes()
    }

    /// Takes the recipe's steps on the devices of this process, of a layout that is known to share out the problem, beside others in which the layout's other devices do. What is found of
    /// all devices the first device's process alone has.
    pub(crate) fn round(&self, layout: &Layout, here: Vec<Here>, threads: usize) -> Result<MeasuredLayout, Error> {
        let gpus: Vec<usize> = here.iter().filter(|here| here.device.is_gpu()).map(|here| here.number).collect();
        let alone = here.len() == layout.devices();
        let mut team = Team::of(&self.model, &self.problem, layout, here, self.train.adamw(), threads)?;
        let (mut losses, mut fastest) = (Vec::new(), None::<(usize, TeamStep)>);
        // Seconds that each device of this process computes in each step.
        let mut computing = vec![Vec::new(); layout.devices()];
        for (number, (windows, rate)) in self.batches.iter().enumerate() {
            let stepped = team.step_unchecked(windows.clone(), *rate)?;
            let found = crate::train::Stepped { loss: stepped.loss, gradient_norm: stepped.gradient_norm };
            found.check_finite(number as u64 + 1)?;
            losses.push(stepped.loss);
            note(&mut computing, &team, &stepped);
            // The first takes memory.
            let first = number == 0 && self.batches.len() > 1;
            if !first && fastest.as_ref().is_none_or(|(_, before)| stepped.seconds < before.seconds) {
                fastest = Some((number, stepped));
            }
        }
        let Some((number, fastest)) = fastest else { return Err(Error::Setting("no step was taken".into())) };
        let (seconds, mut traced) = (fastest.seconds, (number, fastest));
        // One more step tells when GPUs are at work. What other processes have is not known here, and all take as many steps.
        if !alone || !gpus.is_empty() {
            let any = team.gather(|device| vec![f32::from(u8::from(gpus.contains(&device)))])?;
            team.wait_at_entries()?;
            let (windows, rate) = &self.batches[self.batches.len() - 1];
            let waited = team.step_unchecked(windows.clone(), *rate)?;
            note(&mut computing, &team, &waited);
            if any.iter().flatten().any(|&gpu| gpu > 0.0) {
                traced = (self.batches.len(), waited);
            }
        }
        let computing = team.gather(|device| computing[device].clone())?;
        let (number, TeamStep { spans, seconds: whole, .. }) = traced;
        let busy = computing.iter().map(|seconds| f64::from(seconds[number]) / whole).collect();
        let schedule = team.schedule().clone();
        let [mut within, mut between] = [0; 2];
        for device in 0..layout.devices() {
            let [in_mesh, across] = schedule.bytes_sent(layout, device);
            (within, between) = (within + in_mesh, between + across);
        }
        Ok(MeasuredLayout {
            layout: layout.name.clone(),
            devices: layout.devices(),
            losses,
            rounds: vec![seconds],
            bytes_within: within,
            bytes_between: between,
            busy,
            traced: Some(Traced { schedule, spans, seconds: whole }),
        })
    }
}

/// Takes note of the seconds that each device of this process computed in a step.
fn note(computing: &mut [Vec<f32>], team: &Team, stepped: &TeamStep) {
    for (device, spans) in stepped.spans.iter().enumerate() {
        computing[device].push(team.schedule().computing(device, spans) as f32);
    }
}

impl MeasuredLayout {
    /// Takes note of another round.
    fn add(&mut self, other: Self) {
        if other.seconds() < self.seconds() {
            (self.busy, self.traced) = (other.busy, other.traced);
        }
        self.rounds.extend(other.rounds);
    }
}

/// Seconds that a device's bytes of a step may take over an emulated link: whoever waits longer has mistaken the unit.
const MOST_SECONDS: f64 = 600.0;

/// An error if a link is too slow for what a device of a layout sends in a step.
fn check_link(link: EmulatedLink, layout: &Layout, schedule: &Schedule) -> Result<(), Error> {
    let sent = |device| schedule.bytes_sent(layout, device).iter().sum::<u64>();
    let bytes = (0..schedule.devices).map(sent).max().unwrap_or(0);
    let seconds = bytes as f64 / link.bytes_per_second;
    if seconds <= MOST_SECONDS {
        return Ok(());
    }
    let what = format!(
        "a device sends {bytes} bytes in a step, {seconds:.0} s at {} bytes a second; give {:.0} or more",
        link.bytes_per_second,
        (bytes as f64 / MOST_SECONDS).ceil()
    );
    Err(Error::Layout { layout: layout.name.clone(), what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{Action, Entry};

    #[test]
    fn a_link_that_nobody_waits_for_is_refused_and_the_least_it_names_is_not() -> Result<(), Error> {
        let action = Action::Send { to: 1, rows: 0..1_000 };
        let entry =
            Entry { device: 0, microbatch: 0, action, reads: Vec::new(), writes: Vec::new(), frees: Vec::new() };
        let schedule = Schedule { devices: 2, width: 200, entries: vec![entry] };
        let link = |bytes_per_second| EmulatedLink { bytes_per_second, latency: 0.0 };
        let layout = Layout::named("1+1", 1)?;
        let error = check_link(link(1.0), &layout, &schedule).expect_err("nine days").to_string();
        let what = "layout 1+1: a device sends 800000 bytes in a step, 800000 s at 1 bytes a second; give 1334 or more";
        assert_eq!(error, what);
        assert!(check_link(link(1_333.0), &layout, &schedule).is_err());
        check_link(link(1_334.0), &layout, &schedule)
    }
}
