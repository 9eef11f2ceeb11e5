//! The devices of one process, each on a thread of its own with its own share of the cores, which step together: all of a layout, or
//! those that are not in other processes.

use super::batch::{ParamState, StepBatch, StepMetrics, Sums};
use super::rank::{Rank, Seat};
use super::shard::Shard;
use super::sharding::Sharding;
use crate::Error;
use crate::mesh::plan::{Axis, Layout, Problem, Schedule, plan, plan_score, share};
use crate::mesh::transport::{EmulatedLink, Local, Transport, local};
use crate::model::Model;
use mode_autograd::AdamWSettings;
use mode_tensor::Device;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A year.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// How devices are made and joined.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads of each CPU device.
    pub threads: usize,
    /// A link that memory is made to look like.
    pub link: Option<EmulatedLink>,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 1, link: None }
    }
}

/// A device of this process, and its way to all others.
pub(crate) struct Here {
    /// Its number in the layout.
    pub(crate) number: usize,
    pub(crate) device: Device,
    pub(crate) transport: Box<dyn Transport + Send>,
}

impl Here {
    /// All devices of a layout, joined by memory.
    pub(crate) fn all(layout: &Layout, devices: &[Device], link: Option<EmulatedLink>) -> Vec<Self> {
        // One that ends is known by its queue; one that is slow is waited for.
        let ends = local(layout.device_names(), link, FOREVER).into_iter().zip(devices).enumerate();
        let here = |(number, (end, device)): (usize, (Local, &Device))| Self {
            number,
            device: device.clone(),
            transport: Box::new(end),
        };
        ends.map(here).collect()
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
    pub(in crate::mesh) sharding: Sharding,
    pub(in crate::mesh) schedule: Arc<Schedule>,
    /// What devices do where nothing is trained, once that is asked for.
    scoring: OnceLock<Arc<Schedule>>,
}

/// Which parameters are meant, by their names.
pub(in crate::mesh) type Wanted = Arc<dyn Fn(&str) -> bool + Send + Sync>;

struct Member {
    number: usize,
    jobs: Sender<Job>,
    thread: Option<JoinHandle<()>>,
}

/// What a device is to do, or to report why there is none; false ends it.
type Job = Box<dyn FnOnce(Result<&mut Rank, Error>) -> bool + Send>;

/// What the devices of this process found in a step.
pub struct TeamStep {
    /// The loss before it.
    pub loss: f32,
    /// The norm of the gradient over all devices, before clipping.
    pub gradient_norm: f32,
    /// From the first entry's beginning to the last one's end.
    pub seconds: f64,
    /// For each device when each of its entries began and ended, in seconds from the step's beginning; nothing for one in another process.
    /// Of a GPU it is when they were launched.
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
        if devices.len() != layout.devices() {
            let (wanted, found) = (layout.devices(), devices.len());
            return Err(Error::Setting(format!("layout {} has {wanted} devices, and there are {found}", layout.name)));
        }
        problem.check(layout)?;
        Self::of(model, problem, layout, Here::all(layout, devices, options.link), settings, options.threads)
    }

    /// The same for those devices that are in this process, of a layout that is known to share out the problem.
    pub(crate) fn of(
        model: &Model,
        problem: &Problem,
        layout: &Layout,
        here: Vec<Here>,
        settings: AdamWSettings,
        threads: usize,
    ) -> Result<Self, Error> {
        check_threads(here.len(), threads)?;
        let mut members = Vec::new();
        for Here { number, device, transport } in here {
            let shard = Shard::new(model, problem, layout, number, &device)?;
            let seat = seat(problem, layout, number);
            let make = move || Rank::new(seat, device, shard, transport, settings);
            members.push(Member::new(number, make, threads)?);
        }
        Ok(Self {
            members,
            sharding: Sharding::new(model, layout, problem),
            schedule: Arc::new(plan(problem, layout)),
            scoring: OnceLock::new(),
        })
    }

