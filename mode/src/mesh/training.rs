//! A run on a mesh: devices step, and what they train is brought together where a checkpoint, an evaluation or the end wants it whole.

use super::layout::Layout;
use super::mesh::Axis;
use super::problem::Problem;
use super::rank::State;
use super::shard::Cut;
use super::team::{Here, Stepped, Team, try_threads};
use crate::Error;
use crate::model::Model;
use mode_autograd::{AdamW, AdamWSettings};
use mode_tensor::Device;
use std::collections::HashMap;

/// Devices of this process, the first of a layout among them, with ways to its others, which may be in other processes.
pub(crate) struct Wired {
    pub(crate) layout: Layout,
    pub(crate) here: Vec<Here>,
    pub(crate) threads: usize,
}

impl Wired {
    /// All devices of a layout, by the names that `--device` has for them.
    ///
    /// # Errors
    /// A device that there isn't, or another number of them.
    pub(crate) fn local(layout: Layout, names: &[String], threads: usize, open: &Open) -> Result<Self, Error> {
        let here = Here::all(&layout, &devices(names, layout.devices(), open)?, None);
        Ok(Self { layout, here, threads })
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
    wired: Wired,
    problem: Problem,
}

impl Places {
    /// Those of a layout, for this problem.
    ///
    /// # Errors
    /// A layout that can't share it out, or threads that can't be had.
    pub(crate) fn new(wired: Wired, problem: Problem) -> Result<Self, Error> {
        let layout = &wired.layout;
        problem.check(layout).map_err(|what| Error::Setting(format!("layout {}: {what}", layout.name)))?;
        try_threads(wired.here.len(), wired.threads)?;
        Ok(Self { wired, problem })
    }

    /// The layout's name, and which meshes it has, in words.
    pub(crate) fn summary(&self) -> String {
        format!("{}: {}", self.wired.layout.name, self.wired.layout.summary())
    }
}

/// The devices of a run, and how to cut for them and to put together again.
pub(crate) struct Training {
    team: Team,
    layout: Layout,
    problem: Problem,
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
        Places { wired: Wired { layout, here, threads }, problem }: Places,
        settings: AdamWSettings,
        model: &Model,
        optimizer: &AdamW,
    ) -> Result<Self, Error> {
        let team = Team::of(model, &problem, &layout, here, settings, threads)?.leading();
        let training = Self { team, layout, problem };
        if optimizer.steps() > 0 {
            training.spread(optimizer)?;
        }
        Ok(training)
    }

    /// One step.
    ///
    /// # Errors
    /// As [`Team::step`].
    pub(crate) fn step(&mut self, windows: Vec<Vec<u32>>, rate: f64) -> Result<Stepped, Error> {
        self.team.step(windows, rate)
    }

    /// Which rows and columns of a whole parameter a device's part of it has.
    ///
    /// # Errors
    /// A part that can't be one of it.
    fn cut(&self, device: usize, name: &str, whole: &[usize], state: &State) -> Result<Cut, Error> {
        let mesh = self.layout.mesh_of(device);
        let cut =
            |part| Cut::new(&self.problem.config, name, whole, part, mesh.tensor, mesh.position(device, Axis::Tensor));
        let fits = state.shape.len() == whole.len() && state.shape.iter().zip(whole).all(|(part, whole)| part <= whole);
        let cut = fits.then(|| cut(&state.shape)).filter(|cut| cut.len() == state.value.len());
        cut.ok_or_else(|| Error::Peer {
            device: format!("device {device}"),
            what: format!("has sent another {name} than its own"),
        })
    }

    /// Brings the trained weights and moments of all devices to `optimizer`, whose parameters are the whole model's.
    ///
    /// # Errors
    /// What a device reports.
    pub(crate) fn collect(&self, optimizer: &AdamW) -> Result<(), Error> {
        let mut parts: HashMap<String, Vec<(usize, State)>> = HashMap::new();
        for (device, states) in self.team.give()? {
            states.into_iter().for_each(|state| parts.entry(state.name.clone()).or_default().push((device, state)));
        }
        for (param, m, v) in optimizer.states() {
            let value = param.value();
            let mut whole = [vec![0.0; value.len()], vec![0.0; value.len()], vec![0.0; value.len()]];
            let mut covered = vec![false; value.len()];
            for (device, state) in parts.remove(param.name()).unwrap_or_default() {
                let cut = self.cut(device, param.name(), value.shape(), &state)?;
                for (whole, part) in whole.iter_mut().zip([&state.value, &state.m, &state.v]) {
                    cut.put(part, whole);
                }
                cut.spans().flatten().for_each(|element| covered[element] = true);
            }
            if covered.contains(&false) {
                return Err(Error::Peer {
                    device: "a device".into(),
                    what: format!("has not given all of {}", param.name()),
                });
            }
            for (tensor, whole) in [&value, m, v].into_iter().zip(&whole) {
                tensor.write(whole)?;
            }
        }
        Ok(())
    }

    /// Hands all devices their parts of weights and moments.
    fn spread(&self, optimizer: &AdamW) -> Result<(), Error> {
        let whole: HashMap<String, _> =
            optimizer.states().map(|(param, m, v)| (param.name().into(), (param, m, v))).collect();
        let mut all = self.team.give()?;
        for (device, states) in &mut all {
            for state in states {
                let Some((param, m, v)) = whole.get(&state.name) else { continue };
                let cut = self.cut(*device, &state.name, param.value().shape(), state)?;
                state.value = cut.take(&param.value().to_vec()?);
                state.m = cut.take(&m.to_vec()?);
                state.v = cut.take(&v.to_vec()?);
            }
        }
        self.team.take_over(all, optimizer.steps())
    }
}
