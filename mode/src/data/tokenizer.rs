//! Text to token ids and back, by a tokenizer trained here or one that came with a model.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Model};

use super::DataError;
use super::source::read_bytes;

/// The token that ends a document in the tokenizers trained here; its id is 0.
pub const END_TOKEN: &str = "<|end|>";

/// What other tokenizers call their end token, the likeliest first.
// <eos> stands before </s>, which beside it is a word of HTML.
const END_NAMES: [&str; 6] = [END_TOKEN, "<|endoftext|>", "<|end_of_text|>", "<eos>", "</s>", "<|im_end|>"];

/// The end token and all bytes: a smaller vocabulary could not spell every text.
const LEAST_VOCAB: usize = 257;

/// Four times the largest in use; the trainer takes memory for all of them at once.
const MOST_VOCAB: usize = 1 << 20;

/// Calls of the tokenizer library that are under way. It panics on some broken files and on texts that they can't encode;
/// those panics come back as errors, so whoever prints panics asks [`is_calling_library`] first.
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// True while the tokenizer library runs, whose panics are caught and told as errors.
pub(crate) fn is_calling_library() -> bool {
    CALLS.load(Ordering::Relaxed) > 0
}

/// What `call` gives; a panic in it is an error like any other of the library's.
fn library<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let result = catch_unwind(AssertUnwindSafe(call));
    CALLS.fetch_sub(1, Ordering::Relaxed);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(text.unwrap_or("a panic without a message").to_string().into())
    })
}

