//! A run on a mesh: devices step, and what they train is brought together where a checkpoint, an evaluation or the end wants it whole.

use super::footprint::footprint;
use super::layout::Layout;
use super::orders::Order;
use super::problem::Problem;
use super::rank::State;
use super::team::{Here, Stepped, Team, check_threads};
use crate::Error;
use crate::model::{Gate, Model};
use mode_autograd::{AdamW, AdamWSettings, Param};
use mode_tensor::Device;

/// Devices of this process, with ways to a layout's others, which may be in other processes.
pub(crate) struct Wired {
    pub(crate) layout: Layout,
    pub(crate) here: Vec<Here>,
    /// The first device of each other process.
    pub(crate) others: Vec<usize>,
    pub(crate) threads: usize,
}

impl Wired {
    /// All devices of a layout, by the names that `--device` has for them.
    ///
    /// # Errors
    /// A device that there isn't, or another number of them.
    pub(crate) fn local(layout: Layout, names: &[String], threads: usize, open: &Open) -> Result<Self, Error> {
        let here = Here::all(&layout, &devices(names, layout.devices(), open)?, None);
        Ok(Self { layout, here, others: Vec::new(), threads })
    }

    /// Has others hear why this process ends, which it is about to do.
    #[cfg(any(feature = "mpi", feature = "net"))]
    pub(crate) fn give_up(&mut self, why: &Error) {
        self.here.iter_mut().for_each(|here| here.transport.give_up(&why.to_string()));
    }

    /// Tells other processes, if there are any, that the run had ended before.
    ///
    /// # Errors
    /// A device that is gone.
    pub(crate) fn over(mut self) -> Result<(), Error> {
        let tell = |first: &mut Here| {
            self.others.iter().try_for_each(|&other| first.transport.send(other, Order::Over.message()))
        };
        self.here.first_mut().map_or(Ok(()), tell)
    }
}

/// Opens a device by its name.
pub(crate) type Open<'a> = dyn Fn(&str) -> Result<Device, Error> + 'a;

/// How a run comes by the devices of its mesh.
pub(crate) enum Members<'a> {
    /// Those that the recipe names, if it has a mesh, are opened so.
    Named(&'a Open<'a>),
    /// They are open.
    #[cfg_attr(not(any(feature = "mpi", feature = "net")), allow(dead_code))]
    Wired(Wired),
}

/// The devices that a run will be on, which can share it out, before anything is cut for them.
pub(crate) struct Places {
    pub(super) wired: Wired,
    pub(super) problem: Problem,
}

impl Places {
    /// Those of a layout, for this problem.
    ///
    /// # Errors
    /// A layout that can't share it out, or threads that can't be had.
    pub(crate) fn new(wired: Wired, problem: Problem) -> Result<Self, Error> {
        problem.check(&wired.layout)?;
        check_threads(wired.here.len(), wired.threads)?;
        Ok(Self { wired, problem })
    }

    /// Whether other processes do what this one does.
    pub(crate) fn leads(&self) -> bool {
        !self.wired.others.is_empty()
    }

    /// Bytes of main memory that the devices of this process will take: those that compute on the CPU.
    pub(crate) fn bytes(&self, weight_bytes: f64) -> f64 {
        let Wired { layout, here, .. } = &self.wired;
        let cpus = here.iter().filter(|here| !here.device.is_gpu());
        cpus.map(|here| footprint(&self.problem, layout, here.number, weight_bytes).bytes()).sum()
    }

    /// The layout's name, and which meshes it has, in words.
    pub(crate) fn summary(&self) -> String {
        format!("{}: {}", self.wired.layout.name, self.wired.layout.summary())
    }
}

/// The devices of a run.
pub(crate) struct Training {
    team: Team,
}

/// The devices that settings name, for a layout of so many.
///
/// # Errors
/// A device that there isn't, or another number of them.
pub(crate) fn devices(names: &[String], count: usize, open: &Open) -> Result<Vec<Device>, Error> {
    if names.len() != 1 && names.len() != count {
        let found = names.len();
        return Err(Error::Setting(format!(
            "{count} devices are wanted and {found} named; name each in mesh.devices, or one for all of them"
        )));
    }
    (0..count).map(|device| open(&names[device % names.len()])).collect()
}

impl Training {
    /// Puts a model on a mesh, with `optimizer`'s moments if it has taken steps.
    ///
    /// # Errors
    /// What a device reports.
    pub(crate) fn new(
        Places { wired: Wired { layout, here, others, threads }, problem }: Places,
        settings: AdamWSettings,
        model: &Model,
        optimizer: &AdamW,
    ) -> Result<Self, Error> {
        let team = Team::of(model, &problem, &layout, here, settings, threads)?.leading(others);
        team.note_frozen()?;
        if optimizer.steps() > 0 {
            let mut given = team.give(None)?;
            team.parts.fill(&mut given, optimizer)?;
            team.take_over(given, optimizer.steps())?;
        }
        Ok(Self { team })
    }

    /// One step.
    ///
    /// # Errors
    /// As [`Team::step`].
    pub(crate) fn step(&mut self, windows: Vec<Vec<u32>>, rate: f64) -> Result<Stepped, Error> {
        self.team.step(windows, rate)
    }

    /// The mean loss on windows as long as a step's, as many as there are.
    ///
    /// # Errors
    /// As [`Team::score`].
    pub(crate) fn score(&mut self, windows: &[Vec<u32>]) -> Result<f64, Error> {
        self.team.score(windows)
    }

    /// Brings the trained weights and moments of all devices to `optimizer`, whose parameters are the whole model's, but for those of
    /// private experts, which their owners save as those of step `saved` if there is one.
    ///
    /// # Errors
    /// What a device reports.
    pub(crate) fn collect(&self, optimizer: &AdamW, saved: Option<u64>) -> Result<(), Error> {
        self.team.parts.collect(self.team.give(saved)?, optimizer)
    }

    /// Sees that what is frozen is as it was, and has owners of private experts write what they have trained, beside these gates.
    ///
    /// # Errors
    /// A device whose frozen weights are others, or what one reports.
    pub(crate) fn finish(&self, gates: &[Gate]) -> Result<(), Error> {
        let state = |param: &Param| {
            let value = param.value().to_vec()?;
            let (m, v) = (vec![0.0; value.len()], vec![0.0; value.len()]);
            Ok(State { name: param.name().into(), shape: param.value().shape().to_vec(), value, m, v })
        };
        let states = gates.iter().flat_map(Gate::params).map(state).collect::<Result<_, Error>>()?;
        self.team.finish(states)
    }
}
