//! The texts of experiments: each domain's training tokens, and the windows that it is validated and tested on. Those of more domains than
//! three: `topics.rs`.
//!
//! Files are named by what they hold, so that recipes that name them are recipes of those very tokens.

use super::base::Base;
use super::settings::Settings;
use super::settings::{TEST, is_known};
use crate::data::{Corpus, DOMAINS, DataError, Document, Source, Split, Tokenizer, Tokens, built_in, shingles};
use crate::model::{is_gguf, open_tokenizer, tokenizer_file};
use crate::{Error, files, folders};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// Tokens that a domain has at the least, or no split of it is of any use.
const LEAST: usize = 10_000;

/// Characters of a domain's sample.
const SAMPLE: usize = 6_000;

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
    /// Hash of the documents that they are cut from.
    pub test_documents: String,
}

impl Domain {
    /// What there is of it, in a line.
    pub fn words(&self) -> String {
        let Self { name, bytes, trained_on, sha256, .. } = self;
        let test: usize = self.test.iter().map(Vec::len).sum();
        format!("{name:8} {bytes:>9} bytes, {trained_on:>8} training and {test:>6} test tokens, sha256 {sha256:.16}..")
    }
}

/// What makes tokens of texts.
#[derive(Clone)]
pub(crate) struct Encoder {
    pub(crate) tokenizer: Tokenizer,
    /// Hash of its file.
    digest: [u8; 32],
}

/// All domains.
#[derive(Clone)]
pub struct Texts {
    /// By number.
    pub domains: Vec<Domain>,
    /// The tokenizer's file, relative to the plan's folder; a given base's where that has it.
    pub tokenizer: PathBuf,
    /// None on paper.
    pub(crate) encoder: Option<Encoder>,
    /// Hash of all test windows, which tells one test set from another.
    pub test_id: String,
    /// Hash of all validation windows.
    pub validation_id: String,
}

impl Texts {
    /// Texts that are names, and hold as much as anyone wants: to plan without any.
    pub fn on_paper(names: &[&str]) -> Self {
        let domain = |name: &&str| Domain {
            name: name.to_string(),
            tokens: format!("data/{name}.tokens"),
            trained_on: usize::MAX,
            bytes: 0,
            sha256: String::new(),
            sample: String::new(),
            validation: Vec::new(),
            test: Vec::new(),
            test_documents: String::new(),
        };
        Self::new(names.iter().map(domain).collect(), "data/tokenizer.json".into(), None, [""; 2])
    }

    /// Of domains whose tokens a tokenizer made, and the hashes of other windows that models are measured on as well.
    fn new(domains: Vec<Domain>, tokenizer: PathBuf, encoder: Option<Encoder>, beside: [&str; 2]) -> Self {
        let id = |windows: fn(&Domain) -> &Vec<Vec<u32>>, beside: &str| {
            let ids = domains.iter().flat_map(|domain| windows(domain).iter().flatten());
            short(&beside.bytes().chain(ids.flat_map(|id| id.to_le_bytes())).collect::<Vec<u8>>())
        };
        let [test_id, validation_id] =
            [id(|domain| &domain.test, beside[0]), id(|domain| &domain.validation, beside[1])];
        Self { domains, tokenizer, encoder, test_id, validation_id }
    }
}

/// A test text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestText {
    /// Hash of its windows.
    pub windows: String,
    /// Of each domain the hash of the documents that they are cut from, however long they are; none in lines of before it was kept.
    #[serde(default)]
    pub documents: BTreeSet<String>,
}

impl TestText {
    /// True of the same windows, and of others of which one domain has the same documents.
    pub(crate) fn shares(&self, other: &Self) -> bool {
        self.windows == other.windows || !self.documents.is_disjoint(&other.documents)
    }
}

/// The first digits of a hash.
fn short(bytes: &[u8]) -> String {
    files::sha256_of(bytes)[..16].into()
}

