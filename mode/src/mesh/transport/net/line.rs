//! A session of two devices, of which this process has one.

use super::router::Routed;
use super::session::Session;
use crate::Error;
use crate::mesh::transport::{Message, Transport};

/// A device's way to the only other. When it ends, what was sent leaves first.
pub(crate) struct Line {
    routed: Routed,
    /// Ends after the device, for it waits for the other's end.
    _session: Ending,
}

struct Ending(Option<Session>);

impl Line {
    /// Of a session and the transports of this process's devices.
    ///
    /// # Errors
    /// No device of this process.
    pub(crate) fn new((session, transports): (Session, Vec<(usize, Routed)>)) -> Result<Self, Error> {
        let none = || Error::Setting("a session without a device of this process".into());
        let (_, routed) = transports.into_iter().next().ok_or_else(none)?;
        Ok(Self { routed, _session: Ending(Some(session)) })
    }

    /// Ends, and tells the other device why.
    pub(crate) fn give_up(mut self, why: &str) {
        self.routed.give_up(why);
    }
}

impl Transport for Line {
    fn send(&mut self, to: usize, message: Message) -> Result<(), Error> {
        self.routed.send(to, message)
    }

    fn receive(&mut self, from: usize) -> Result<Message, Error> {
        self.routed.receive(from)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            session.finish();
        }
    }
}
