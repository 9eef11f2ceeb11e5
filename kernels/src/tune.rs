//! What `mode tune` tries on a GPU: for each number of [`Tuning`] some others, each held against the reference first and then, pair by
//! pair, against the best so far, in launches of shapes that models have.

mod knobs;
mod launches;

pub use knobs::{KNOBS, Knob};

use crate::check::TOLERANCE;
use crate::{Device, Draw, KernelError, Tuning};
use knobs::NEVER;
use launches::Placed;
use std::time::{Duration, Instant};

/// Share of the time that another number must take less, in the mean over all shapes, to be chosen.
pub const GAIN: f64 = 0.03;

/// Random launches of a number that must agree with the reference.
const DRAWS: u32 = 6;

/// Pairs of times of a shape.
const PAIRS: std::ops::RangeInclusive<usize> = 3..=21;

/// What a launch is timed for at the least: as many are made in a row as it takes.
const SAMPLE: Duration = Duration::from_millis(4);

/// How long a shape's launches took, in the medians of the pairs.
#[derive(Debug, Clone)]
pub struct Times {
    /// The shape.
    pub shape: String,
    /// Milliseconds with the number.
    pub own: f64,
    /// Milliseconds with the one that it was timed against.
    pub other: f64,
    /// The first over the second of a pair.
    pub ratio: f64,
}

/// What came of a number that was tried.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The number.
    pub value: u32,
    /// The number that it was timed against: the best before it.
    pub against: u32,
    /// Of each shape.
    pub times: Vec<Times>,
    /// Its time over the other's, in the geometric mean of the shapes; none if it was not timed to the end.
    pub ratio: Option<f64>,
    /// Why it can't be chosen, if so.
    pub refused: Option<String>,
}

/// What was chosen, and why.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Name of the number.
    pub name: &'static str,
    /// What it is from now on.
    pub value: u32,
    /// What is built in.
    pub built_in: u32,
    /// What was tried, in order.
    pub trials: Vec<Trial>,
    /// Why, for a person.
    pub reason: String,
    /// False where the time was over before every number had been tried.
    pub whole: bool,
}

/// A number as a person reads it.
pub fn number(value: u32) -> String {
    if value == NEVER { "never".into() } else { value.to_string() }
}

/// Tries every number of a knob on `device` until `end`, or until `stopped` says so, and chooses one. The device's own tuning is as
/// before, then.
///
/// # Errors
/// A device that is lost, or has no memory for the shapes. A number whose launches fail is not chosen, and that is no error.
pub fn tune(
    device: &Device,
    knob: &Knob,
    seed: u32,
    end: Instant,
    stopped: &dyn Fn() -> bool,
) -> Result<Choice, KernelError> {
    let before = device.tuning();
    let shapes = (knob.shapes)(device.is_hardware_gpu());
    let shapes = shapes.iter().map(|launch| launch.place(device)).collect::<Result<Vec<_>, _>>()?;
    let over = || stopped() || Instant::now() >= end;
    let contest = Contest { device, knob, seed, base: before, shapes, end, over: &over };
    let choice = contest.choose();
    device.set_tuning(before);
    drop(contest);
    device.trim();
    choice
}

struct Contest<'a> {
    device: &'a Device,
    knob: &'a Knob,
    seed: u32,
    base: Tuning,
    shapes: Vec<Placed>,
    end: Instant,
    over: &'a dyn Fn() -> bool,
}

