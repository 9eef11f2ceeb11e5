//! What crosses between a model and the owner of an expert beside it: of each block x one way and f(x) back, `[tokens, width]`, and a few
//! numbers that say which tokens these are. All is f32, as messages are; counts below 2^24 are exact so.
//!
//! ```text
//! question = number, block, length, sequences that are over, sequences with new tokens, and of each its number
//!            | sequence, past, tokens, capacity (once for each with new tokens) | x
//! answer   = number | f(x)
//! ```
//!
//! A question without sequences is about windows of `length` tokens; one of nothing is the last.

use crate::Error;
use crate::model::Chunk;

/// Numbers before the lists.
const HEAD: usize = 5;

/// Question numbers begin anew here, where f32 would no longer tell them apart.
pub(super) const NUMBERS: usize = 1 << 24;

/// A block's x, and what its rows are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    /// The answer has the same.
    pub(super) number: usize,
    pub(super) block: usize,
    /// Tokens a window, where there are no sequences.
    pub(super) length: usize,
    /// Sequences that are over.
    pub(super) over: Vec<usize>,
    /// Sequences with new tokens.
    pub(super) chunks: Vec<Chunk>,
    pub(super) x: Vec<f32>,
}

impl Question {
    pub(super) fn to_message(&self) -> Vec<f32> {
        let Self { number, block, length, over, chunks, x } = self;
        let head = [*number, *block, *length, over.len(), chunks.len()].into_iter().chain(over.iter().copied());
        let chunks = chunks.iter().flat_map(|chunk| [chunk.sequence, chunk.past, chunk.tokens, chunk.capacity]);
        head.chain(chunks).map(|count| count as f32).chain(x.iter().copied()).collect()
    }

    /// None if a message is no question.
    pub(super) fn from_message(message: &[f32]) -> Option<Self> {
        let mut rest = message;
        let mut counts = |count: usize| {
            let (counts, behind) = rest.split_at_checked(count)?;
            rest = behind;
            counts.iter().map(|&count| whole(count)).collect::<Option<Vec<usize>>>()
        };
        let [number, block, length, over, chunks] = *counts(HEAD)?.as_array::<HEAD>()?;
        let over = counts(over)?;
        let chunks = counts(chunks.checked_mul(4)?)?;
        let chunk = |&[sequence, past, tokens, capacity]: &[usize; 4]| Chunk { sequence, past, tokens, capacity };
        let chunks = chunks.as_chunks().0.iter().map(chunk).collect();
        Some(Self { number, block, length, over, chunks, x: rest.to_vec() })
    }
}

/// A count, if a number is one.
pub(super) fn whole(number: f32) -> Option<usize> {
    (number >= 0.0 && number < NUMBERS as f32 && number.fract() == 0.0).then_some(number as usize)
}

/// What an error says of whom a message was for or from, without what it advises a run to do.
pub(crate) fn said(error: Error) -> String {
    match error {
        Error::Peer { what, .. } => what,
        Error::Silent { seconds, .. } => format!("has sent nothing for {seconds} s, which is --patience"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_arrive_as_they_were_and_what_is_none_is_refused() {
        let chunk = |sequence| Chunk { sequence, past: 3, tokens: 1, capacity: 9 };
        let question = Question {
            number: NUMBERS - 1,
            block: 1,
            length: 2,
            over: vec![7, 0],
            chunks: vec![chunk(1), chunk(2)],
            x: vec![0.5, -1.0],
        };
        let message = question.to_message();
        assert_eq!(message.len(), HEAD + 2 + 8 + 2);
        assert_eq!(Question::from_message(&message), Some(question));
        for broken in [&message[..4], &message[..6], &message[..HEAD + 2 + 7], &[0.5, 0.0, 0.0, 0.0, 0.0]] {
            assert_eq!(Question::from_message(broken), None, "{broken:?}");
        }
        assert_eq!([f32::NAN, -1.0, 1e9, 0.25].map(whole), [None; 4]);
    }
}
