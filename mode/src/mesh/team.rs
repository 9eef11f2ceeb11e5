//! The devices of one process, each on a thread of its own with its own share of the cores, which step together.

use super::layout::Layout;
use super::local::{Link, local};
use super::mesh::{Axis, share};
use super::problem::Problem;
use super::rank::{Batch, Found, Rank, Seat};
use super::schedule::Schedule;
use super::shard::Shard;
use super::transport::{PATIENCE, Transport};
use crate::Error;
use crate::model::Model;
use mode_autograd::AdamWSettings;
use mode_tensor::Device;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

/// How devices are made and joined.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads of each CPU device.
    pub threads: usize,
    /// A link that memory is made to look like.
    pub link: Option<Link>,
}

/// Devices that step together; dropped, they end.
pub(super) struct Team {
    members: Vec<Member>,
    pub(super) schedule: Arc<Schedule>,
}

struct Member {
    batches: Sender<Batch>,
    found: Receiver<Result<Found, Error>>,
    thread: Option<JoinHandle<()>>,
}

/// What all devices found in a step.
pub(super) struct Stepped {
    pub(super) loss: f32,
    pub(super) gradient_norm: f32,
    /// From the first entry's beginning to the last one's end.
    pub(super) seconds: f64,
    /// For each device when each of its entries began and ended, in seconds from the step's beginning.
    pub(super) spans: Vec<Vec<[f64; 2]>>,
}

impl Team {
    /// Cuts `model` for the devices of a layout, one of `devices` for each.
    ///
    /// # Errors
    /// What a device reports, or threads that can't be had.
    pub(super) fn new(
        model: &Model,
        problem: &Problem,
        layout: &Layout,
        devices: &[Device],
        settings: AdamWSettings,
        options: &Options,
    ) -> Result<Self, Error> {
        let schedule = Arc::new(super::plan(problem, layout));
        let names = (0..layout.devices()).map(|device| device_name(layout, device)).collect();
        let ends = local(names, options.link, PATIENCE);
        let mut members = Vec::new();
        for (number, (end, device)) in ends.into_iter().zip(devices).enumerate() {
            let shard = Shard::new(model, problem, layout, number, device)?;
            let seat = seat(problem, layout, number);
            let rank = (seat, device.clone(), shard, Box::new(end) as Box<dyn Transport + Send>, settings);
            members.push(Member::new(rank, schedule.clone(), options.threads)?);
        }
        Ok(Self { members, schedule })
    }

    /// One step of all.
    ///
    /// # Errors
    /// What went wrong on the first device where something did.
    pub(super) fn step(&mut self, batch: &Batch) -> Result<Stepped, Error> {
        for member in &self.members {
            // One that has ended has left the reason.
            let _ = member.batches.send(batch.clone());
        }
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for member in &self.members {
            match member.found.recv() {
                Ok(Ok(found)) => all.push(found),
                Ok(Err(error)) => errors.push(error),
                Err(_) => {}
            }
        }
        // Those who only lost another tell less than that other.
        let told = errors.iter().position(|error| !matches!(error, Error::Peer { .. }));
        if !errors.is_empty() {
            return Err(errors.swap_remove(told.unwrap_or(0)));
        }
        let instants = || all.iter().flat_map(|found| found.spans.iter().flatten().copied());
        let (Some(began), Some(ended)) = (instants().min(), instants().max()) else {
            return Err(Error::Setting("no device has done anything".into()));
        };
        let since = |at: Instant| at.duration_since(began).as_secs_f64();
        let spans = all.iter().map(|found| found.spans.iter().map(|span| span.map(since)).collect()).collect();
        let Found { loss, gradient_norm, .. } = all[0];
        Ok(Stepped { loss, gradient_norm, seconds: since(ended), spans })
    }
}

impl Member {
    #[allow(clippy::type_complexity)]
    fn new(
        (seat, device, shard, transport, settings): (Seat, Device, Shard, Box<dyn Transport + Send>, AdamWSettings),
        schedule: Arc<Schedule>,
        threads: usize,
    ) -> Result<Self, Error> {
        let (batches, to_do) = channel::<Batch>();
        let (tell, found) = channel();
        let run = move || {
            // This thread is one of its pool's, so that a device of one core wakes no other.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build();
            let _pool = match pool {
                Ok(pool) => pool,
                Err(error) => {
                    let _ = tell.send(Err(Error::Setting(format!("{threads} threads a device: {error}; give fewer"))));
                    return;
                }
            };
            let mut rank = match Rank::new(seat, device, shard, transport, settings) {
                Ok(rank) => rank,
                Err(error) => {
                    let _ = tell.send(Err(error));
                    return;
                }
            };
            for batch in to_do {
                let found = rank.step(&schedule, &batch);
                let ends = found.is_err();
                if tell.send(found).is_err() || ends {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("mesh device".into()).spawn(run);
        let thread =
            thread.map_err(|error| Error::Setting(format!("a thread for a device: {error}; use fewer devices")))?;
        Ok(Self { batches, found, thread: Some(thread) })
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let threads: Vec<_> = self.members.iter_mut().filter_map(|member| member.thread.take()).collect();
        // Without anyone to send batches they end.
        self.members.clear();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// What messages call a device.
pub(super) fn device_name(layout: &Layout, device: usize) -> String {
    format!("device {device} of mesh '{}'", layout.mesh_of(device).name)
}

/// Where a device sits.
pub(super) fn seat(problem: &Problem, layout: &Layout, number: usize) -> Seat {
    let mesh = layout.mesh_of(number);
    let vocabulary = problem.config.vocabulary;
    Seat {
        number,
        length: problem.length,
        parts: problem.parts,
        data: [mesh.position(number, Axis::Data), mesh.data],
        offset: share(vocabulary, mesh.tensor, mesh.position(number, Axis::Tensor)).start,
    }
}
