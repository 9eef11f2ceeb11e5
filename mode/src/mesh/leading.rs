//! The process of a run's first device: it reads the data, keeps the run's folder and knows how far it has got, and has the processes of
//! other devices (`serving.rs`) do what its own do.

use super::orders::Order;
use super::rank::{Batch, Rank, State};
use super::team::Team;
use crate::Error;
use std::sync::Arc;

impl Team {
    /// From now on has other processes do what this one does, each by its first device.
    pub(super) fn leading(mut self, others: Vec<usize>) -> Self {
        self.others = others;
        self
    }

    /// Gives an order to other processes, if there are any.
    pub(super) fn order(&self, order: Order) -> Result<(), Error> {
        self.order_to(self.others.clone(), order)
    }

    fn order_to(&self, others: Vec<usize>, order: Order) -> Result<(), Error> {
        if others.is_empty() {
            return Ok(());
        }
        self.ask_first(move |rank: &mut Rank| rank.order(&others, &order))
    }

    /// Orders what is done with a batch: words go to the backbone's devices and to no others.
    pub(super) fn order_batch(&self, batch: &Batch, order: fn(Batch) -> Order) -> Result<(), Error> {
        let (readers, others) = self.others.iter().partition(|&&device| self.parts.layout.number_of(device) == 0);
        self.order_to(readers, order(batch.clone()))?;
        self.order_to(others, order(Batch { windows: Arc::default(), ..*batch }))
    }

    /// The trained parameters of all devices, with their moments: for each device those that it has, and that do not stay in its
    /// process, where they are saved as those of step `saved` if there is one.
    ///
    /// # Errors
    /// What a device reports.
    pub(super) fn give(&self, saved: Option<u64>) -> Result<Vec<(usize, Vec<State>)>, Error> {
        self.order(Order::Give(saved))?;
        let mut all = self.states(Arc::new(|_: &str| true))?;
        let elsewhere = self.elsewhere();
        let found = elsewhere.clone();
        let found = self
            .ask_first(move |rank| found.iter().map(|&other| rank.states_of(other)).collect::<Result<Vec<_>, _>>())?;
        all.extend(elsewhere.into_iter().zip(found));
        Ok(all)
    }

    /// Devices in processes that this one leads.
    fn elsewhere(&self) -> Vec<usize> {
        let here = |device: &usize| self.members.iter().any(|member| member.number == *device);
        (0..self.schedule.devices).filter(|device| !self.others.is_empty() && !here(device)).collect()
    }

    /// Hands each device its part of trained parameters and moments, as they were after `steps` steps.
    ///
    /// # Errors
    /// What a device reports.
    pub(super) fn take_over(&self, states: Vec<(usize, Vec<State>)>, steps: u64) -> Result<(), Error> {
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
        self.ask(job).map(drop)
    }

    /// Sees that what is frozen is as it was on all devices, and has other processes write what they keep to themselves, beside these
    /// gates.
    ///
    /// # Errors
    /// A device whose frozen weights are others, or what one reports.
    pub(super) fn finish(&self, gates: Vec<State>) -> Result<(), Error> {
        self.check_frozen()?;
        if self.others.is_empty() {
            return Ok(());
        }
        self.order(Order::Finish)?;
        let others = self.others.clone();
        self.ask_first(move |rank: &mut Rank| {
            others.iter().try_for_each(|&other| rank.send_states(other, &gates))?;
            others.iter().try_for_each(|&other| rank.states_of(other).map(drop))
        })
    }
}