    /// The numbers of its devices.
    pub(in crate::mesh) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.members.iter().map(|member| member.number)
    }

    pub(in crate::mesh) fn scoring(&self) -> &Arc<Schedule> {
        let Sharding { layout, problem, .. } = &self.sharding;
        self.scoring.get_or_init(|| Arc::new(plan_score(problem, layout)))
    }

    /// Has the first device of this process do something.
    pub(in crate::mesh) fn ask_first<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Rank) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let ended = || Error::Setting("the first device has ended".into());
        self.members.first().ok_or_else(ended)?.ask(job).recv().unwrap_or_else(|_| Err(ended()))
    }

    /// One step of all on these windows, the last of whose ids is only predicted.
    ///
    /// # Errors
    /// Other windows than the problem's, or what went wrong on the first device where something did.
    pub fn step(&mut self, windows: Vec<Vec<u32>>, rate: f64) -> Result<TeamStep, Error> {
        let batch = self.batch(windows, rate)?;
        self.step_on(&batch)
    }

    /// What a step is given, or an error if these are other windows than the problem's.
    pub(in crate::mesh) fn batch(&self, windows: Vec<Vec<u32>>, rate: f64) -> Result<StepBatch, Error> {
        let Problem { windows: count, length, .. } = self.sharding.problem;
        if windows.len() != count || windows.iter().any(|window| window.len() != length + 1) {
            return Err(Error::Setting(format!(
                "a step takes {count} windows of {length} predicted tokens and one more"
            )));
        }
        Ok(StepBatch::new(windows, rate))
    }

    /// What its devices carry out.
    pub(crate) fn schedule(&self) -> &Arc<Schedule> {
        &self.schedule
    }

    /// From now on waits at each entry's end until the GPUs of this process have done it, so that spans tell when entries were over and
    /// not when they were launched. Nothing is launched meanwhile, so steps take longer: by what a GPU takes from a launch to its
    /// answer, for each entry. On CPUs an entry is over when it ends, and nothing changes.
    pub(crate) fn wait_at_entries(&self) -> Result<(), Error> {
        let wait = |rank: &mut Rank| {
            rank.waits = true;
            Ok(())
        };
        self.ask(|_| wait).map(drop)
    }

    /// [`Team::step`] of windows that are known to fit, or of none where no device of this process reads any.
    pub(crate) fn step_unchecked(&mut self, windows: Vec<Vec<u32>>, rate: f64) -> Result<TeamStep, Error> {
        self.step_on(&StepBatch::new(windows, rate))
    }

    /// A step on a batch that is known to fit.
    pub(in crate::mesh) fn step_on(&mut self, batch: &StepBatch) -> Result<TeamStep, Error> {
        let all = self.carry_out(&self.schedule, batch)?;
        let instants = || all.iter().flat_map(|found| found.spans.iter().flatten().copied());
        let (Some(began), Some(ended)) = (instants().min(), instants().max()) else {
            return Err(Error::Setting("no device has done anything".into()));
        };
        let since = |at: Instant| at.duration_since(began).as_secs_f64();
        let mut spans = vec![Vec::new(); self.schedule.devices];
        for (member, found) in self.members.iter().zip(&all) {
            spans[member.number] = found.spans.iter().map(|span| span.map(since)).collect();
        }
        let Sums { squares, nll, tokens } = all[0].sums;
        let (loss, gradient_norm) = (nll / tokens, squares.sqrt());
        Ok(TeamStep { loss, gradient_norm, seconds: since(ended), spans, ended })
    }

    pub(in crate::mesh) fn carry_out(
        &self,
        schedule: &Arc<Schedule>,
        batch: &StepBatch,
    ) -> Result<Vec<StepMetrics>, Error> {
        self.ask(|_| {
            let (schedule, batch) = (schedule.clone(), batch.clone());
            move |rank: &mut Rank| rank.step(&schedule, &batch)
        })
    }

    /// Has each device note the weights that it must not change.
    pub(in crate::mesh) fn note_frozen(&self) -> Result<(), Error> {
        self.ask(|_| Rank::note_frozen).map(drop)
    }

    /// An error if one of them has changed.
    pub(in crate::mesh) fn check_frozen(&self) -> Result<(), Error> {
        self.ask(|_| |rank: &mut Rank| rank.check_frozen()).map(drop)
    }

    /// Trained parameters of this process's devices that are wanted, with their moments.
    pub(in crate::mesh) fn states(&self, wanted: Wanted) -> Result<Vec<(usize, Vec<ParamState>)>, Error> {
        let here = self.ask(|_| {
            let wanted = wanted.clone();
            move |rank: &mut Rank| rank.give(&*wanted)
        })?;
        Ok(self.numbers().zip(here).collect())
    }

    /// Brings numbers of each device to the first: those of all devices in the first's process, none in others.
    ///
    /// # Errors
    /// As [`Team::step`].
    pub(crate) fn gather(&mut self, numbers: impl Fn(usize) -> Vec<f32>) -> Result<Vec<Vec<f32>>, Error> {
        let devices = self.schedule.devices;
        let all = self.ask(|number| {
            let own = numbers(number);
            move |rank: &mut Rank| rank.gather(own, devices)
        })?;
        Ok(all.into_iter().next().unwrap_or_default())
    }

    /// Has every device do what `job` makes for its number.
    pub(in crate::mesh) fn ask<T: Send + 'static, F>(&self, job: impl Fn(usize) -> F) -> Result<Vec<T>, Error>
    where
        F: FnOnce(&mut Rank) -> Result<T, Error> + Send + 'static,
    {
        let found: Vec<_> = self.members.iter().map(|member| member.ask(job(member.number))).collect();
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for found in found {
            match found.recv() {
                Ok(Ok(found)) => all.push(found),
                Ok(Err(error)) => errors.push(error),
                // One that has ended has left the reason before.
                Err(_) => {}
            }
        }
        // Those who only lost another tell less than that other.
        let told = errors.iter().position(|error| !matches!(error, Error::Peer { .. } | Error::Silent { .. }));
        match errors.is_empty() {
            true if all.len() == self.members.len() => Ok(all),
            true => Err(Error::Setting("a device has ended".into())),
            false => Err(errors.swap_remove(told.unwrap_or(0))),
        }
    }
}

