//! Text on its way to the model: from files, packages or a generator to windows of token ids.
//!
//! The path is always the same. A [`Source`] or one of the built-in generators ([`english`],
//! [`code`], [`word_problems`]) yields a [`Corpus`] of documents without near twins, each of which
//! belongs to one [`Split`]; a [`Tokenizer`] turns the documents of a split into [`Tokens`]; a
//! [`Mixture`] serves training windows out of several of them, and [`Tokens::windows`] serves the
//! evaluation windows. Everything here is a pure function of its input (and of a seed where one is
//! asked for), so that a run can be repeated bit by bit on another platform.

mod built_in;
mod corpus;
mod cut;
mod dedup;
mod error;
mod math;
mod mixture;
mod packages;
mod prose;
mod rust_lexer;
mod source;
mod tokenizer;
mod tokens;

pub use built_in::{DOMAINS, built_in};
pub use corpus::{Corpus, Document, Split};
pub(crate) use dedup::shingles;
pub use error::DataError;
pub use math::{ANSWER_MARK, SOLUTION_MARK, word_problems};
pub(crate) use mixture::shifted;
pub use mixture::{Mixture, MixtureState};
pub use packages::{code, code_by_packages, english, packages};
pub use source::Source;
pub(crate) use tokenizer::is_calling_library;
pub use tokenizer::{END_TOKEN, Tokenizer};
pub use tokens::Tokens;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    /// A folder for one test, removed when the test is over.
    pub struct Scratch {
        pub path: PathBuf,
    }

    impl Scratch {
        pub fn new(name: &str) -> Self {
            let name = format!("mode-data-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self { path }
        }

        pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.path.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
