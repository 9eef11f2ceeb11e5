//! Devices in processes of their own under `mpirun`: process i has device i, and numbers go as MPI's messages.
//!
//! MPI promises what [`Transport`] does of order: messages from one process to another under one tag do not overtake each other. Its
//! waits would go on for ever, so receipts ask again and again whether something is there.

use super::{Message, Transport};
use crate::Error;
use mpi::Threading;
use mpi::environment::Universe;
use mpi::request::{Request, StaticScope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Source};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a step's messages are called.
const TAG: i32 = 1;

/// How long a receipt asks without a pause; most messages come sooner.
const EAGER: Duration = Duration::from_millis(1);

/// How long it then pauses.
const PAUSE: Duration = Duration::from_micros(50);

/// All processes that `mpirun` has started, of which this is one.
pub(crate) struct World {
    universe: Universe,
}

impl World {
    /// Joins the others.
    ///
    /// # Errors
    /// An MPI that takes calls from its first thread alone.
    pub(crate) fn join() -> Result<Self, Error> {
        match mpi::initialize_with_threading(Threading::Serialized) {
            Some((universe, Threading::Serialized | Threading::Multiple)) => Ok(Self { universe }),
            Some(_) => Err(Error::Setting("this MPI is not built for threads; use one that is".into())),
            None => Err(Error::Setting("MPI is in use in this process already".into())),
        }
    }

    /// The number of this process's device.
    pub(crate) fn device(&self) -> usize {
        self.universe.world().rank() as usize
    }

    /// What every process says, in order; each must say something, even in vain.
    pub(crate) fn gather(&self, text: &str) -> Vec<String> {
        let world = self.universe.world();
        let size = world.size() as usize;
        let mut lengths = vec![0_u64; size];
        world.all_gather_into(&(text.len() as u64), &mut lengths[..]);
        // All say as much as the longest; the rest is cut off again.
        let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
        let mut own = text.as_bytes().to_vec();
        own.resize(longest, 0);
        let mut all = vec![0_u8; longest * size];
        world.all_gather_into(&own[..], &mut all[..]);
        let text = |(i, &length): (usize, &u64)| &all[i * longest..i * longest + length as usize];
        lengths.iter().enumerate().map(text).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// This device's way to the others, whom messages call by `names`.
    pub(crate) fn transport(&self, names: Vec<String>, patience: Duration) -> Mpi {
        Mpi { names, patience, sent: VecDeque::new() }
    }

    /// Leaves the others, who all have to do the same; not so where something went wrong, for then there may be none.
    pub(crate) fn leave(self, well: bool) {
        if !well {
            std::mem::forget(self.universe);
        }
    }
}

/// One device's way to all others. It must end before its [`World`].
pub(crate) struct Mpi {
    names: Vec<String>,
    patience: Duration,
    sent: VecDeque<Sent>,
}

/// A message that may not have left yet.
struct Sent {
    request: Request<'static, [f32], StaticScope>,
    message: Message,
}

// SAFETY: a request is a handle that any thread may ask for, one at a time, which `Threading::Serialized` asks of MPI.
unsafe impl Send for Sent {}

impl Mpi {
    /// Lets go of messages that have left.
    fn reap(&mut self) {
        while let Some(Sent { request, message }) = self.sent.pop_front() {
            if let Err(request) = request.test() {
                self.sent.push_front(Sent { request, message });
                return;
            }
        }
    }

    fn silent(&self, device: usize) -> Error {
        Error::Silent { device: self.names[device].clone(), seconds: self.patience.as_secs_f32() }
    }
}

impl Transport for Mpi {
    fn send(&mut self, to: usize, message: Message) -> Result<(), Error> {
        self.reap();
        // SAFETY: the numbers live as long as `message`, which is kept, or leaked, until the request is complete.
        let numbers: &'static [f32] = unsafe { std::slice::from_raw_parts(message.as_ptr(), message.len()) };
        let world = SimpleCommunicator::world();
        let request = world.process_at_rank(to as i32).immediate_send_with_tag(StaticScope, numbers, TAG);
        self.sent.push_back(Sent { request, message });
        Ok(())
    }

    fn receive(&mut self, from: usize) -> Result<Message, Error> {
        let world = SimpleCommunicator::world();
        let process = world.process_at_rank(from as i32);
        let began = Instant::now();
        loop {
            if let Some((message, status)) = process.immediate_matched_probe_with_tag(TAG) {
                let mut numbers =
                    vec![0.0; status.count(<f32 as mpi::traits::Equivalence>::equivalent_datatype()) as usize];
                message.matched_receive_into(&mut numbers[..]);
                return Ok(Arc::new(numbers));
            }
            self.reap();
            match began.elapsed() {
                waited if waited > self.patience => return Err(self.silent(from)),
                waited if waited > EAGER => std::thread::sleep(PAUSE),
                _ => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for Mpi {
    /// Waits until all has left; what never does is leaked, for MPI may still read it.
    fn drop(&mut self) {
        let began = Instant::now();
        self.reap();
        while !self.sent.is_empty() && began.elapsed() < self.patience {
            std::thread::sleep(PAUSE);
            self.reap();
        }
        self.sent.drain(..).for_each(std::mem::forget);
    }
}
