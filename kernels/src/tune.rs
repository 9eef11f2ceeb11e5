//! What `mode tune` tries on a GPU: for each number of [`Tuning`] some others, timed pair by pair against what is built in, in launches
//! of shapes that models have, and held against the f64 reference before one is chosen.

mod knobs;
mod launches;
mod rule;

pub use knobs::{KNOBS, Knob, RULES};
pub use rule::{GAIN, LOSS, Round, Times, Trial, number};

use crate::check::TOLERANCE;
use crate::{Capabilities, Device, Draw, KernelError, Tuning, View, registry};
use launches::{Launch, Way};
use rule::{Judge, Stop};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Random launches of a number that must agree with the reference.
const DRAWS: u32 = 6;

/// Pairs of times of a shape.
const PAIRS: std::ops::RangeInclusive<usize> = 5..=31;

/// What a launch is timed for at the least: as many are made in a row as it takes.
const SAMPLE: Duration = Duration::from_millis(4);

/// What was chosen, and why.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Name of the number.
    pub name: &'static str,
    /// What it is from now on.
    pub value: u32,
    /// What is built in.
    pub built_in: u32,
    /// What was tried, the fastest first.
    pub trials: Vec<Trial>,
    /// Why, for a person.
    pub reason: String,
}

/// The built-in texts of the shaders that there is something to choose for, by their files.
pub fn texts() -> BTreeMap<&'static str, &'static str> {
    let tuned = |name: &str| KNOBS.iter().any(|knob| knob.kernels.contains(&name));
    let kernels = registry::ALL.iter().filter(|kernel| tuned(kernel.name()));
    kernels.flat_map(|kernel| kernel.shaders()).flat_map(|shader| shader.parts).copied().collect()
}

/// Tries the numbers of a knob on `device` and chooses one; about until `until`, if what must be measured takes no longer. None if
/// that is not done by `end`. The other numbers are the device's own, which has the same tuning as before when this returns.
///
/// # Errors
/// A device that is lost or has no memory for the shapes, and launches that fail with what is built in. A number whose launches fail
/// is not chosen, and that is no error.
pub fn tune(
    device: &Device,
    knob: &Knob,
    seed: u32,
    until: Instant,
    end: Instant,
) -> Result<Option<Choice>, KernelError> {
    let base = device.tuning();
    let choice = Contest::new(device, knob, seed, until, end).and_then(|mut contest| {
        let others = contest.others();
        rule::choose(knob.name, contest.built_in, &others, &mut contest)
    });
    device.set_tuning(base);
    device.trim();
    match choice {
        Ok(choice) => Ok(Some(choice)),
        Err(Stop::Over) => Ok(None),
        Err(Stop::Failed(error)) => Err(error),
    }
}

impl From<KernelError> for Stop {
    fn from(error: KernelError) -> Self {
        Self::Failed(error)
    }
}

/// What a launch reads and writes, on the device.
type Placed = [Vec<View>; 2];

struct Contest<'a> {
    device: &'a Device,
    capabilities: Capabilities,
    knob: &'a Knob,
    seed: u32,
    base: Tuning,
    built_in: u32,
    shapes: Vec<(Launch, Placed)>,
    /// First rounds by shape and way: several numbers may go the same way.
    known: HashMap<(usize, [u32; 2]), Times>,
    /// For one shape of one round.
    share: Duration,
    end: Instant,
}

impl<'a> Contest<'a> {
    fn new(device: &'a Device, knob: &'a Knob, seed: u32, until: Instant, end: Instant) -> Result<Self, Stop> {
        let (capabilities, base) = (device.capabilities(), device.tuning());
        let built_in = Tuning::built_in(&capabilities).get(knob.name).unwrap_or_default();
        let (shapes, known) = (Vec::new(), HashMap::new());
        let mut contest =
            Self { device, capabilities, knob, seed, base, built_in, shapes, known, share: Duration::ZERO, end };
        if knob.candidates(&capabilities).is_empty() {
            return Ok(contest);
        }
        for launch in (knob.shapes)(device.is_hardware_gpu()) {
            contest.go_on()?;
            let placed = launch.place(device)?;
            contest.shapes.push((launch, placed));
        }
        let mut contests: Vec<_> = contest.others().iter().flat_map(|&value| contest.differences(value)).collect();
        contests.sort_unstable();
        contests.dedup();
        // And once more for the one that wins.
        let rounds = contests.len() + contest.shapes.len();
        contest.share = until.saturating_duration_since(Instant::now()) / rounds.max(1) as u32;
        Ok(contest)
    }