impl Member {
    fn new(
        number: usize,
        make: impl FnOnce() -> Result<Rank, Error> + Send + 'static,
        threads: usize,
    ) -> Result<Self, Error> {
        let (jobs, to_do) = channel::<Job>();
        let run = move || {
            // This thread is one of its pool's, so that a device of one core wakes no other.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build();
            let pool = pool.map_err(|error| Error::Setting(format!("{threads} threads a device: {error}; give fewer")));
            let (_pool, mut rank) = match pool.and_then(|pool| Ok((pool, make()?))) {
                Ok(made) => made,
                Err(error) => {
                    if let Ok(job) = to_do.recv() {
                        job(Err(error));
                    }
                    return;
                }
            };
            for job in to_do {
                if !job(Ok(&mut rank)) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("mesh device".into()).spawn(run);
        let thread =
            thread.map_err(|error| Error::Setting(format!("a thread for a device: {error}; use fewer devices")))?;
        Ok(Self { number, jobs, thread: Some(thread) })
    }

    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Rank) -> Result<T, Error> + Send + 'static,
    ) -> Receiver<Result<T, Error>> {
        let (tell, found) = channel();
        let job = move |rank: Result<&mut Rank, Error>| {
            let found = rank.and_then(job);
            let goes_on = found.is_ok();
            tell.send(found).is_ok() && goes_on
        };
        // One that has ended drops the job, and so ends the wait for what it finds.
        let _ = self.jobs.send(Box::new(job));
        found
    }
}

/// Threads that the devices of a process have at the most, all together: systems refuse more in ways of their own, and late.
const MOST_THREADS: usize = 1_024;

/// Whether so many devices can have so many threads each, for who would rather know before anything is written.
///
/// # Errors
/// They can't.
pub(crate) fn check_threads(devices: usize, threads: usize) -> Result<(), Error> {
    match devices.saturating_mul(threads) {
        all if all <= MOST_THREADS => Ok(()),
        all => Err(Error::Setting(format!(
            "{threads} threads a device are {all} in this process, of {MOST_THREADS} at the most; give fewer"
        ))),
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let threads: Vec<_> = self.members.iter_mut().filter_map(|member| member.thread.take()).collect();
        // Without anyone to give them jobs they end.
        self.members.clear();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// Where a device sits.
pub(super) fn seat(problem: &Problem, layout: &Layout, number: usize) -> Seat {
    let mesh = layout.mesh_of(number);
    let vocabulary = problem.config.vocabulary;
    Seat {
        number,
        length: problem.length,
        microbatches: problem.microbatches,
        data: [mesh.position(number, Axis::Data), mesh.data],
        offset: share(vocabulary, mesh.tensor, mesh.position(number, Axis::Tensor)).start,
    }
}
