//! The devices of one process, each on a thread of its own with its own share of the cores, which step together.

use super::layout::Layout;
use super::local::{Link, local};
use super::mesh::{Axis, share};
use super::problem::Problem;
use super::rank::{Batch, Found, Rank, Seat, State};
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

impl Default for Options {
    fn default() -> Self {
        Self { threads: 1, link: None }
    }
}

/// Devices that step together; dropped, they end.
///
/// ```
/// use mode::mesh::{Layout, Options, Problem, Team};
/// use mode::model::{Backbone, Config, Expert, ExpertInfo, ExpertInit, Gate, Model, Random, Trained};
/// use mode_autograd::AdamWSettings;
/// use mode_tensor::Device;
///
/// let shape = Config { vocabulary: 64, width: 16, hidden: 32, layers: 2, heads: 2, kv_heads: 2, head_width: 8, positions: 16, tied: true,
///     ..Config::default() };
/// let cpu = Device::cpu();
/// let backbone = Backbone::random(shape, &cpu, &mut Random::new(1))?;
/// let expert = Expert::new(&backbone, ExpertInfo::new("code", "code", "", 2, 1)?, ExpertInit::Random, &mut Random::new(2))?;
/// let gates = (0..2).map(|block| Gate::with_share(&cpu, block, 16, 0.5)).collect::<Result<_, _>>()?;
/// let model = Model::with_experts(backbone, vec![expert], gates)?;
/// model.set_trained(Trained::Experts);
///
/// // The backbone on two devices, its expert on a third.
/// let layout = Layout::read("2+1", &["code".to_string()])?;
/// let problem = Problem::new(&model, 2, 8)?;
/// let devices = [Device::cpu(), Device::cpu(), Device::cpu()];
/// let mut team = Team::new(&model, &problem, &layout, &devices, AdamWSettings::default(), &Options::default())?;
/// let windows = vec![vec![7; 9], vec![5; 9]];
/// let first = team.step(windows.clone(), 1e-2)?.loss;
/// assert!(team.step(windows, 1e-2)?.loss < first);
/// # Ok::<(), mode::Error>(())
/// ```
pub struct Team {
    members: Vec<Member>,
    pub(super) schedule: Arc<Schedule>,
    /// How many windows a step takes, and how many tokens each predicts.
    windows: [usize; 2],
}

struct Member {
    commands: Sender<Command>,
    replies: Receiver<Result<Reply, Error>>,
    thread: Option<JoinHandle<()>>,
}

/// What a device is told to do.
enum Command {
    Step(Batch),
    Give,
    Take(Vec<State>, u64),
}

/// What it answers.
enum Reply {
    Stepped(Found),
    Given(Vec<State>),
    Taken,
}

/// What all devices found in a step.
pub struct Stepped {
    /// The loss before it.
    pub loss: f32,
    /// The norm of the gradient over all devices, before clipping.
    pub gradient_norm: f32,
    /// From the first entry's beginning to the last one's end.
    pub seconds: f64,
    /// For each device when each of its entries began and ended, in seconds from the step's beginning.
    pub spans: Vec<Vec<[f64; 2]>>,
    /// When the last entry ended.
    pub ended: Instant,
}

impl Team {
    /// Cuts `model`, which may be on another device, for the devices of a layout, one of `devices` for each.
    ///
    /// # Errors
    /// A layout that can't share out the problem or has other devices, what a device reports, or threads that can't be had.
    pub fn new(
        model: &Model,
        problem: &Problem,
        layout: &Layout,
        devices: &[Device],
        settings: AdamWSettings,
        options: &Options,
    ) -> Result<Self, Error> {
        problem.check(layout).map_err(|what| Error::Setting(format!("layout {}: {what}", layout.name)))?;
        if devices.len() != layout.devices() {
            let (wanted, found) = (layout.devices(), devices.len());
            return Err(Error::Setting(format!("layout {} has {wanted} devices, and there are {found}", layout.name)));
        }
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
        Ok(Self { members, schedule, windows: [problem.windows, problem.length] })
    }

    /// One step of all on these windows, the last of whose ids is only predicted.
    ///
    /// # Errors
    /// Other windows than the problem's, or what went wrong on the first device where something did.
    pub fn step(&mut self, windows: Vec<Vec<u32>>, rate: f64) -> Result<Stepped, Error> {
        self.take(&Batch { windows: Arc::new(windows), rate })
    }

