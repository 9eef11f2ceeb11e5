//! Where messages to and from devices elsewhere go in this process.

use super::{Ended, MOST_MESSAGE, MOST_QUEUED, PIECE, Packet, Piece, What};
use crate::Error;
use crate::mesh::transport::{Local, local};
use crate::mesh::transport::{Message, Transport};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

/// Packets on their way to another process.
pub(super) type Way = UnboundedSender<Packet>;

/// All devices as one process sees them.
pub(super) struct Router {
    names: Vec<String>,
    here: Vec<bool>,
    state: Mutex<State>,
    /// Wakes those who read, where there may be room for more.
    changed: Notify,
}

struct State {
    /// The way to each device elsewhere, until it has ended.
    ways: Vec<Option<Way>>,
    /// The end of each device elsewhere, until it has ended.
    ends: Vec<Option<Local>>,
    ended: Vec<bool>,
    /// The first device that is gone without a word, and what has become of it.
    gone: Option<(usize, String)>,
    /// Bytes of messages from each device elsewhere that nobody has taken.
    queued: Vec<usize>,
    /// Whether each device here waits for another.
    waits: Vec<bool>,
}

/// A device of this process, and its way to all others.
pub(crate) struct Routed {
    device: usize,
    inside: Local,
    router: Arc<Router>,
    /// Why it ends if it does so now, for others to hear.
    last_word: Option<String>,
}

/// Messages whose pieces have not all come, by who sends them to whom.
pub(super) type Begun = BTreeMap<(u32, u32), Vec<u8>>;

