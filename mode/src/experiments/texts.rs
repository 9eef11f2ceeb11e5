//! The texts of experiments: each domain's training tokens, and the windows that it is validated and tested on.
//!
//! Files are named by what they hold, so that recipes that name them are recipes of those very tokens.

use super::Settings;
use crate::data::{
    Corpus, DataError, Document, Source, Split, Tokenizer, Tokens, code, english, shingles, word_problems,
};
use crate::{Error, files, folders};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The domains that every experiment has: what the base is good at, and two that it is adapted to.
pub const DOMAINS: [&str; 3] = ["english", "code", "math"];

/// Tokens that a domain has at the least, or no split of it is of any use.
const LEAST: usize = 10_000;

/// Characters of a domain's sample.
const SAMPLE: usize = 6_000;

/// Word problems of the built-in Math.
const PROBLEMS: usize = 7_500;

/// What follows a domain's name where a text is to be tested on alone.
const TEST: &str = "-test";

/// A test document that has more than this share of its runs of words in common with training is one of training's.
const MOST_SHARED: f64 = 0.4;

/// Names of documents that an error lists.
const LISTED: usize = 3;

/// A domain's text.
#[derive(Debug, Clone)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its file of training tokens, relative to the plan's folder.
    pub tokens: String,
    /// Training tokens.
    pub trained_on: usize,
    /// Bytes of text, all splits.
    pub bytes: usize,
    /// Hash of all documents.
    pub sha256: String,
    /// A file of validation text to look at models with, relative to the plan's folder.
    pub sample: String,
    /// Windows to choose on.
    pub validation: Vec<Vec<u32>>,
    /// Windows to report.
    pub test: Vec<Vec<u32>>,
}

impl Domain {
    /// What there is of it, in a line.
    pub fn words(&self) -> String {
        let Self { name, bytes, trained_on, sha256, .. } = self;
        let test: usize = self.test.iter().map(Vec::len).sum();
        format!("{name:8} {bytes:>9} bytes, {trained_on:>8} training and {test:>6} test tokens, sha256 {sha256:.16}..")
    }
}

/// All domains.
#[derive(Debug, Clone)]
pub struct Texts {
    /// By number.
    pub domains: Vec<Domain>,
    /// The tokenizer's file, relative to the plan's folder.
    pub tokenizer: PathBuf,
    /// Hash of all test windows, which tells one test set from another.
    pub test_id: String,
    /// Hash of all validation windows.
    pub validation_id: String,
}

impl Texts {
    fn new(domains: Vec<Domain>, tokenizer: PathBuf) -> Self {
        let id = |windows: fn(&Domain) -> &Vec<Vec<u32>>| {
            let ids = domains.iter().flat_map(|domain| windows(domain).iter().flatten());
            short(&ids.flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>())
        };
        let (test_id, validation_id) = (id(|domain| &domain.test), id(|domain| &domain.validation));
        Self { domains, tokenizer, test_id, validation_id }
    }
}

/// The first digits of a hash.
fn short(bytes: &[u8]) -> String {
    files::sha256_of(bytes)[..16].into()
}

/// Reads or makes the texts, trains the tokenizer on all of their training splits, and writes `data/` below `root`.
///
/// # Errors
/// A text that can't be read or is too small, or a test text that shares documents with training.
pub fn prepare(root: &Path, settings: &Settings) -> Result<Texts, Error> {
    let known = |key: &str| DOMAINS.contains(&key.strip_suffix(TEST).unwrap_or(key));
    if let Some(unknown) = settings.data.keys().find(|key| !known(key)) {
        let what = format!("--set data.{unknown}: the domains are {}", DOMAINS.join(", "));
        return Err(Error::Setting(what + "; NAME-test is a text to test on"));
    }
    let mut corpora =
        DOMAINS.iter().enumerate().map(|(i, name)| corpus(i, name, settings)).collect::<Result<Vec<_>, Error>>()?;
    part(&mut corpora, settings)?;
    let training = corpora.iter().flat_map(|corpus| corpus.texts(Split::Train));
    let tokenizer = Tokenizer::train(training, settings.vocabulary)?;
    let json = tokenizer.to_json()?;
    folders::create(&root.join("data"))?;
    let file = PathBuf::from(format!("data/tokenizer-{}.json", short(json.as_bytes())));
    files::write(&root.join(&file), json)?;
    let digest = files::digest(&root.join(&file))?;
    let mut domains = Vec::new();
    for (i, mut corpus) in corpora.into_iter().enumerate() {
        let name = DOMAINS[i];
        let all = encode(name, &tokenizer, &corpus, [Split::Train, Split::Validation, Split::Test])?;
        let total: usize = all.iter().map(|tokens| tokens.ids.len()).sum();
        if total < LEAST {
            let what = format!("{name}: {total} tokens, and {LEAST} are needed for any split of them to be of use");
            return Err(Error::Setting(format!("{what}; give more text with --set data.{name}=SOURCE")));
        }
        let own = settings.data.contains_key(name) && !settings.data.contains_key(&format!("{name}{TEST}"));
        let all = match own && all[2].ids.len() < settings.test_tokens {
            true => {
                corpus.test_on_a_fifth();
                encode(name, &tokenizer, &corpus, [Split::Train, Split::Validation, Split::Test])?
            }
            false => all,
        };
        let [mut training, validation, test] = all;
        let window = settings.length + 1;
        training.require_window(window)?;
        training.tokenizer = digest;
        let bytes: Vec<u8> = training.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let tokens = format!("data/{name}-{}.tokens", short(&[bytes, digest.to_vec()].concat()));
        if !root.join(&tokens).exists() {
            files::replace(&root.join(&tokens), |partial| Ok(training.write(partial)?))?;
        }
        domains.push(Domain {
            name: name.into(),
            tokens,
            trained_on: training.ids.len(),
            bytes: corpus.bytes(),
            sha256: corpus.sha256(),
            sample: sample(root, name, &corpus)?,
            validation: validation.spread(window, settings.validation_tokens)?,
            test: test.spread(window, settings.test_tokens)?,
        });
    }
    Ok(Texts::new(domains, file))
}

