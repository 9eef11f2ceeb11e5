//! Token ids of one corpus, in memory and in a file that notices when it is damaged.
//!
//! Documents lie one after another, each followed by the end token. A window may span several
//! documents, and attention within it then crosses the end token: the model learns to take it as
//! "what came before does not matter", which costs little and keeps every window full.
//!
//! The file, in little-endian numbers: the magic `MODETOKS`, version (u32), vocabulary size (u32),
//! length of the name (u32), count of ids (u64), the SHA-256 of the tokenizer's file, the name in
//! UTF-8, the ids (u32 each), and the SHA-256 of all that.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::source::read_bytes;
use super::{DataError, Tokenizer};

const MAGIC: &[u8; 8] = b"MODETOKS";
const VERSION: u32 = 2;
const HEADER: usize = 28 + CHECKSUM;
const CHECKSUM: usize = 32;

/// The documents of a corpus as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The corpus, such as "English"; errors name it.
    pub name: String,
    /// The size of the vocabulary; every id is below it.
    pub vocab: u32,
    /// SHA-256 of the `tokenizer.json` that made the ids; zeros where that is not known.
    pub tokenizer: [u8; 32],
    /// The ids of all documents, each document followed by the end token.
    pub ids: Vec<u32>,
}

impl Tokens {
    /// Encodes documents on all cores, each between the beginning that the tokenizer's template gives a text, if any, and the end
    /// token.
    ///
    /// # Errors
    /// [`DataError::NoEndToken`], [`DataError::Tokenizer`].
    pub fn encode<'a>(
        name: &str,
        tokenizer: &Tokenizer,
        documents: impl Iterator<Item = &'a str>,
    ) -> Result<Self, DataError> {
        let (beginning, end) = (tokenizer.beginning()?, tokenizer.require_end_token()?);
        let mut ids = Vec::new();
        for document in tokenizer.encode_all(documents.collect())? {
            ids.extend(beginning);
            ids.extend(document);
            ids.push(end);
        }
        let (name, vocab) = (name.to_owned(), tokenizer.vocab_size() as u32);
        Ok(Self { name, vocab, tokenizer: [0; 32], ids })
    }

    /// Consecutive windows of exactly `len` ids that do not overlap, `limit` of them at most: the
    /// same ones every time, for evaluation. An incomplete window at the end is left out.
    ///
    /// # Errors
    /// [`DataError::TooShort`] if there is not even one window.
    pub fn windows(&self, len: usize, limit: usize) -> Result<Vec<Vec<u32>>, DataError> {
        self.require_window(len)?;
        Ok(self.ids.chunks_exact(len).take(limit).map(<[u32]>::to_vec).collect())
    }

    /// Windows of `len` spread evenly over the tokens, `least` tokens in all if there are so many.
    ///
    /// # Errors
    /// [`DataError::TooShort`] if there is not even one window.
    pub fn spread(&self, len: usize, least: usize) -> Result<Vec<Vec<u32>>, DataError> {
        let all = self.windows(len, usize::MAX)?;
        let count = least.div_ceil(len).min(all.len());
        Ok((0..count).map(|i| all[i * all.len() / count].clone()).collect())
    }

    /// Checks that there is at least one window of `len` ids, and that `len` is not 0.
    pub(crate) fn require_window(&self, len: usize) -> Result<(), DataError> {
        if len > 0 && self.ids.len() >= len {
            return Ok(());
        }
        Err(DataError::TooShort { name: self.name.clone(), tokens: self.ids.len(), window: len })
    }

    /// Writes the ids to a file, over any that is there.
    ///
    /// # Errors
    /// [`DataError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), DataError> {
        let mut bytes = Vec::with_capacity(HEADER + self.name.len() + 4 * self.ids.len() + CHECKSUM);
        bytes.extend(MAGIC);
        for number in [VERSION, self.vocab, self.name.len() as u32] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend((self.ids.len() as u64).to_le_bytes());
        bytes.extend(self.tokenizer);
        bytes.extend(self.name.as_bytes());
        bytes.extend(self.ids.iter().flat_map(|id| id.to_le_bytes()));
        let checksum = Sha256::digest(&bytes);
        bytes.extend(checksum.as_slice());
        std::fs::write(path, bytes).map_err(|error| DataError::Write { path: path.into(), reason: error.to_string() })
    }

    /// Reads what [`Tokens::write`] wrote.
    ///
    /// # Errors
    /// [`DataError::Missing`], [`DataError::Read`]; [`DataError::NotTokens`] or
    /// [`DataError::TokensVersion`] for another file; [`DataError::TokensLength`] or
    /// [`DataError::TokensTampered`] for a damaged one.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = read_bytes(path)?;
        let (Some(MAGIC), Some(version)) = (bytes.first_chunk(), number(&bytes, 8)) else {
            return Err(DataError::NotTokens { path: path.into() });
        };
        if version != VERSION {
            return Err(DataError::TokensVersion { path: path.into(), version, supported: VERSION });
        }
        Self::parse(&bytes, path)
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, DataError> {
        let wrong_length =
            |promised| DataError::TokensLength { path: path.into(), bytes: bytes.len() as u64, promised };
        let header = (number(bytes, 12), number(bytes, 16), number(bytes, 20), number(bytes, 24));
        let (Some(vocab), Some(name_len), Some(low), Some(high)) = header else {
            return Err(wrong_length((HEADER + CHECKSUM) as u64));
        };
        let count = u64::from(low) | (u64::from(high) << 32);
        // Saturating, because a damaged header may promise anything.
        let promised = count.saturating_mul(4).saturating_add((HEADER + CHECKSUM) as u64 + u64::from(name_len));
        if promised != bytes.len() as u64 {
            return Err(wrong_length(promised));
        }
        let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
        let (header, rest) = content.split_at(HEADER);
        let (name, ids) = rest.split_at(name_len as usize);
        let tokenizer = header.last_chunk().copied().unwrap_or_default();
        let ids: Vec<u32> = ids.chunks_exact(4).filter_map(|chunk| number(chunk, 0)).collect();
        let intact = Sha256::digest(content).as_slice() == checksum && ids.iter().all(|&id| id < vocab);
        match str::from_utf8(name) {
            Ok(name) if intact => Ok(Self { name: name.to_owned(), vocab, tokenizer, ids }),
            _ => Err(DataError::TokensTampered { path: path.into() }),
        }
    }
}

