//! The three texts that the program brings along, for the demo and for experiments.

use super::{Corpus, DataError, code, english, word_problems};

/// What a base is good at, and the two domains that it is adapted to.
pub const DOMAINS: [&str; 3] = ["english", "code", "math"];

/// Word problems of the built-in Math.
const PROBLEMS: usize = 7_500;

/// The text of one of the [`DOMAINS`], the same for every seed: what changes with it is the training alone.
///
/// # Errors
/// As [`english`].
pub fn built_in(domain: usize) -> Result<Corpus, DataError> {
    match domain {
        0 => english(),
        1 => code(),
        _ => Ok(word_problems(1, PROBLEMS)),
    }
}