impl Contest<'_> {
    fn choose(&self) -> Result<Choice, KernelError> {
        let capabilities = self.device.capabilities();
        let built_in = Tuning::built_in(&capabilities).get(self.knob.name).unwrap_or_default();
        let candidates = self.knob.candidates(&capabilities);
        let (mut best, mut trials) = (built_in, Vec::new());
        // What is built in must be right too, or whatever is wins against it.
        let unsound = self.refusal(built_in)?;
        let mut sound = unsound.is_none();
        for (number, &value) in candidates.iter().enumerate() {
            if (self.over)() {
                break;
            }
            let mut trial =
                Trial { value, against: best, times: Vec::new(), ratio: None, refused: self.refusal(value)? };
            if trial.refused.is_none() {
                self.time(&mut trial, candidates.len() - number)?;
            }
            if trial.ratio.is_some_and(|ratio| ratio < 1.0 - GAIN || !sound) {
                (best, sound) = (value, true);
            }
            trials.push(trial);
        }
        let done = |trial: &Trial| trial.ratio.is_some() || trial.refused.is_some();
        let whole = trials.len() == candidates.len() && trials.iter().all(done);
        let reason = reason(best, built_in, &trials, unsound.as_deref(), whole);
        Ok(Choice { name: self.knob.name, value: best, built_in, trials, reason, whole })
    }

    fn set(&self, value: u32) {
        self.device.set_tuning(self.knob.with(self.base, value));
    }

    /// Why a number can't be chosen: its draws disagree with the reference, or fail.
    fn refusal(&self, value: u32) -> Result<Option<String>, KernelError> {
        self.set(value);
        for number in 0..DRAWS {
            let mut draw = Draw::new(Draw::nth_seed(self.seed, number));
            // Every other one is of those that the number decides.
            let launch = (self.knob.draw)(&mut draw, (number % 2 == 0).then_some(value));
            match launch.error(self.device) {
                Ok(error) if error <= TOLERANCE => {}
                Ok(error) => {
                    return Ok(Some(format!("disagrees with the reference by {error:.1e} in {}", launch.name)));
                }
                Err(lost @ KernelError::Lost { .. }) => return Err(lost),
                Err(error) => return Ok(Some(format!("fails: {error}"))),
            }
        }
        Ok(None)
    }

    /// Times a number against the best so far, with `left` numbers to share the time out among.
    fn time(&self, trial: &mut Trial, left: usize) -> Result<(), KernelError> {
        let share = self.end.saturating_duration_since(Instant::now()) / (left * self.shapes.len()).max(1) as u32;
        for shape in &self.shapes {
            match self.pairs(shape, [trial.value, trial.against], Instant::now() + share) {
                Ok(Some(times)) => trial.times.push(times),
                Ok(None) => return Ok(()),
                Err(lost @ KernelError::Lost { .. }) => return Err(lost),
                Err(error) => {
                    trial.refused = Some(format!("fails: {error}"));
                    return Ok(());
                }
            }
        }
        let logs: f64 = trial.times.iter().map(|times| times.ratio.ln()).sum();
        trial.ratio = Some((logs / trial.times.len().max(1) as f64).exp());
        Ok(())
    }

    /// Both numbers in turn, the second first every other time; none if the time is over before there are pairs enough.
    fn pairs(&self, shape: &Placed, values: [u32; 2], until: Instant) -> Result<Option<Times>, KernelError> {
        let run = |value: u32, launches: u32| {
            self.set(value);
            let started = Instant::now();
            (0..launches).try_for_each(|_| shape.launch(self.device))?;
            self.device.synchronize()?;
            Ok::<_, KernelError>(started.elapsed().as_secs_f64() / f64::from(launches))
        };
        let mut longest = 0f64;
        for value in values {
            // The first launch compiles.
            run(value, 1)?;
            longest = longest.max(run(value, 1)?);
        }
        let launches = (SAMPLE.as_secs_f64() / longest.max(1e-9)).clamp(1.0, 1_000.0) as u32;
        let mut seconds = [Vec::new(), Vec::new()];
        while seconds[0].len() < *PAIRS.start() || (seconds[0].len() < *PAIRS.end() && Instant::now() < until) {
            if (self.over)() && seconds[0].len() < *PAIRS.start() {
                return Ok(None);
            }
            for i in if seconds[0].len() % 2 == 0 { [0, 1] } else { [1, 0] } {
                seconds[i].push(run(values[i], launches)?);
            }
        }
        let ratio = median(seconds[0].iter().zip(&seconds[1]).map(|(own, other)| own / other).collect());
        let [own, other] = seconds.map(|seconds| 1e3 * median(seconds));
        Ok(Some(Times { shape: shape.name.clone(), own, other, ratio }))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Why `best` was chosen.
fn reason(best: u32, built_in: u32, trials: &[Trial], unsound: Option<&str>, whole: bool) -> String {
    let rest = if whole { "" } else { "; the time was over before all had been tried" };
    let unsound = unsound.map_or_else(String::new, |why| format!("{}, which is built in, {why}; ", number(built_in)));
    if let Some(trial) = trials.iter().rfind(|trial| trial.value == best && best != built_in) {
        let times = |t: &Times| format!("{:.3} instead of {:.3} ms for {}", t.own, t.other, t.shape);
        let times: Vec<String> = trial.times.iter().map(times).collect();
        let (share, against) = (trial.ratio.unwrap_or_default(), number(trial.against));
        return format!("{unsound}takes {share:.2} of the time of {against}: {}{rest}", times.join(", "));
    }
    let nearest = trials.iter().filter_map(|trial| Some((trial.ratio?, trial.value)));
    match nearest.min_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((ratio, value)) => {
            let other = number(value);
            format!(
                "{unsound}no other takes {:.0} % less time; the best of them, {other}, takes {ratio:.2} of it{rest}",
                100.0 * GAIN
            )
        }
        None => format!("{unsound}there was no other to be timed{rest}"),
    }
}