/// Writes the first characters of a domain's validation text into a file.
fn sample(root: &Path, name: &str, corpus: &Corpus) -> Result<String, Error> {
    let text: String = corpus.texts(Split::Validation).flat_map(str::chars).take(SAMPLE).collect();
    let file = format!("data/{name}-{}.txt", short(text.as_bytes()));
    files::write(&root.join(&file), text)?;
    Ok(file)
}

fn encode(name: &str, tokenizer: &Tokenizer, corpus: &Corpus, splits: [Split; 3]) -> Result<[Tokens; 3], DataError> {
    let [a, b, c] = splits.map(|split| Tokens::encode(name, tokenizer, corpus.texts(split)));
    Ok([a?, b?, c?])
}

/// A domain's documents: the user's own or the built-in ones; with a text of its own to test on, all of the other is for training but
/// what is to validate on.
fn corpus(number: usize, name: &str, settings: &Settings) -> Result<Corpus, Error> {
    let open = |key: &str| -> Result<Option<Corpus>, Error> {
        let Some(source) = settings.data.get(key) else { return Ok(None) };
        Ok(Some(Corpus::open(key, &source.parse::<Source>()?)?))
    };
    let mut corpus = match (open(name)?, number) {
        (Some(corpus), _) => corpus,
        (None, 0) => english()?,
        (None, 1) => code()?,
        // The same problems for every seed: what changes with it is the training alone.
        (None, _) => word_problems(1, PROBLEMS),
    };
    if let Some(test) = open(&format!("{name}{TEST}"))? {
        for document in corpus.documents.iter_mut().filter(|document| document.split == Split::Test) {
            document.split = Split::Train;
        }
        let to_test = test.documents.into_iter().map(|document| Document { split: Split::Test, ..document });
        corpus.documents.extend(to_test);
    }
    Ok(corpus)
}

/// Sees to it that no document to test on is one to train on, of any domain, or nearly one: of a corpus that was split here such ones are
/// not tested on, for templates of code and of problems do repeat themselves; a text that was given to test on is refused.
fn part(corpora: &mut [Corpus], settings: &Settings) -> Result<(), Error> {
    let of_training = corpora.iter().flat_map(|corpus| corpus.texts(Split::Train));
    let seen: HashSet<u64> = of_training.flat_map(shingles).collect();
    let is_shared = |document: &Document| {
        let own = shingles(&document.text);
        let known = own.iter().filter(|shingle| seen.contains(shingle)).count();
        document.split == Split::Test && known as f64 > MOST_SHARED * own.len() as f64
    };
    for (corpus, name) in corpora.iter_mut().zip(DOMAINS) {
        if !settings.data.contains_key(&format!("{name}{TEST}")) {
            corpus.documents.retain(|document| !is_shared(document));
            continue;
        }
        let names: Vec<&str> =
            corpus.documents.iter().filter(|d| is_shared(d)).map(|document| document.name.as_str()).collect();
        if !names.is_empty() {
            let listed = names[..names.len().min(LISTED)].join(", ");
            let more = if names.len() > LISTED { format!(" and {} more", names.len() - LISTED) } else { String::new() };
            return Err(Error::Setting(format!(
                "data.{name}{TEST}: {} of its documents are trained on as well: {listed}{more}; give a text that shares none",
                names.len()
            )));
        }
    }
    Ok(())
}
