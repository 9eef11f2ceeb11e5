//! A process without the first device in a run: its devices do what that orders. Experts that are private to it stay in it: their weights
//! are collected here alone, and what crosses are activations, their gradients, and of each step the square of the gradient's norm.

use super::orders::Order;
use super::rank::{Batch, Rank, State};
use super::team::{Team, Wanted, device_name};
use super::training::{Places, Wired};
use crate::Error;
use crate::model::Model;
use mode_autograd::{AdamW, AdamWSettings};
use std::collections::HashSet;
use std::sync::Arc;

/// What is asked of a process, and not of its devices.
pub(crate) enum Asked {
    /// To save private experts as those of this step, and then to [`Serving::give`].
    Save(u64),
    /// To go on after so many steps by [`Serving::take_over`], with private experts as they were saved.
    Load(u64),
    /// To write private experts beside gates of these names, shapes and values, and then to say [`Serving::finished`].
    Finish(Vec<(String, Vec<usize>, Vec<f32>)>),
    /// Nothing more, after so many steps from the run's beginning on.
    End(u64),
    /// Nothing at all: the run had ended before.
    Over,
}

/// Devices of this process that do what the first one orders, which is in another.
pub(crate) struct Serving {
    team: Team,
    /// Names of the parameters that stay here.
    private: Arc<HashSet<String>>,
    steps: u64,
    /// Steps after which the run ends, until it has.
    last: Option<u64>,
}

impl Serving {
    /// The devices of this process with their parts of a model, in a run of so many steps; parameters of experts of these numbers stay
    /// here.
    ///
    /// # Errors
    /// What a device reports.
    pub(crate) fn new(
        Places { wired: Wired { layout, here, threads, .. }, problem }: Places,
        settings: AdamWSettings,
        model: &Model,
        private: &[usize],
        last: u64,
    ) -> Result<Self, Error> {
        let team = Team::of(model, &problem, &layout, here, settings, threads)?;
        team.note_frozen()?;
        let params = private.iter().flat_map(|&expert| model.experts[expert].params());
        let private = Arc::new(params.map(|param| param.name().to_string()).collect());
        Ok(Self { team, private, steps: 0, last: Some(last) })
    }

    /// Has the devices do what is ordered, until something is asked of the process.
    ///
    /// # Errors
    /// A device that is gone, what one reports, or what the run has not got to.
    pub(crate) fn next(&mut self) -> Result<Asked, Error> {
        loop {
            match self.team.next_order()? {
                Order::Step(batch) => {
                    self.team.follow(batch)?;
                    self.steps += 1;
                }
                Order::Score(batch) => self.team.follow_score(batch)?,
                Order::Give(Some(step)) if step != self.steps => {
                    return Err(self.wrong(&format!("orders a checkpoint of step {step}")));
                }
                Order::Give(Some(step)) => return Ok(Asked::Save(step)),
                Order::Give(None) => self.give()?,
                Order::Take(steps) => {
                    self.steps = steps;
                    return Ok(Asked::Load(steps));
                }
                Order::Finish => {
                    if self.last.take() != Some(self.steps) {
                        return Err(self.wrong("orders the run's end"));
                    }
                    self.team.check_frozen()?;
                    let gates = self.team.states_of_first()?;
                    if let Some(gate) = gates.iter().find(|gate| !gate.value.iter().all(|value| value.is_finite())) {
                        return Err(self.wrong(&format!("sends numbers that are none for {}", gate.name)));
                    }
                    return Ok(Asked::Finish(
                        gates.into_iter().map(|gate| (gate.name, gate.shape, gate.value)).collect(),
                    ));
                }
                Order::End => return Ok(Asked::End(self.steps)),
                Order::Over => return Ok(Asked::Over),
            }
        }
    }

