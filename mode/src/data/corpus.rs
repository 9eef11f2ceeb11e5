//! A corpus: documents in an order and with a split that their content alone decides.
//!
//! A document's SHA-256 is the only thing asked. Adding a file to a folder therefore moves no other
//! document from one split to another, and the same text is the same corpus on every machine.
//! Near-duplicates are dropped before the split, so that no test document has a twin in training.

use std::collections::HashSet;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{DataError, dedup};

/// Of a hundred documents, those for testing.
const TEST: u64 = 10;

/// The first of a hundred documents that is for training.
const TRAIN: u64 = 15;

/// What a document may be used for. The three never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// 85 % of the documents: the weights are fitted to these.
    Train,
    /// 5 %: looked at while training, to choose and to stop.
    Validation,
    /// 10 %: looked at once, for the reported numbers.
    Test,
}

impl Split {
    /// The split that a key belongs to; a function of the key's bytes and of nothing else.
    pub(crate) fn of(key: &[u8]) -> Self {
        Self::with_test(key, TEST)
    }

    /// The same with so many of a hundred documents for testing; the fewer of two shares are among the more.
    fn with_test(key: &[u8], test: u64) -> Self {
        // The order uses the hash's first bytes; the split uses the last ones, so that any
        // stretch of the ordered documents has all three splits in it.
        let hash = Sha256::digest(key);
        let tail = hash[24..].iter().fold(0u64, |n, &byte| (n << 8) | u64::from(byte));
        let (place, added) = (tail % 100, test.saturating_sub(TEST));
        match place {
            0..TEST => Self::Test,
            TEST..TRAIN => Self::Validation,
            _ if place < TRAIN + added => Self::Test,
            _ => Self::Train,
        }
    }
}

/// One text that stands for itself: a file or a part of one, a JSON line, a word problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it came from, the same on every platform; for people, not for finding it again.
    pub name: String,
    /// The text, with `\n` line ends.
    pub text: String,
    /// What the document may be used for.
    pub split: Split,
}

/// Documents of one domain, ordered by hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// The domain, such as "English"; its lower-case form is the command-line flag that replaces it.
    pub name: String,
    /// The documents, in the order of their text's SHA-256.
    pub documents: Vec<Document>,
}

impl Corpus {
    /// Makes a corpus of named texts: drops near-duplicates (the first one named stays), splits by
    /// content, orders by hash, and stops at `cap` bytes of text.
    pub(crate) fn of_texts(name: &str, texts: Vec<(String, String)>, cap: usize) -> Self {
        let documents = dedup::distinct(texts)
            .into_iter()
            .map(|(name, text)| Document { split: Split::of(text.as_bytes()), name, text })
            .collect();
        let mut corpus = Self::ordered(name, documents);
        let mut bytes = 0;
        corpus.documents.retain(|document| {
            bytes += document.text.len();
            bytes <= cap
        });
        corpus
    }

    /// Makes a corpus of documents whose splits are known, ordered by hash, without exact twins.
    pub(crate) fn ordered(name: &str, documents: Vec<Document>) -> Self {
        let mut keyed: Vec<_> = documents.into_par_iter().map(|d| (Sha256::digest(&d.text), d)).collect();
        keyed.sort_by(|a, b| (&a.0, &a.1.name).cmp(&(&b.0, &b.1.name)));
        let mut seen = HashSet::new();
        keyed.retain(|(hash, _)| seen.insert(*hash));
        Self { name: name.to_owned(), documents: keyed.into_iter().map(|(_, d)| d).collect() }
    }

    /// The SHA-256 over all documents in order (each one's length, split and text), as 64 hex digits.
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        for document in &self.documents {
            hasher.update((document.text.len() as u64).to_le_bytes());
            hasher.update([document.split as u8]);
            hasher.update(&document.text);
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Bytes of text in all documents together.
    pub fn bytes(&self) -> usize {
        self.documents.iter().map(|d| d.text.len()).sum()
    }

    /// The texts of one split, in order.
    pub fn texts(&self, split: Split) -> impl Iterator<Item = &str> {
        self.documents.iter().filter(move |d| d.split == split).map(|d| d.text.as_str())
    }

    /// Puts a fifth of the documents in place of a tenth aside for testing: a small corpus has little to test on.
    pub(crate) fn test_on_a_fifth(&mut self) {
        for document in &mut self.documents {
            document.split = Split::with_test(document.text.as_bytes(), 2 * TEST);
        }
    }

    /// Checks that there are `min` bytes of text or more.
    ///
    /// # Errors
    /// [`DataError::TooLittle`] says how much there is and which flag replaces the corpus.
    pub fn require_bytes(&self, min: usize) -> Result<(), DataError> {
        let bytes = self.bytes();
        if bytes >= min {
            return Ok(());
        }
        Err(DataError::TooLittle { name: self.name.clone(), flag: self.name.to_lowercase(), bytes, needed: min })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(count: usize) -> Vec<(String, String)> {
        (0..count).map(|n| (format!("doc {n}"), format!("word{n} of document {n}"))).collect()
    }

    #[test]
    fn the_order_of_the_input_does_not_matter() {
        let mut texts = sample(50);
        let forward = Corpus::of_texts("English", texts.clone(), usize::MAX);
        texts.reverse();
        assert_eq!(forward, Corpus::of_texts("English", texts, usize::MAX));
        assert_eq!(forward.sha256().len(), 64);
    }

    #[test]
    fn the_splits_are_disjoint_and_have_their_shares() {
        let corpus = Corpus::of_texts("English", sample(4000), usize::MAX);
        let share = |split| corpus.texts(split).count() as f64 / 4000.0;
        assert!((share(Split::Train) - 0.85).abs() < 0.02);
        assert!((share(Split::Validation) - 0.05).abs() < 0.02);
        assert!((share(Split::Test) - 0.10).abs() < 0.02);
    }

    #[test]
    fn a_cap_keeps_all_splits() {
        let corpus = Corpus::of_texts("English", sample(4000), 20_000);
        assert!(corpus.bytes() <= 20_000 && corpus.bytes() > 19_900);
        for split in [Split::Train, Split::Validation, Split::Test] {
            assert!(corpus.texts(split).count() > 20, "{split:?}");
        }
    }

    #[test]
    fn any_change_changes_the_hash() {
        let corpus = Corpus::of_texts("Code", sample(5), usize::MAX);
        let mut other = corpus.clone();
        other.documents[3].text.push('.');
        assert_ne!(corpus.sha256(), other.sha256());
    }

    #[test]
    fn too_little_text_names_amounts_and_the_flag() {
        let corpus = Corpus::of_texts("Code", sample(1), usize::MAX);
        let message = corpus.require_bytes(1000).map_err(|e| e.to_string());
        assert!(message.is_err_and(|m| m.contains("1000") && m.contains("--code")));
        assert!(corpus.require_bytes(5).is_ok());
    }
}
