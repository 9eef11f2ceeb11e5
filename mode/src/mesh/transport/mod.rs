//! How devices reach one another: numbers to one of them, numbers from one of them, in the order in which they were sent.
//!
//! Whoever implements it promises: a send does not wait for the receiver; what one device sends another arrives whole and in order; a
//! receipt ends with an error, and not never, once the sender is gone or silent for too long.
//!
//! Devices of one process have queues (`local.rs`), which may be made as slow as a link (`ports.rs`); those of several have MPI (`mpi.rs`) or
//! gRPC (`net/`), and say first what they have (`handshake.rs`). On top of any of them are collectives (`collective.rs`).

mod collective;
#[cfg(any(feature = "mpi", feature = "net"))]
mod handshake;
mod local;
#[cfg(feature = "mpi")]
pub(crate) mod mpi;
#[cfg(feature = "net")]
pub(crate) mod net;
mod ports;

pub(super) use collective::{Group, same_count};
#[cfg(any(feature = "mpi", feature = "net"))]
pub(crate) use handshake::Hello;
pub use local::{EmulatedLink, Local, local};
pub(super) use ports::Ports;

use crate::Error;
use std::sync::Arc;
use std::time::Duration;

/// How long a device waits for another by default.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Numbers on their way.
pub type Message = Arc<Vec<f32>>;

/// One device's way to all others.
pub trait Transport {
    /// Sends numbers to device `to`, and does not wait.
    ///
    /// # Errors
    /// A device that is gone.
    fn send(&mut self, to: usize, message: Message) -> Result<(), Error>;

    /// Waits for the next numbers from device `from`.
    ///
    /// # Errors
    /// A device that is gone, or that has sent nothing for too long.
    fn receive(&mut self, from: usize) -> Result<Message, Error>;

    /// Has others hear why this device ends, which it is about to do, where there is a way to tell them.
    fn give_up(&mut self, _why: &str) {}
}