    /// Has others hear why this process ends, which it is about to do.
    #[cfg(any(feature = "mpi", feature = "net"))]
    pub(crate) fn give_up(&self, why: &Error) {
        let why = match why {
            // Without what it advises this run to do.
            Error::Peer { device, what } => format!("{device} {what}"),
            other => other.to_string(),
        };
        // Devices that have ended have no more to say.
        let _ = self.team.ask(|_| {
            let why = why.clone();
            move |rank: &mut Rank| {
                rank.transport.give_up(&why);
                Ok(())
            }
        });
    }

    /// What the first device says or asks for, and yet can't be.
    fn wrong(&self, what: &str) -> Error {
        let what = format!("{what} after {} steps here, which can't be", self.steps);
        Error::Peer { device: device_name(&self.team.parts.layout, 0), what }
    }

    /// Brings what stays here to `optimizer`, whose parameters are whole.
    ///
    /// # Errors
    /// What a device reports.
    pub(crate) fn collect(&self, optimizer: &AdamW) -> Result<(), Error> {
        self.team.parts.collect(self.own()?, optimizer)
    }

    /// Sends the first device all that does not stay here.
    ///
    /// # Errors
    /// What a device reports.
    pub(crate) fn give(&self) -> Result<(), Error> {
        let private = self.private.clone();
        self.team.send_to_first(Arc::new(move |name: &str| !private.contains(name)))
    }

    /// Takes over what the first device sends, and what stays here from `optimizer`, if anything does.
    ///
    /// # Errors
    /// What a device reports.
    pub(crate) fn take_over(&self, optimizer: Option<&AdamW>) -> Result<(), Error> {
        let mut own = self.own()?;
        if let Some(optimizer) = optimizer {
            self.team.parts.fill(&mut own, optimizer)?;
        }
        self.team.take_from_first(own, self.steps)
    }

    /// Tells the first device that all it asked for is done.
    ///
    /// # Errors
    /// A device that is gone.
    pub(crate) fn finished(&self) -> Result<(), Error> {
        self.team.tell_first()
    }

    /// What stays here of each device.
    fn own(&self) -> Result<Vec<(usize, Vec<State>)>, Error> {
        let private = self.private.clone();
        self.team.states(Arc::new(move |name: &str| private.contains(name)))
    }
}

impl Team {
    /// Waits for what the first device orders, which is in another process.
    fn next_order(&self) -> Result<Order, Error> {
        self.ask_first(Rank::next_order)
    }

    /// A step that was ordered.
    fn follow(&self, batch: Batch) -> Result<(), Error> {
        self.carry_out(&self.schedule, &batch).map(drop)
    }

    /// A score that was ordered.
    fn follow_score(&self, batch: Batch) -> Result<(), Error> {
        self.carry_out(self.scoring(), &batch).map(drop)
    }

    /// Sends the first device what each of this process's has of what is wanted.
    fn send_to_first(&self, wanted: Wanted) -> Result<(), Error> {
        let send = |_| {
            let wanted = wanted.clone();
            move |rank: &mut Rank| {
                let states = rank.give(&*wanted)?;
                rank.send_states(0, &states)
            }
        };
        self.ask(send).map(drop)
    }

    /// Has each device of this process go on from what the first one sends it and from its `own`.
    fn take_from_first(&self, own: Vec<(usize, Vec<State>)>, steps: u64) -> Result<(), Error> {
        let take = |number: usize| {
            let own = own.iter().find(|(device, _)| *device == number).map(|(_, states)| states.clone());
            move |rank: &mut Rank| {
                // What stays here comes first: nobody else has a say in it.
                let mut states = own.unwrap_or_default();
                states.extend(rank.states_of(0)?);
                rank.take_over(&states, steps)
            }
        };
        self.ask(take).map(drop)
    }

    /// What the first device sends to this process's first.
    fn states_of_first(&self) -> Result<Vec<State>, Error> {
        self.ask_first(|rank| rank.states_of(0))
    }

    /// A word to the first device that all is done.
    fn tell_first(&self) -> Result<(), Error> {
        self.ask_first(|rank| rank.send_states(0, &[]))
    }
}
