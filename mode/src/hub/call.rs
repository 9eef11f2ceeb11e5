//! Calls of hf-hub. It waits for ever for a server that stops sending, and panics on some answers that make no sense; so each
//! call is made on a thread of its own, which is watched.

use hf_hub::api::Progress;
use hf_hub::api::sync::ApiError;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

/// The name of those threads, of whose panics nobody need be told.
const THREAD: &str = "hf-hub";

/// True where hf-hub runs, whose panics are caught and told as errors.
pub(crate) fn is_calling_library() -> bool {
    std::thread::current().name() == Some(THREAD)
}

/// What a call's thread tells the one that waits.
pub(super) enum Event<T> {
    /// So many bytes of a file are here, of so many.
    Moved { done: u64, bytes: u64 },
    /// What came of the call.
    Done(Result<T, ApiError>),
}

/// Why a call came to nothing.
pub(super) enum Unanswered {
    /// For too long nothing came.
    Silent,
    /// hf-hub panicked.
    Panicked,
    /// The system gives no more threads.
    NoThread(std::io::Error),
}

/// What hf-hub reports its progress to.
pub(super) struct Watch<T> {
    sender: Sender<Event<T>>,
    done: u64,
    bytes: u64,
}

impl<T> Watch<T> {
    pub(super) fn new(sender: Sender<Event<T>>) -> Self {
        Self { sender, done: 0, bytes: 0 }
    }

    fn tell(&self) {
        // Whoever has stopped waiting wants to know no more.
        let _ = self.sender.send(Event::Moved { done: self.done, bytes: self.bytes });
    }
}

impl<T> Progress for Watch<T> {
    fn init(&mut self, size: usize, _: &str) {
        (self.done, self.bytes) = (0, size as u64);
        self.tell();
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        self.tell();
    }

    fn finish(&mut self) {}
}

/// What `work` gives, unless nothing comes of it for as long as `patience`. The thread of a call that was given up goes on
/// until the server ends it, and writes to nothing but the part of a file that the next fetch goes on with.
pub(super) fn call<T: Send + 'static>(
    patience: Duration,
    see: &mut dyn FnMut(u64, u64),
    work: impl FnOnce(Sender<Event<T>>) -> Result<T, ApiError> + Send + 'static,
) -> Result<Result<T, ApiError>, Unanswered> {
    let (sender, receiver) = mpsc::channel();
    let body = move || {
        let result = work(sender.clone());
        let _ = sender.send(Event::Done(result));
    };
    std::thread::Builder::new().name(THREAD.into()).spawn(body).map_err(Unanswered::NoThread)?;
    loop {
        match receiver.recv_timeout(patience) {
            Ok(Event::Moved { done, bytes }) => see(done, bytes),
            Ok(Event::Done(result)) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => return Err(Unanswered::Silent),
            Err(RecvTimeoutError::Disconnected) => return Err(Unanswered::Panicked),
        }
    }
}