/// Reads or makes the texts, takes the given base's tokenizer or trains one on all of their training splits, and writes `data/` below
/// `root`, if there is one.
///
/// # Errors
/// A text that can't be read or is too small, or a test text that shares documents with training.
pub fn prepare(root: Option<&Path>, settings: &Settings, base: &Base) -> Result<Texts, Error> {
    let is_plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if let Some(name) = settings.data.keys().find(|name| !is_plain(name)) {
        return Err(Error::Setting(format!("--set data.{name}: a domain's name is of letters, digits, - and _")));
    }
    let own: Vec<&String> = settings.data.keys().filter(|key| !is_known(key)).collect();
    if let Some(unknown) = own.get(1).or(own.first().filter(|key| key.ends_with(TEST))) {
        let what = format!("--set data.{unknown}: the domains are {}", DOMAINS.join(", "));
        return Err(Error::Setting(what + "; NAME-test is a text to test on, and one domain may be your own"));
    }
    if let Some(root) = root {
        for (name, source) in &settings.data {
            folders::refuse_within(root, Path::new(source), &format!("data.{name}"))?;
        }
    }
    let mut corpora = corpora(settings)?;
    part(&mut corpora, settings)?;
    if let Some(root) = root {
        folders::create(&root.join("data"))?;
    }
    let (tokenizer, file, digest) = match base {
        Base::Pretrained => {
            let training = corpora.iter().flat_map(|corpus| corpus.texts(Split::Train));
            let tokenizer = Tokenizer::train(training, settings.vocabulary)?;
            let json = tokenizer.to_json()?;
            let digest = files::digest_of(json.as_bytes());
            let file = PathBuf::from(format!("data/tokenizer-{}.json", short(json.as_bytes())));
            if let Some(root) = root {
                files::write(&root.join(&file), json)?;
            }
            (tokenizer, file, digest)
        }
        Base::Given(given) => {
            let file = tokenizer_file(&given.place);
            // What a GGUF file's tokenizer is told by is not known.
            let digest = if is_gguf(&file) { [0; 32] } else { files::digest(&file)? };
            (open_tokenizer(&file)?, file, digest)
        }
    };
    let encoder = Encoder { tokenizer, digest };
    let mut is_parted = true;
    for (corpus, name) in corpora.iter_mut().zip(DOMAINS) {
        let own = settings.data.contains_key(name) && !settings.data.contains_key(&format!("{name}{TEST}"));
        if own && encoder.encode(name, corpus, Split::Test)?.ids.len() < settings.test_tokens {
            corpus.test_on_a_fifth();
            is_parted = false;
        }
    }
    if !is_parted {
        part(&mut corpora, settings)?;
    }
    let mut domains = Vec::new();
    for (corpus, name) in corpora.into_iter().zip(DOMAINS) {
        let splits = encoder.splits(name, &corpus)?;
        enough(name, &splits)?;
        domains.push(Domain::prepare(root, name, &corpus, splits, (&encoder, settings))?);
    }
    Ok(Texts::new(domains, file, Some(encoder), [""; 2]))
}

impl Texts {
    /// More domains, by the tokenizer of these and parted from them, their training tokens below `root`, if there is one. Of a small one a
    /// fifth is tested on. These keep their own test windows, so that a few of them may be near what the others train on: of the built-in
    /// texts 5 of the 101 documents of Code, a twentieth of its bytes, and none of English and Math.
    ///
    /// # Errors
    /// A text that is too small, or a file that can't be written.
    pub(crate) fn beside(
        &self,
        root: Option<&Path>,
        settings: &Settings,
        more: Vec<(String, Corpus)>,
    ) -> Result<Self, Error> {
        let (names, more): (Vec<String>, Vec<Corpus>) = more.into_iter().unzip();
        let Some(encoder) = &self.encoder else {
            return Ok(Self::on_paper(&names.iter().map(String::as_str).collect::<Vec<_>>()));
        };
        let mut all = corpora(settings)?;
        let others = all.len();
        for (name, mut corpus) in names.iter().zip(more) {
            let splits = encoder.splits(name, &corpus)?;
            enough(name, &splits)?;
            if splits[2].ids.len() < settings.test_tokens {
                corpus.test_on_a_fifth();
            }
            all.push(corpus);
        }
        part(&mut all, settings)?;
        let prepared = all.drain(others..).zip(&names);
        let domains = prepared
            .map(|(corpus, name)| {
                let splits = encoder.splits(name, &corpus)?;
                Domain::prepare(root, name, &corpus, splits, (encoder, settings))
            })
            .collect::<Result<_, _>>()?;
        let beside = [&self.test_id, &self.validation_id].map(String::as_str);
        Ok(Self::new(domains, self.tokenizer.clone(), Some(encoder.clone()), beside))
    }
}

/// An error for a domain that is too small.
fn enough(name: &str, splits: &[Tokens; 3]) -> Result<(), Error> {
    let total: usize = splits.iter().map(|tokens| tokens.ids.len()).sum();
    if total >= LEAST {
        return Ok(());
    }
    let what = format!("{name}: {total} tokens, and {LEAST} are needed for any split of them to be of use");
    Err(Error::Setting(format!("{what}; give more text with --set data.{name}=SOURCE")))
}

