//! Some steps of a run, profiled while it goes on: `--profile N`.

use super::{Ceilings, Profile, Rounds};
use crate::Error;
use crate::train::Event;
use mode_tensor::Device;
use std::ops::RangeInclusive;

/// As many steps as can be profiled.
pub(crate) const PROFILED: RangeInclusive<u64> = 1..=1_000;
/// Steps before the first that is profiled: they take memory and make pipelines.
const WARM: u64 = 3;

/// What is found out of a run's steps.
#[derive(Default)]
pub(crate) struct RunProfile {
    /// Steps to profile.
    wanted: u64,
    /// The first step since the run began or went on.
    first: Option<u64>,
    rounds: Rounds,
    failed: Option<Error>,
}

impl RunProfile {
    /// Of `wanted` steps, as soon as there have been some.
    pub(crate) fn new(wanted: u64) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// An error if the device can't tell times.
    pub(crate) fn try_out(device: &Device) -> Result<(), Error> {
        device.start_profile()?;
        device.stop_profile()?;
        Ok(())
    }

    /// An error if a run of `steps` steps, which `setting` says, has too few of them.
    pub(crate) fn check(&self, setting: &str, steps: u64) -> Result<(), Error> {
        let (wanted, needs) = (self.wanted, WARM + self.wanted);
        if wanted > 0 && steps < needs {
            return Err(Error::Setting(format!("--profile {wanted}: that takes {needs} steps, {setting} is {steps}")));
        }
        Ok(())
    }

    /// How many steps have been before `step` since the run began or went on.
    fn before(&self, step: u64) -> u64 {
        step - self.first.unwrap_or(step)
    }

    /// Hears of a run's events. True for a step that is profiled, which is about to begin, and is to have the device for itself.
    pub(crate) fn hear(&mut self, device: &Device, event: Event) -> bool {
        let profiled = WARM..WARM + self.wanted;
        match event {
            Event::Begin(step) => {
                self.first.get_or_insert(step);
                let profiled = profiled.contains(&self.before(step));
                if profiled {
                    self.failed = device.start_profile().err().map(Error::from).or(self.failed.take());
                }
                profiled
            }
            Event::Step(report) => {
                let before = self.before(report.step);
                let seconds = (report.tokens_seen / report.step) as f64 / report.tokens_per_second;
                if profiled.contains(&before) {
                    match device.stop_profile() {
                        Ok(timings) => self.rounds.profiled.push((seconds, timings)),
                        Err(error) => self.failed = Some(error.into()),
                    }
                } else if before + 1 == WARM {
                    self.rounds.plain.push(seconds);
                }
                false
            }
            Event::Say(_) | Event::Warn(_) => false,
        }
    }

    /// What was found; none where the run had no steps left to profile.
    ///
    /// # Errors
    /// What the device reported meanwhile.
    pub(crate) fn profile(self, ceilings: &Ceilings) -> Result<Option<Profile>, Error> {
        match self.failed {
            Some(error) => Err(error),
            None if self.rounds.profiled.is_empty() => Ok(None),
            None => Ok(Some(Profile::new("step", Vec::new(), &self.rounds, ceilings))),
        }
    }
}
