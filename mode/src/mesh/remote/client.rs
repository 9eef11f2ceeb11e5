//! A model's way to an expert's owner, as a device's to another: this process is device 0, the owner's 1.

use super::message::{NUMBERS, Question, said, whole};
use crate::Error;
use crate::mesh::transport::{Message, Transport};
use crate::model::{Chunk, RemoteExpert, Rows, Span};
use mode_tensor::Tensor;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The owner's device.
const OWNER: usize = 1;

/// The way, and what is on it.
pub struct ExpertClient {
    /// What errors call the owner.
    owner: String,
    dialogue: Mutex<Dialogue>,
}

struct Dialogue {
    transport: Box<dyn Transport + Send>,
    /// The next question's number.
    next: usize,
    /// Those without an answer, oldest first.
    open: VecDeque<usize>,
    /// Those whose answer was waited for in vain, and may still come.
    late: BTreeSet<usize>,
    /// By number, the lives of sequences that the owner keeps something for.
    sequences: Vec<Weak<()>>,
}

impl ExpertClient {
    /// To the owner at the other end of `transport`.
    pub fn new(owner: String, transport: Box<dyn Transport + Send>) -> Self {
        let dialogue =
            Dialogue { transport, next: 0, open: VecDeque::new(), late: BTreeSet::new(), sequences: Vec::new() };
        Self { owner, dialogue: Mutex::new(dialogue) }
    }

    fn dialogue(&self) -> MutexGuard<'_, Dialogue> {
        self.dialogue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::Owner { owner: self.owner.clone(), what: what.into() }
    }
}

impl Dialogue {
    /// The number of a sequence, which may be new: the first that none has which is not over.
    fn number(&mut self, span: &Span) -> usize {
        let life = span.cache.life();
        if let Some(known) = self.sequences.iter().position(|other| other.ptr_eq(&life)) {
            return known;
        }
        let free = self.sequences.iter().position(|other| other.strong_count() == 0);
        let number = free.unwrap_or(self.sequences.len());
        self.sequences.resize(self.sequences.len().max(number + 1), Weak::new());
        self.sequences[number] = life;
        number
    }

    fn question(&mut self, block: usize, x: Vec<f32>, rows: Rows) -> Question {
        // An owner that has let go of one already does not mind.
        let is_over = |number: &usize| self.sequences[*number].strong_count() == 0;
        let over = (0..self.sequences.len()).filter(is_over).collect();
        let (length, spans) = match rows {
            Rows::Windows(length) => (length, &[][..]),
            Rows::Spans(spans) => (0, spans),
        };
        let chunks = spans.iter().map(|span| Chunk {
            sequence: self.number(span),
            past: span.cache.past(),
            tokens: span.tokens,
            capacity: span.cache.capacity(),
        });
        let chunks = chunks.collect();
        let number = self.next;
        self.next = (number + 1) % NUMBERS;
        Question { number, block, length, over, chunks, x }
    }

    /// What the owner sends for this question; the answers to others, which nobody waits for any more, are passed over, each once.
    fn answer(&mut self, number: usize) -> Result<Message, Error> {
        self.late.insert(number);
        loop {
            let message = self.transport.receive(OWNER)?;
            match message.first().copied().and_then(whole).filter(|found| self.late.remove(found)) {
                Some(found) if found != number => {}
                Some(_) => return Ok(message),
                None => {
                    let what = "has answered what was not asked".into();
                    return Err(Error::Peer { device: "the owner".into(), what });
                }
            }
        }
    }
}

impl RemoteExpert for ExpertClient {
    fn ask(&self, block: usize, x: &Tensor, rows: Rows) -> Result<(), Error> {
        let x = x.to_vec()?;
        let mut dialogue = self.dialogue();
        let question = dialogue.question(block, x, rows);
        dialogue.transport.send(OWNER, Arc::new(question.to_message())).map_err(|error| self.wrong(said(error)))?;
        dialogue.open.push_back(question.number);
        Ok(())
    }

    fn answer(&self, out: &Tensor) -> Result<(), Error> {
        let mut dialogue = self.dialogue();
        let number = dialogue.open.pop_front().ok_or_else(|| self.wrong("was not asked"))?;
        let message = dialogue.answer(number).map_err(|error| self.wrong(said(error)))?;
        match message.split_first() {
            Some((_, f)) if f.len() == out.len() => Ok(out.write(f)?),
            _ => Err(self.wrong(format!("has answered {} numbers for {}", message.len(), out.len() + 1))),
        }
    }
}

impl Drop for ExpertClient {
    /// Asks nothing more.
    fn drop(&mut self) {
        // One that is gone needs no word.
        let _ = self.dialogue().transport.send(OWNER, Arc::default());
    }
}