impl Domain {
    /// Writes a corpus' training tokens below `root`, if there is one, and cuts the windows of its other splits.
    fn prepare(
        root: Option<&Path>,
        name: &str,
        corpus: &Corpus,
        [mut training, validation, test]: [Tokens; 3],
        (encoder, settings): (&Encoder, &Settings),
    ) -> Result<Self, Error> {
        if test.ids.is_empty() {
            let what = "no document is left to test on: all are trained on as well, or nearly the same as one that is";
            let remedy = format!("give others with --set data.{name}-test=SOURCE");
            return Err(Error::Setting(format!("{name}: {what}; {remedy}")));
        }
        let window = settings.length + 1;
        training.require_window(window)?;
        let digest = encoder.digest;
        training.tokenizer = digest;
        let bytes: Vec<u8> = training.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let tokens = format!("data/{name}-{}.tokens", short(&[bytes, digest.to_vec()].concat()));
        if let Some(file) = root.map(|root| root.join(&tokens)).filter(|file| !file.exists()) {
            files::replace(&file, |partial| Ok(training.write(partial)?))?;
        }
        Ok(Self {
            name: name.into(),
            tokens,
            trained_on: training.ids.len(),
            bytes: corpus.bytes(),
            sha256: corpus.sha256(),
            sample: sample(root, name, corpus)?,
            validation: validation.spread(window, settings.validation_tokens)?,
            test: test.spread(window, settings.test_tokens)?,
            test_documents: short(corpus.texts(Split::Test).collect::<Vec<_>>().join("\0").as_bytes()),
        })
    }
}

/// Writes the first characters of a domain's validation text into a file, if there is a root.
fn sample(root: Option<&Path>, name: &str, corpus: &Corpus) -> Result<String, Error> {
    let text: String = corpus.texts(Split::Validation).flat_map(str::chars).take(SAMPLE).collect();
    let file = format!("data/{name}-{}.txt", short(text.as_bytes()));
    if let Some(root) = root {
        files::write(&root.join(&file), text)?;
    }
    Ok(file)
}

impl Encoder {
    /// Tokens to train, validate and test on.
    fn splits(&self, name: &str, corpus: &Corpus) -> Result<[Tokens; 3], DataError> {
        let [a, b, c] = [Split::Train, Split::Validation, Split::Test].map(|split| self.encode(name, corpus, split));
        Ok([a?, b?, c?])
    }

    /// A split's tokens.
    fn encode(&self, name: &str, corpus: &Corpus, split: Split) -> Result<Tokens, DataError> {
        Tokens::encode(name, &self.tokenizer, corpus.texts(split))
    }
}

/// The documents of all [`DOMAINS`].
fn corpora(settings: &Settings) -> Result<Vec<Corpus>, Error> {
    DOMAINS.iter().enumerate().map(|(i, name)| corpus(i, name, settings)).collect()
}

/// A domain's documents: the user's own or the built-in ones; with a text of its own to test on, all of the other is for training but
/// what is to validate on.
fn corpus(number: usize, name: &str, settings: &Settings) -> Result<Corpus, Error> {
    let open = |key: &str| -> Result<Option<Corpus>, Error> {
        let Some(source) = settings.data.get(key) else { return Ok(None) };
        Ok(Some(Corpus::open(key, &source.parse::<Source>()?)?))
    };
    let mut corpus = match open(name)? {
        Some(corpus) => corpus,
        None => built_in(number)?,
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
/// not tested on, for templates of code and of problems do repeat themselves; a text that was given to test on is refused. The [`DOMAINS`]
/// come first, then others that were split here.
fn part(corpora: &mut [Corpus], settings: &Settings) -> Result<(), Error> {
    let of_training = corpora.iter().flat_map(|corpus| corpus.texts(Split::Train));
    let seen: HashSet<u64> = of_training.flat_map(shingles).collect();
    let is_among = |seen: &HashSet<u64>, document: &Document| {
        let own = shingles(&document.text);
        let known = own.iter().filter(|shingle| seen.contains(shingle)).count();
        document.split == Split::Test && known as f64 > MOST_SHARED * own.len() as f64
    };
    // Rates are chosen on validation text, so that a text that was given to test on may have none of it either.
    let is_given = settings.data.keys().any(|key| key.ends_with(TEST));
    let of_validation = corpora.iter().filter(|_| is_given).flat_map(|corpus| corpus.texts(Split::Validation));
    let chosen_on: HashSet<u64> = of_validation.flat_map(shingles).collect();
    for (number, corpus) in corpora.iter_mut().enumerate() {
        let name = DOMAINS.get(number).copied().unwrap_or_default();
        if !settings.data.contains_key(&format!("{name}{TEST}")) {
            corpus.documents.retain(|document| !is_among(&seen, document));
            continue;
        }
        let names: Vec<&str> =
            (corpus.documents.iter().filter(|document| is_among(&seen, document) || is_among(&chosen_on, document)))
                .map(|document| document.name.as_str())
                .collect();
        if !names.is_empty() {
            let listed = names[..names.len().min(LISTED)].join(", ");
            let more = if names.len() > LISTED { format!(" and {} more", names.len() - LISTED) } else { String::new() };
            return Err(Error::Setting(format!(
                "data.{name}{TEST}: {} of its documents are trained or validated on as well: {listed}{more}; give a text that shares none",
                names.len()
            )));
        }
    }
    Ok(())
}
