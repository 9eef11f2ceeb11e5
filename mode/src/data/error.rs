//! What can go wrong between a file and a batch: one enum, one line for each, and each line says
//! what to do next.

use std::path::PathBuf;

/// Why data could not be read, made, written or served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A source names a path that is not there.
    #[error("no file or folder {}: check the path", path.display())]
    Missing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The operating system refused to read a file or folder.
    #[error("cannot read {}: {reason}; check its permissions", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        reason: String,
    },
    /// The operating system refused to write a file.
    #[error("cannot write {}: {reason}; check the folder, its permissions and the free space", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        reason: String,
    },
    /// A single text file is not UTF-8.
    #[error("{} is not UTF-8 text (first bad byte at offset {offset}): convert it to UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset in bytes of the first byte that is not UTF-8.
        offset: usize,
    },
    /// A source is written in a form that is none of the three.
    #[error("cannot understand the source {text:?}: give a text file, a folder, or FILE.jsonl:field[,field]")]
    BadSource {
        /// What was given.
        text: String,
    },
    /// A line of a JSON-lines file is not a JSON object.
    #[error("{} line {line} is not a JSON object ({reason}): every line must be one", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The parser's own words.
        reason: String,
    },
    /// A line of a JSON-lines file lacks a wanted field, or has something other than text in it.
    #[error("{} line {line} has no text field {field:?}: its text fields are {present}", path.display())]
    NoField {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The wanted field.
        field: String,
        /// The text fields the line does have, joined by commas.
        present: String,
    },
    /// A corpus is smaller than its user needs.
    #[error(
        "{name} has {bytes} bytes of text after near-duplicates were dropped, but {needed} are needed: give more with --{flag}"
    )]
    TooLittle {
        /// The corpus.
        name: String,
        /// The command-line flag, without dashes, that replaces the corpus.
        flag: String,
        /// Bytes there are.
        bytes: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// Neither CARGO_HOME nor a home folder is known.
    #[error("cannot find cargo's folder: set CARGO_HOME, or give your own text with --{flag}")]
    NoCargoHome {
        /// The command-line flag, without dashes, that replaces the corpus.
        flag: String,
    },
    /// A package whose text a built-in corpus is made of is not unpacked on this machine.
    #[error(
        "the source of package {package} {version} is not in {}: run `cargo fetch` in the project's folder, or give your own text with --{flag}", folder.display()
    )]
    NoPackage {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// The folder that was searched.
        folder: PathBuf,
        /// The command-line flag, without dashes, that replaces the corpus.
        flag: String,
    },
    /// A tokenizer file cannot be understood.
    #[error("{} is no tokenizer.json that can be used ({reason}): take the one that belongs to the model", path.display())]
    TokenizerFile {
        /// The file.
        path: PathBuf,
        /// The tokenizer library's own words.
        reason: String,
    },
    /// A vocabulary that can't hold all bytes and the end token, or is beyond reason.
    #[error("a vocabulary of {vocab} tokens can't be: ask for {least} to {most}")]
    VocabSize {
        /// The size asked for.
        vocab: usize,
        /// The least size possible.
        least: usize,
        /// The greatest size possible.
        most: usize,
    },
    /// The tokenizer library failed at training, encoding or decoding.
    #[error("the tokenizer failed at {what}: {reason}; check that tokenizer and text belong together")]
    Tokenizer {
        /// What was being done.
        what: &'static str,
        /// The library's own words.
        reason: String,
    },
    /// Documents cannot be separated because the tokenizer has no end token.
    #[error("the tokenizer has no end token: add one named {wanted} to its tokenizer.json")]
    NoEndToken {
        /// The names that would do.
        wanted: String,
    },
    /// A file is not a file of tokens.
    #[error("{} is not a file of tokens of this program: make it again", path.display())]
    NotTokens {
        /// The file.
        path: PathBuf,
    },
    /// A file of tokens was written by another version of the format.
    #[error("{} is a file of tokens of version {version}, but this program reads version {supported}: make it again", path.display())]
    TokensVersion {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        version: u32,
        /// The version that can be read.
        supported: u32,
    },
    /// A token file's length is not what its header says.
    #[error("{} has {bytes} bytes but its header promises {promised}: it was cut short or added to, make it again", path.display())]
    TokensLength {
        /// The file.
        path: PathBuf,
        /// Bytes in the file.
        bytes: u64,
        /// Bytes the header promises.
        promised: u64,
    },
    /// A token file's content does not match its checksum, or an id lies outside its vocabulary.
    #[error("{} was changed after it was written (its checksum or an id is wrong): make it again", path.display())]
    TokensTampered {
        /// The file.
        path: PathBuf,
    },
    /// A token corpus is shorter than one window.
    #[error("{name} has {tokens} tokens, fewer than one window of {window}: give more text or a shorter window")]
    TooShort {
        /// The corpus.
        name: String,
        /// Tokens there are.
        tokens: usize,
        /// Tokens in a window.
        window: usize,
    },
    /// A mixture's settings make no sense.
    #[error("cannot mix corpora: {reason}")]
    BadMixture {
        /// What is wrong and what would be right.
        reason: String,
    },
}
