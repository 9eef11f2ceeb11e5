//! The process of a run's first device, which may have all of them: it reads the data, keeps the run's folder and knows how far it has got. It
//! has its devices step, and those of other processes (`follower.rs`) by the orders that it gives; what they train is brought together
//! where a checkpoint, an evaluation or the end wants it whole.

use super::orders::Order;
use super::places::{Connected, Places};
use crate::Error;
use crate::mesh::plan::Problem;
use crate::mesh::run::{ParamState, Rank, StepBatch, Team, TeamStep};
use crate::model::{Gate, Model};
use mode_autograd::{AdamW, AdamWSettings, Param};
use std::sync::Arc;

/// The devices of a run; dropped, they end, and other processes are told that there is nothing more.
pub(crate) struct Leader {
    team: Team,
    /// The first device of each other process, which hears what that is to do.
    others: Vec<usize>,
}

impl Leader {
    /// Puts a model on a mesh, with `optimizer`'s moments if it has taken steps.
    ///
    /// # Errors
    /// What a device reports.
    pub(crate) fn new(
        Places { connected: Connected { layout, here, others, threads }, problem }: Places,
        settings: AdamWSettings,
        model: &Model,
        optimizer: &AdamW,
    ) -> Result<Self, Error> {
        let leader = Self { team: Team::of(model, &problem, &layout, here, settings, threads)?, others };
        leader.team.note_frozen()?;
        if optimizer.steps() > 0 {
            let mut given = leader.give(None)?;
            leader.team.sharding.fill(&mut given, optimizer)?;
            leader.take_over(given, optimizer.steps())?;
        }
        Ok(leader)
    }

    /// One step.
    ///
    /// # Errors
    /// As [`Team::step`].
    pub(crate) fn step(&mut self, windows: Vec<Vec<u32>>, rate: f64) -> Result<TeamStep, Error> {
        let batch = self.team.batch(windows, rate)?;
        self.order_batch(&batch, Order::Step)?;
        self.team.step_on(&batch)
    }

    /// The mean loss of these windows, of which there may be any number, as long as a step's.
    ///
    /// # Errors
    /// As [`Team::step`].
    pub(crate) fn score(&mut self, windows: &[Vec<u32>]) -> Result<f64, Error> {
        let Problem { windows: count, length, .. } = self.team.sharding.problem;
        if windows.is_empty() || windows.iter().any(|window| window.len() != length + 1) {
            return Err(Error::Setting(format!("a score takes windows of {length} predicted tokens and one more")));
        }
        let (mut nll, mut tokens) = (0.0, 0.0);
        for some in windows.chunks(count) {
            let filled = some.iter().chain(std::iter::repeat(&some[0])).take(count).cloned().collect();
            let batch = StepBatch { windows: Arc::new(filled), rate: 0.0, counted: some.len() };
            self.order_batch(&batch, Order::Score)?;
            let sums = self.team.carry_out(self.team.scoring(), &batch)?[0].sums;
            (nll, tokens) = (nll + f64::from(sums.nll), tokens + f64::from(sums.tokens));
        }
        match nll / tokens {
            mean if mean.is_finite() => Ok(mean),
            mean => Err(Error::NotNumbers(format!("the evaluation found {mean}"))),
        }
    }

    /// Brings the trained weights and moments of all devices to `optimizer`, whose parameters are the whole model's, but for those of
    /// private experts, which their owners save as those of step `saved` if there is one.
    ///
    /// # Errors
    /// What a device reports.
    pub(crate) fn collect(&self, optimizer: &AdamW, saved: Option<u64>) -> Result<(), Error> {
        self.team.sharding.collect(self.give(saved)?, optimizer)
    }

    /// Sees that what is frozen is as it was, and has owners of private experts write what they have trained, beside these gates.
    ///
    /// # Errors
    /// A device whose frozen weights are others, or what one reports.
    pub(crate) fn finish(&self, gates: &[Gate]) -> Result<(), Error> {
        let state = |param: &Param| {
            let value = param.value().to_vec()?;
            let (m, v) = (vec![0.0; value.len()], vec![0.0; value.len()]);
            Ok(ParamState { name: param.name().into(), shape: param.value().shape().to_vec(), value, m, v })
        };
        let gates = gates.iter().flat_map(Gate::params).map(state).collect::<Result<Vec<_>, Error>>()?;
        self.team.check_frozen()?;
        if self.others.is_empty() {
            return Ok(());
        }
        self.order(Order::Finish)?;
        let others = self.others.clone();
        self.team.ask_first(move |rank: &mut Rank| {
            others.iter().try_for_each(|&other| rank.send_states(other, &gates))?;
            others.iter().try_for_each(|&other| rank.states_of(other).map(drop))
        })
    }

    /// Gives an order to other processes, if there are any.
    fn order(&self, order: Order) -> Result<(), Error> {
        self.order_to(self.others.clone(), order)
    }

    fn order_to(&self, others: Vec<usize>, order: Order) -> Result<(), Error> {
        if others.is_empty() {
            return Ok(());
        }
        self.team.ask_first(move |rank: &mut Rank| rank.order(&others, &order))
    }

    /// Orders what is done with a batch: words go to the backbone's devices and to no others.
    fn order_batch(&self, batch: &StepBatch, order: fn(StepBatch) -> Order) -> Result<(), Error> {
        let layout = &self.team.sharding.layout;
        let (readers, others) = self.others.iter().partition(|&&device| layout.mesh_index(device) == 0);
        self.order_to(readers, order(batch.clone()))?;
        self.order_to(others, order(StepBatch { windows: Arc::default(), ..*batch }))
    }

    /// The trained parameters of all devices, with their moments: for each device those that it has, and that do not stay in its
    /// process, where they are saved as those of step `saved` if there is one.
    fn give(&self, saved: Option<u64>) -> Result<Vec<(usize, Vec<ParamState>)>, Error> {
        self.order(Order::Give(saved))?;
        let mut all = self.team.states(Arc::new(|_: &str| true))?;
        let elsewhere = self.elsewhere();
        let found = elsewhere.clone();
        let found = self
            .team
            .ask_first(move |rank| found.iter().map(|&other| rank.states_of(other)).collect::<Result<Vec<_>, _>>())?;
        all.extend(elsewhere.into_iter().zip(found));
        Ok(all)
    }

    /// Devices in processes that this one leads.
    fn elsewhere(&self) -> Vec<usize> {
        let here = |device: &usize| self.team.numbers().any(|number| number == *device);
        (0..self.team.schedule.devices).filter(|device| !self.others.is_empty() && !here(device)).collect()
    }

    /// Hands each device its part of trained parameters and moments, as they were after `steps` steps.
    fn take_over(&self, states: Vec<(usize, Vec<ParamState>)>, steps: u64) -> Result<(), Error> {
        self.order(Order::Take(steps))?;
        let (states, others) = (Arc::new(states), Arc::new(self.elsewhere()));
        let job = |number: usize| {
            let (states, others) = (states.clone(), others.clone());
            move |rank: &mut Rank| {
                for (device, states) in states.iter() {
                    match *device == number {
                        true => rank.take_over(states, steps)?,
                        false if number == 0 && others.contains(device) => rank.send_states(*device, states)?,
                        false => {}
                    }
                }
                Ok(())
            }
        };
        self.team.ask(job).map(drop)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // Whoever can't hear it any more has ended already.
        let _ = self.order(Order::End);
    }
}