    pub(super) fn take(&mut self, batch: &Batch) -> Result<Stepped, Error> {
        let [windows, length] = self.windows;
        if batch.windows.len() != windows || batch.windows.iter().any(|window| window.len() != length + 1) {
            return Err(Error::Setting(format!(
                "a step takes {windows} windows of {length} predicted tokens and one more"
            )));
        }
        let replies = self.ask(|_| Command::Step(batch.clone()))?;
        let found = |reply| if let Reply::Stepped(found) = reply { Some(found) } else { None };
        let all: Vec<Found> = replies.into_iter().filter_map(found).collect();
        let instants = || all.iter().flat_map(|found| found.spans.iter().flatten().copied());
        let (Some(began), Some(ended)) = (instants().min(), instants().max()) else {
            return Err(Error::Setting("no device has done anything".into()));
        };
        let since = |at: Instant| at.duration_since(began).as_secs_f64();
        let spans = all.iter().map(|found| found.spans.iter().map(|span| span.map(since)).collect()).collect();
        let Found { loss, gradient_norm, .. } = all[0];
        Ok(Stepped { loss, gradient_norm, seconds: since(ended), spans, ended })
    }

    /// The trained parameters of all devices, with their moments: for each device those that it has.
    ///
    /// # Errors
    /// A device whose frozen weights are not what they were, or what one reports.
    pub(super) fn give(&self) -> Result<Vec<Vec<State>>, Error> {
        let given = |reply| if let Reply::Given(states) = reply { Some(states) } else { None };
        Ok(self.ask(|_| Command::Give)?.into_iter().filter_map(given).collect())
    }

    /// Hands each device its part of trained parameters and moments, as they were after `steps` steps.
    ///
    /// # Errors
    /// What a device reports.
    pub(super) fn take_over(&self, mut states: Vec<Vec<State>>, steps: u64) -> Result<(), Error> {
        self.ask(|number| Command::Take(std::mem::take(&mut states[number]), steps)).map(drop)
    }

    /// What all devices answer to a command.
    fn ask(&self, mut command: impl FnMut(usize) -> Command) -> Result<Vec<Reply>, Error> {
        for (number, member) in self.members.iter().enumerate() {
            // One that has ended has left the reason.
            let _ = member.commands.send(command(number));
        }
        let (mut replies, mut errors) = (Vec::new(), Vec::new());
        for member in &self.members {
            match member.replies.recv() {
                Ok(Ok(reply)) => replies.push(reply),
                Ok(Err(error)) => errors.push(error),
                Err(_) => {}
            }
        }
        // Those who only lost another tell less than that other.
        let told = errors.iter().position(|error| !matches!(error, Error::Peer { .. }));
        match (errors.is_empty(), replies.len() == self.members.len()) {
            (false, _) => Err(errors.swap_remove(told.unwrap_or(0))),
            (true, false) => Err(Error::Peer { device: "a device".into(), what: "has ended before its time".into() }),
            (true, true) => Ok(replies),
        }
    }
}

impl Member {
    #[allow(clippy::type_complexity)]
    fn new(
        (seat, device, shard, transport, settings): (Seat, Device, Shard, Box<dyn Transport + Send>, AdamWSettings),
        schedule: Arc<Schedule>,
        threads: usize,
    ) -> Result<Self, Error> {
        let (commands, to_do) = channel::<Command>();
        let (tell, replies) = channel();
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
            for command in to_do {
                let reply = match command {
                    Command::Step(batch) => rank.step(&schedule, &batch).map(Reply::Stepped),
                    Command::Give => rank.give().map(Reply::Given),
                    Command::Take(states, steps) => rank.take_over(&states, steps).map(|()| Reply::Taken),
                };
                let ends = reply.is_err();
                if tell.send(reply).is_err() || ends {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("mesh device".into()).spawn(run);
        let thread =
            thread.map_err(|error| Error::Setting(format!("a thread for a device: {error}; use fewer devices")))?;
        Ok(Self { commands, replies, thread: Some(thread) })
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let threads: Vec<_> = self.members.iter_mut().filter_map(|member| member.thread.take()).collect();
        // Without anyone to command them they end.
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