    fn go_on(&self) -> Result<(), Stop> {
        if Instant::now() < self.end { Ok(()) } else { Err(Stop::Over) }
    }

    /// How a shape is launched with a number in the knob's place.
    fn way(&self, shape: &Launch, value: u32) -> Way {
        (shape.way)(self.capabilities, &self.knob.with(self.base, value))
    }

    /// The shapes that go another way than with what is built in, and which.
    fn differences(&self, value: u32) -> Vec<(usize, [u32; 2])> {
        let ways = self.shapes.iter().map(|(shape, _)| {
            let [own, built_in] = [value, self.built_in].map(|value| self.way(shape, value).numbers);
            (own != built_in).then_some(own)
        });
        ways.enumerate().filter_map(|(i, way)| Some((i, way?))).collect()
    }

    /// What may be put in the place of what is built in, if any shape goes another way then, and not just as with a number before.
    fn others(&self) -> Vec<u32> {
        let (mut others, mut seen) = (Vec::new(), Vec::new());
        for value in self.knob.candidates(&self.capabilities) {
            let differences = self.differences(value);
            if !differences.is_empty() && !seen.contains(&differences) {
                seen.push(differences);
                others.push(value);
            }
        }
        others
    }

    fn set(&self, value: u32) {
        self.device.set_tuning(self.knob.with(self.base, value));
    }

    /// Both numbers in turn, what is built in first every other time.
    fn pairs(&self, (shape, [inputs, outputs]): &(Launch, Placed), value: u32) -> Result<Times, Stop> {
        let values = [value, self.built_in];
        let run = |value: u32, launches: u32| {
            self.go_on()?;
            self.set(value);
            let started = Instant::now();
            (0..launches).try_for_each(|_| (shape.run)(self.device, inputs, outputs))?;
            self.device.synchronize()?;
            Ok::<_, Stop>(started.elapsed().as_secs_f64() / f64::from(launches))
        };
        let mut longest = 0f64;
        for value in values {
            // The first launch compiles.
            run(value, 1)?;
            longest = longest.max(run(value, 1)?);
        }
        let launches = (SAMPLE.as_secs_f64() / longest.max(1e-9)).clamp(1.0, 1_000.0) as u32;
        let until = Instant::now() + self.share;
        let mut seconds = [Vec::new(), Vec::new()];
        while seconds[0].len() < *PAIRS.start() || (seconds[0].len() < *PAIRS.end() && Instant::now() < until) {
            for i in if seconds[0].len() % 2 == 0 { [0, 1] } else { [1, 0] } {
                seconds[i].push(run(values[i], launches)?);
            }
        }
        let ratio = median(seconds[0].iter().zip(&seconds[1]).map(|(own, built_in)| own / built_in).collect());
        let [own, built_in] = seconds.map(|seconds| 1e3 * median(seconds));
        Ok(Times { shape: shape.name.clone(), own, built_in, ratio })
    }
}

impl Judge for Contest<'_> {
    fn refusal(&mut self, value: u32) -> Result<Option<String>, Stop> {
        self.set(value);
        for number in 0..DRAWS {
            self.go_on()?;
            let mut draw = Draw::new(Draw::nth_seed(self.seed, number));
            // Every other one is of those that the number decides.
            let launch = (self.knob.draw)(&mut draw, (number % 2 == 0).then_some(value));
            match launch.error(self.device) {
                Ok(error) if error <= TOLERANCE => {}
                Ok(error) => {
                    return Ok(Some(format!("disagrees with the reference by {error:.1e} in {}", launch.name)));
                }
                Err(error) if fails(&error) && value != self.built_in => return Ok(Some(format!("fails: {error}"))),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn round(&mut self, value: u32, first: bool) -> Result<Result<Round, String>, Stop> {
        let mut all = Vec::new();
        for key in self.differences(value) {
            let times = match self.known.get(&key).filter(|_| first) {
                Some(times) => Ok(times.clone()),
                None => self.pairs(&self.shapes[key.0], value),
            };
            match times {
                Ok(times) => all.push(times),
                Err(Stop::Failed(error)) if fails(&error) => return Ok(Err(format!("fails: {error}"))),
                Err(stop) => return Err(stop),
            }
            if first && let Some(times) = all.last() {
                self.known.insert(key, times.clone());
            }
        }
        Ok(Ok(Round::new(all, self.shapes.len())))
    }
}

/// True if the device goes on: only some launches fail.
fn fails(error: &KernelError) -> bool {
    !matches!(error, KernelError::Lost { .. })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
