//! Devices in one process: a queue from each to each, and where it is wanted a link that is slower than memory.

use super::ports::Ports;
use super::{Message, Transport};
use crate::Error;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A link that memory is made to look like: what is sent arrives when the sender's port and the receiver's have passed it on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmulatedLink {
    /// Bytes a second that a device sends, to whomever, and that it receives.
    pub bytes_per_second: f64,
    /// Seconds that each message is on its way besides; those to several devices are so at once.
    pub latency: f64,
}

struct Parcel {
    message: Message,
    /// When an emulated link has brought it.
    due: Option<Instant>,
}

/// One device's ends of all queues.
pub struct Local {
    device: usize,
    names: Arc<Vec<String>>,
    to: Vec<Sender<Parcel>>,
    from: Vec<Receiver<Parcel>>,
    link: Option<EmulatedLink>,
    /// The ports of all, and when their time began.
    ports: Arc<Mutex<Ports>>,
    began: Instant,
    patience: Duration,
}

/// The ends of `names.len()` devices, called so in messages.
pub fn local(names: Vec<String>, link: Option<EmulatedLink>, patience: Duration) -> Vec<Local> {
    let (ports, began) = (Arc::new(Mutex::new(Ports::new(names.len()))), Instant::now());
    let names = Arc::new(names);
    let end = |device| Local {
        device,
        names: names.clone(),
        to: Vec::new(),
        from: Vec::new(),
        link,
        ports: ports.clone(),
        began,
        patience,
    };
    let mut ends: Vec<Local> = (0..names.len()).map(end).collect();
    for sender in 0..ends.len() {
        for receiver in 0..ends.len() {
            let (to, from) = channel();
            ends[sender].to.push(to);
            ends[receiver].from.push(from);
        }
    }
    ends
}

impl Local {
    fn gone(&self, other: usize) -> Error {
        Error::Peer { device: self.names[other].clone(), what: "has ended".into() }
    }
}

impl Transport for Local {
    fn send(&mut self, to: usize, message: Message) -> Result<(), Error> {
        let due = self.link.filter(|_| to != self.device).map(|link| {
            let seconds = size_of_val(message.as_slice()) as f64 / link.bytes_per_second;
            let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
            let passed = ports.pass(self.device, to, self.began.elapsed().as_secs_f64(), seconds);
            self.began + Duration::from_secs_f64(passed + link.latency)
        });
        self.to[to].send(Parcel { message, due }).map_err(|_| self.gone(to))
    }

    fn receive(&mut self, from: usize) -> Result<Message, Error> {
        match self.from[from].recv_timeout(self.patience) {
            Ok(Parcel { message, due }) => {
                if let Some(wait) = due.and_then(|due| due.checked_duration_since(Instant::now())) {
                    std::thread::sleep(wait);
                }
                Ok(message)
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.gone(from)),
            Err(RecvTimeoutError::Timeout) => {
                Err(Error::Silent { device: self.names[from].clone(), seconds: self.patience.as_secs_f32() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(link: Option<EmulatedLink>, patience: Duration) -> (Local, Local) {
        let mut ends = local(vec!["one".into(), "two".into()], link, patience).into_iter();
        match (ends.next(), ends.next()) {
            (Some(one), Some(two)) => (one, two),
            _ => unreachable!("two ends were asked for"),
        }
    }

    #[test]
    fn messages_arrive_in_order_or_not_at_all() -> Result<(), Error> {
        let (mut one, mut two) = pair(None, Duration::from_millis(20));
        for number in [1.0, 2.0] {
            one.send(1, Arc::new(vec![number]))?;
        }
        assert_eq!([two.receive(0)?[0], two.receive(0)?[0]], [1.0, 2.0]);
        let error = two.receive(0).expect_err("nothing was sent").to_string();
        assert!(error.contains("one has sent nothing"), "{error}");
        drop(one);
        let error = two.receive(0).expect_err("the other is gone").to_string();
        assert!(error.contains("one has ended"), "{error}");
        Ok(())
    }

    #[test]
    fn an_emulated_link_takes_its_time() -> Result<(), Error> {
        let link = EmulatedLink { bytes_per_second: 4e5, latency: 0.0 };
        let (mut one, mut two) = pair(Some(link), Duration::from_secs(5));
        let started = Instant::now();
        for _ in 0..2 {
            one.send(1, Arc::new(vec![0.0; 1_000]))?;
        }
        assert!(started.elapsed() < Duration::from_millis(5), "a send does not wait");
        two.receive(0)?;
        two.receive(0)?;
        assert!(started.elapsed() >= Duration::from_millis(20), "8,000 bytes at 400,000 a second");
        Ok(())
    }
}