/// The little-endian number at an offset.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::Scratch;

    fn sample() -> Tokens {
        Tokens { name: "Żółw".into(), vocab: 70_000, tokenizer: [7; 32], ids: vec![5, 0, 69_999, 7, 0] }
    }

    /// A folder for damaged files, and the bytes of one that is whole.
    fn written(name: &str) -> (Scratch, Vec<u8>) {
        let scratch = Scratch::new(name);
        let path = scratch.path.join("a.tokens");
        sample().write(&path).unwrap();
        (scratch, std::fs::read(&path).unwrap())
    }

    #[test]
    fn documents_are_separated_by_the_end_token() {
        let tokenizer = Tokenizer::train(["aa bb"].into_iter(), 257).unwrap();
        let tokens = Tokens::encode("English", &tokenizer, ["a", "", "b"].into_iter()).unwrap();
        assert_eq!(tokens.ids.len(), 5);
        assert_eq!([tokens.ids[1], tokens.ids[2], tokens.ids[4]], [0, 0, 0]);
        assert_eq!(tokens.vocab, 257);
    }

    #[test]
    fn windows_follow_each_other() {
        assert_eq!(sample().windows(2, 9).unwrap(), [[5, 0], [69_999, 7]]);
        assert_eq!(sample().windows(2, 1).unwrap().len(), 1);
        for len in [0, 6] {
            assert!(sample().windows(len, 9).unwrap_err().to_string().contains("Żółw"));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let scratch = Scratch::new("tokens");
        let path = scratch.path.join("a.tokens");
        sample().write(&path).unwrap();
        assert_eq!(Tokens::read(&path).unwrap(), sample());
    }

    #[test]
    fn every_damaged_byte_and_every_lost_one_is_noticed() {
        let (scratch, good) = written("damage");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(Tokens::read(&scratch.write("bad", &bad)).is_err(), "byte {at}");
            assert!(Tokens::read(&scratch.write("bad", &good[..at])).is_err(), "length {at}");
        }
    }

    #[test]
    fn errors_tell_the_kinds_of_damage_apart() {
        let (scratch, good) = written("kinds");
        let read = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            Tokens::read(&scratch.write("bad", &bytes)).unwrap_err()
        };
        assert!(matches!(read(&|b| b[0] = b'X'), DataError::NotTokens { .. }));
        assert!(matches!(read(&|b| b[8] = 9), DataError::TokensVersion { version: 9, .. }));
        assert!(matches!(read(&|b| b.truncate(70)), DataError::TokensLength { .. }));
        assert!(matches!(read(&|b| b[27] = 255), DataError::TokensLength { .. }));
        assert!(matches!(read(&|b| b[70] ^= 1), DataError::TokensTampered { .. }));
    }
}