impl Router {
    /// That of a process with some of the devices that messages call `names`, and `ways` to the others; and its devices' transports.
    pub(super) fn new(
        names: Vec<String>,
        here: &[usize],
        ways: Vec<Option<Way>>,
        patience: Duration,
    ) -> (Arc<Self>, Vec<(usize, Routed)>) {
        let count = names.len();
        let (mut inside, mut ends) = (Vec::new(), Vec::new());
        for (device, end) in local(names.clone(), None, patience).into_iter().enumerate() {
            let is_here = here.contains(&device);
            ends.push(None);
            match is_here {
                true => inside.push((device, end)),
                false => ends[device] = Some(end),
            }
        }
        let here = (0..count).map(|device| here.contains(&device)).collect();
        let state = State {
            ways,
            ends,
            ended: vec![false; count],
            gone: None,
            queued: vec![0; count],
            waits: vec![false; count],
        };
        let router = Arc::new(Self { names, here, state: Mutex::new(state), changed: Notify::new() });
        let routed = |(device, inside)| (device, Routed { device, inside, router: router.clone(), last_word: None });
        let inside = inside.into_iter().map(routed).collect();
        (router, inside)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message in pieces.
    fn send(&self, from: usize, to: usize, message: &[f32]) -> Result<(), Error> {
        if size_of_val(message) > MOST_MESSAGE {
            let what = format!("can't be sent {} numbers at once; take fewer windows or more parts", message.len());
            return Err(Error::Peer { device: self.names[to].clone(), what });
        }
        let state = self.state();
        let way = state.ways[to].clone().filter(|_| !state.ended[to]);
        drop(state);
        let way = way.ok_or_else(|| self.error(to))?;
        let pieces = message.chunks(PIECE / size_of::<f32>());
        // A message of nothing is one piece too.
        let pieces = pieces.chain(message.is_empty().then_some(message)).collect::<Vec<_>>();
        for (i, piece) in pieces.iter().enumerate() {
            let mut bytes = Vec::with_capacity(size_of_val(*piece));
            piece.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
            let piece = Piece { from: from as u32, to: to as u32, last: i + 1 == pieces.len(), bytes };
            way.send(What::Piece(piece).into()).map_err(|_| self.error(to))?;
        }
        Ok(())
    }

    /// Takes a packet that came from where `behind` are, or passes it on; an error, in words, if it is none of theirs.
    pub(super) fn arrived(&self, behind: &[usize], begun: &mut Begun, packet: Packet) -> Result<(), String> {
        match packet.what {
            Some(What::Piece(piece)) => self.piece(behind, begun, piece),
            Some(What::Ended(Ended { device, what })) if behind.contains(&(device as usize)) => {
                self.end(device as usize, &what, behind);
                Ok(())
            }
            _ => Err("has sent what can't be".into()),
        }
    }

    fn piece(&self, behind: &[usize], begun: &mut Begun, piece: Piece) -> Result<(), String> {
        let (from, to) = (piece.from as usize, piece.to as usize);
        if !behind.contains(&from) || behind.contains(&to) || to >= self.names.len() {
            return Err(format!("has sent a message from device {from} to device {to}, which can't be"));
        }
        if !self.here[to] {
            // To one that has ended since: nobody waits for it.
            let _ = self.state().ways[to].as_ref().map(|way| way.send(What::Piece(piece).into()));
            return Ok(());
        }
        let key = (piece.from, piece.to);
        let mut bytes = begun.remove(&key).unwrap_or_default();
        if bytes.len() + piece.bytes.len() > MOST_MESSAGE {
            return Err(format!("has sent a message of more than {MOST_MESSAGE} bytes"));
        }
        bytes.extend_from_slice(&piece.bytes);
        if !piece.last {
            begun.insert(key, bytes);
            return Ok(());
        }
        let (numbers, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(format!("has sent a message of {} bytes, which are no whole numbers", bytes.len()));
        }
        let message = Arc::new(numbers.iter().map(|&number| f32::from_le_bytes(number)).collect());
        let mut state = self.state();
        // As above.
        if state.ends[from].as_mut().is_some_and(|end| end.send(to, message).is_ok()) {
            state.queued[from] += bytes.len();
        }
        Ok(())
    }

    /// Waits until there is room for what those `behind` a connection send.
    pub(super) async fn room(&self, behind: &[usize]) {
        loop {
            // From here on it is woken, so that nothing is missed between the look and the wait.
            let changed = self.changed.notified();
            if self.has_room(behind) {
                return;
            }
            changed.await;
        }
    }

    /// Where a device here waits there always is: it may wait for what comes behind the rest, or for one that waits for that. Devices that
    /// have ended take nothing more.
    fn has_room(&self, behind: &[usize]) -> bool {
        let state = self.state();
        let mut here = (0..self.names.len()).filter(|&device| self.here[device] && !state.ended[device]).peekable();
        let takes_none = here.peek().is_none();
        let waits = here.any(|device| state.waits[device]);
        takes_none || waits || behind.iter().map(|&device| state.queued[device]).sum::<usize>() < MOST_QUEUED
    }

    /// A device here waits for another.
    fn waits(&self, device: usize) {
        self.state().waits[device] = true;
        self.changed.notify_waiters();
    }

    /// A device here has so many bytes of another, or none, and waits no more.
    fn taken(&self, device: usize, from: usize, bytes: usize) {
        let mut state = self.state();
        state.waits[device] = false;
        if !self.here[from] {
            state.queued[from] -= bytes;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A connection is broken, and with it all devices behind it that have not ended are gone.
    pub(super) fn lose(&self, behind: &[usize], what: &str) {
        behind.iter().for_each(|&device| self.end(device, what, behind));
    }

    /// A device sends nothing more; all are told but those beside it.
    fn end(&self, device: usize, what: &str, beside: &[usize]) {
        let mut state = self.state();
        if std::mem::replace(&mut state.ended[device], true) {
            return;
        }
        if !what.is_empty() && state.gone.is_none() {
            state.gone = Some((device, what.into()));
        }
        let packet = Packet::from(What::Ended(Ended { device: device as u32, what: what.into() }));
        let mut told: Vec<&Way> = Vec::new();
        for way in state
            .ways
            .iter()
            .enumerate()
            .filter(|(other, _)| !beside.contains(other))
            .filter_map(|(_, way)| way.as_ref())
        {
            if !told.iter().any(|before| before.same_channel(way)) {
                // One that is gone needs no word.
                let _ = way.send(packet.clone());
                told.push(way);
            }
        }
        // Whoever waits for it is woken; what it has sent before is still there.
        state.ends[device] = None;
        if state.ended.iter().all(|&ended| ended) {
            // With the last word said, the streams end.
            state.ways.fill(None);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Why a device can't be reached: what was gone first is why others ended.
    fn error(&self, device: usize) -> Error {
        let gone = self.state().gone.clone();
        let (device, what) = gone.unwrap_or_else(|| (device, "has ended".into()));
        Error::Peer { device: self.names[device].clone(), what }
    }
}

impl Transport for Routed {
    fn send(&mut self, to: usize, message: Message) -> Result<(), Error> {
        match self.router.here[to] {
            true => self.inside.send(to, message).map_err(|_| self.router.error(to)),
            false => self.router.send(self.device, to, &message),
        }
    }

    fn receive(&mut self, from: usize) -> Result<Message, Error> {
        self.router.waits(self.device);
        let received = self.inside.receive(from);
        self.router.taken(self.device, from, received.as_ref().map_or(0, |message| size_of_val(message.as_slice())));
        self.last_word = None;
        received.map_err(|error| match error {
            _ if self.router.state().gone.is_some() => self.router.error(from),
            Error::Silent { ref device, seconds } => {
                self.give_up(&format!("{device} has sent nothing for {seconds} s"));
                error
            }
            other => other,
        })
    }

    fn give_up(&mut self, why: &str) {
        self.last_word = Some(format!("has given up: {why}"));
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        let what = self.last_word.take().unwrap_or_default();
        self.router.end(self.device, &what, &[self.device]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    /// Device 0 here; 1 and 2 each behind a way of its own.
    fn three() -> (Arc<Router>, Routed, Vec<UnboundedReceiver<Packet>>) {
        let (to_one, one) = unbounded_channel();
        let (to_two, two) = unbounded_channel();
        let names = ["zero", "one", "two"].map(String::from).to_vec();
        let (router, mut here) =
            Router::new(names, &[0], vec![None, Some(to_one), Some(to_two)], Duration::from_secs(5));
        (router, here.remove(0).1, vec![one, two])
    }

    fn piece(from: u32, to: u32, last: bool, bytes: usize) -> Packet {
        What::Piece(Piece { from, to, last, bytes: vec![0; bytes] }).into()
    }

    #[test]
    fn pieces_are_joined_passed_on_or_refused() -> Result<(), Error> {
        let (router, mut zero, mut ways) = three();
        let mut begun = Begun::new();
        let numbers: Vec<f32> = (0..PIECE as u32).map(|i| i as f32).collect();
        zero.send(1, Arc::new(numbers.clone()))?;
        // What device 0 sent comes back as if from device 1.
        let mut count = 0;
        while let Ok(Packet { what: Some(What::Piece(sent)) }) = ways[0].try_recv() {
            count += 1;
            let back = Piece { from: 1, to: 0, ..sent };
            router.arrived(&[1], &mut begun, What::Piece(back).into()).expect("a piece");
        }
        assert_eq!((count, &*zero.receive(1)?, begun.len()), (4, &numbers, 0));
        router.arrived(&[1], &mut begun, piece(1, 2, true, 8)).expect("passed on");
        assert_eq!(ways[1].try_recv().ok(), Some(piece(1, 2, true, 8)));
        zero.send(2, Arc::new(Vec::new()))?;
        assert_eq!(ways[1].try_recv().ok(), Some(piece(0, 2, true, 0)));
        for (packet, what) in [
            (piece(2, 0, true, 4), "from device 2 to device 0"),
            (piece(1, 9, true, 4), "from device 1 to device 9"),
            (piece(1, 0, true, 3), "3 bytes, which are no whole numbers"),
            (What::Ended(Ended { device: 2, what: String::new() }).into(), "what can't be"),
            (Packet { what: None }, "what can't be"),
        ] {
            let error = router.arrived(&[1], &mut begun, packet).expect_err(what);
            assert!(error.contains(what), "{error}");
        }
        Ok(())
    }

    #[test]
    fn what_nobody_takes_is_read_no_further() -> Result<(), Error> {
        let (wire, mut zero, _ways) = three();
        wire.arrived(&[1], &mut Begun::new(), piece(1, 0, true, 4)).expect("a message");
        assert!(wire.has_room(&[1]));
        wire.state().queued[1] += MOST_QUEUED - 4;
        assert!(!wire.has_room(&[1]) && wire.has_room(&[2]));
        wire.waits(0);
        assert!(wire.has_room(&[1]), "who is waited for may be behind");
        zero.receive(1)?;
        assert!(wire.has_room(&[1]), "a message was taken");
        wire.state().queued[1] += 4;
        assert!(!wire.has_room(&[1]));
        drop(zero);
        assert!(wire.has_room(&[1]), "nobody takes anything");
        Ok(())
    }

    #[test]
    fn what_is_gone_is_named_everywhere() -> Result<(), Error> {
        let (router, mut zero, mut ways) = three();
        router.arrived(&[1], &mut Begun::new(), piece(1, 0, true, 4)).expect("a message");
        router.lose(&[1], "is gone");
        assert_eq!(*zero.receive(1)?, [0.0], "what it had sent is there");
        for error in [zero.receive(1).map(drop), zero.send(1, Arc::new(vec![0.0]))] {
            let error = error.expect_err("it is gone").to_string();
            assert!(error.starts_with("one is gone"), "{error}");
        }
        let ended = |device, what: &str| Some(What::Ended(Ended { device, what: what.into() }).into());
        assert_eq!(ways[1].try_recv().ok(), ended(1, "is gone"));
        zero.give_up("of a reason");
        drop(zero);
        assert_eq!(ways[1].try_recv().ok(), ended(0, "has given up: of a reason"));
        router.lose(&[2], "is gone");
        assert!(ways[1].try_recv().is_err() && ways[1].is_closed(), "with the last device the streams end");
        Ok(())
    }
}
