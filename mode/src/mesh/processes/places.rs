//! What a process has of a layout's devices, and how it comes by them, before anything is cut for them.

use super::orders::Order;
use crate::Error;
use crate::mesh::plan::{Layout, Problem, footprint};
use crate::mesh::run::{Here, check_threads};
use mode_tensor::Device;

/// Devices of this process, with ways to a layout's others, which may be in other processes.
pub(crate) struct Connected {
    pub(crate) layout: Layout,
    pub(crate) here: Vec<Here>,
    /// The first device of each other process.
    pub(crate) others: Vec<usize>,
    pub(crate) threads: usize,
}

impl Connected {
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
    Connected(Connected),
}

/// The devices that a run will be on, which can share it out, before anything is cut for them.
pub(crate) struct Places {
    pub(super) connected: Connected,
    pub(super) problem: Problem,
}

impl Places {
    /// Those of a layout, for this problem.
    ///
    /// # Errors
    /// A layout that can't share it out, or threads that can't be had.
    pub(crate) fn new(connected: Connected, problem: Problem) -> Result<Self, Error> {
        problem.check(&connected.layout)?;
        check_threads(connected.here.len(), connected.threads)?;
        Ok(Self { connected, problem })
    }

    /// Whether other processes do what this one does.
    pub(crate) fn leads(&self) -> bool {
        !self.connected.others.is_empty()
    }

    /// Bytes of main memory that the devices of this process will take: those that compute on the CPU.
    pub(crate) fn bytes(&self, weight_bytes: f64) -> f64 {
        let Connected { layout, here, .. } = &self.connected;
        let cpus = here.iter().filter(|here| !here.device.is_gpu());
        cpus.map(|here| footprint(&self.problem, layout, here.number, weight_bytes).bytes()).sum()
    }

    /// The layout's name, and which meshes it has, in words.
    pub(crate) fn summary(&self) -> String {
        format!("{}: {}", self.connected.layout.name, self.connected.layout.summary())
    }
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