/// A tokenizer; encodes any text without loss when it was trained here.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Trains a byte-level BPE tokenizer of at most `vocab` tokens. The same texts give the same
    /// tokenizer, byte by byte. A vocabulary stays smaller when the texts have no more pairs.
    ///
    /// # Errors
    /// [`DataError::VocabSize`] below 257 tokens or above a million, [`DataError::Tokenizer`] if the library fails.
    pub fn train<'a>(texts: impl Iterator<Item = &'a str> + Send, vocab: usize) -> Result<Self, DataError> {
        if !(LEAST_VOCAB..=MOST_VOCAB).contains(&vocab) {
            return Err(DataError::VocabSize { vocab, least: LEAST_VOCAB, most: MOST_VOCAB });
        }
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab)
            .show_progress(false)
            .special_tokens(vec![AddedToken::from(END_TOKEN, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<_>>())
            .build();
        let byte_level = ByteLevel::default().add_prefix_space(false);
        let mut inner = tokenizers::Tokenizer::new(BPE::default());
        inner.with_pre_tokenizer(Some(byte_level)).with_decoder(Some(byte_level));
        inner.train(&mut TrainerWrapper::BpeTrainer(trainer), texts).map_err(failed("training"))?;
        Ok(Self { inner })
    }

    /// Reads a Hugging Face `tokenizer.json`.
    ///
    /// # Errors
    /// [`DataError::Missing`], [`DataError::Read`] or [`DataError::TokenizerFile`].
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Self::from_json(path, read_bytes(path)?)
    }

    /// From what a `tokenizer.json` would say; `path` is where that comes from.
    pub(crate) fn from_json(path: &Path, bytes: Vec<u8>) -> Result<Self, DataError> {
        let broken =
            |error: tokenizers::Error| DataError::TokenizerFile { path: path.into(), reason: error.to_string() };
        let mut inner = library(|| tokenizers::Tokenizer::from_bytes(bytes)).map_err(broken)?;
        // Files carry the cuts and the filling of whoever saved them; ours are whole texts, cut into windows by us.
        inner.with_truncation(None).map_err(broken)?;
        inner.with_padding(None);
        Ok(Self { inner })
    }

    /// Writes the tokenizer as a `tokenizer.json`, over any file that is there.
    ///
    /// # Errors
    /// [`DataError::Write`], [`DataError::Tokenizer`].
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        std::fs::write(path, self.to_json()?)
            .map_err(|error| DataError::Write { path: path.into(), reason: error.to_string() })
    }

    /// The content of the `tokenizer.json`.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if the library fails.
    pub fn to_json(&self) -> Result<String, DataError> {
        self.inner.to_string(true).map_err(failed("writing"))
    }

    /// The ids of a text. `add_special` adds what the model's own template puts around a text
    /// (nothing, for a tokenizer trained here).
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if the library fails.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, DataError> {
        let encoding = library(|| self.inner.encode_fast(text, add_special)).map_err(failed("encoding"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of many texts, worked out on all cores; nothing is added to them.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if the library fails.
    pub fn encode_all(&self, texts: Vec<&str>) -> Result<Vec<Vec<u32>>, DataError> {
        let encodings = library(|| self.inner.encode_batch_fast(texts, false)).map_err(failed("encoding"))?;
        Ok(encodings.into_iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// The text of ids; ids outside the vocabulary are left out, and so are special tokens if
    /// `skip_special`. Bytes that are no UTF-8 become replacement characters.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if the library fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, DataError> {
        library(|| self.inner.decode(ids, skip_special)).map_err(failed("decoding"))
    }

    /// One more than the greatest id, so that an embedding with as many rows has one for every id.
    pub fn vocab_size(&self) -> usize {
        // A tokenizer may have gaps between its ids; counting its tokens would then be too few.
        let greatest = self.inner.get_vocab(true).into_values().max();
        greatest.map_or(0, |id| id as usize + 1).max(self.inner.get_model().get_vocab_size())
    }

    /// What the model's own template puts before a text, as far as that is one token.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if the library fails.
    pub fn beginning(&self) -> Result<Option<u32>, DataError> {
        let around = self.encode("", true)?;
        Ok(around.first().copied().filter(|&id| self.end_token() != Some(id)))
    }

    /// The id of the token that ends a document.
    pub fn end_token(&self) -> Option<u32> {
        END_NAMES.iter().find_map(|name| self.inner.token_to_id(name))
    }

    /// The id of the token that ends a document, for those who cannot do without.
    ///
    /// # Errors
    /// [`DataError::NoEndToken`].
    pub fn require_end_token(&self) -> Result<u32, DataError> {
        self.end_token().ok_or_else(|| DataError::NoEndToken { wanted: END_NAMES.join(" or ") })
    }
}

/// Turns the library's error at doing `what` into ours.
fn failed(what: &'static str) -> impl Fn(tokenizers::Error) -> DataError {
    move |error| DataError::Tokenizer { what, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::Scratch;

    const TEXTS: [&str; 3] = [
        "the cat sat on the mat and the other cat sat on the other mat",
        "fn main() {\n    println!(\"the cat\");\n}",
        "the mat is the cat's, says the cat on the mat",
    ];

    fn trained() -> Tokenizer {
        Tokenizer::train(TEXTS.into_iter(), 290).unwrap()
    }

    #[test]
    fn training_is_deterministic() {
        let json = trained().to_json().unwrap();
        for _ in 0..5 {
            assert_eq!(trained().to_json().unwrap(), json);
        }
    }

    #[test]
    fn any_text_comes_back() {
        let tokenizer = trained();
        for text in ["the cat", " leading", "zażółć 🦀 \t\r\n", "", "\u{0}\u{7f}"] {
            let ids = tokenizer.encode(text, true).unwrap();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
        assert!(tokenizer.encode(" the cat", false).unwrap().len() <= 3);
    }

    #[test]
    fn the_end_token_is_zero_and_special() {
        let tokenizer = trained();
        assert_eq!(tokenizer.end_token(), Some(0));
        assert_eq!(tokenizer.encode("a<|end|>", false).unwrap()[1], 0);
        assert_eq!(tokenizer.decode(&[0], true).unwrap(), "");
        assert_eq!(tokenizer.decode(&[0], false).unwrap(), END_TOKEN);
    }

    #[test]
    fn the_vocabulary_is_as_asked() {
        assert_eq!(trained().vocab_size(), 290);
        assert_eq!(Tokenizer::train(TEXTS.into_iter(), 257).unwrap().vocab_size(), 257);
        assert!(Tokenizer::train(TEXTS.into_iter(), 256).is_err());
    }

    #[test]
    fn many_texts_are_encoded_as_one_by_one() {
        let tokenizer = trained();
        let one_by_one: Vec<_> = TEXTS.iter().map(|t| tokenizer.encode(t, false).unwrap()).collect();
        assert_eq!(tokenizer.encode_all(TEXTS.to_vec()).unwrap(), one_by_one);
    }

    #[test]
    fn a_saved_tokenizer_is_the_same_and_a_bad_file_is_named() {
        let scratch = Scratch::new("tokenizer");
        let path = scratch.path.join("tokenizer.json");
        trained().save(&path).unwrap();
        let again = Tokenizer::open(&path).unwrap();
        assert_eq!(again.to_json().unwrap(), trained().to_json().unwrap());
        let bad = scratch.write("bad.json", b"{}");
        let said = Tokenizer::open(&bad).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("bad.json") && !said.contains('\n'));
        assert!(matches!(Tokenizer::open(&scratch.path.join("none")).map(|_| ()), Err(DataError::Missing { .. })));
    }
}
