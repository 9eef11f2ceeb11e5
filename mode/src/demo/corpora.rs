//! The demo's texts: English, Code and Math, their tokens, and the windows to validate and test on.

use super::Demo;
use crate::data::{Corpus, DOMAINS, Source, Split, Tokenizer, Tokens, built_in};
use crate::{Error, files, folders};
use std::path::PathBuf;

/// Text that a domain needs at the least, in bytes.
const LEAST: usize = 400_000;

/// Tokens of a sample's prompt.
const PROMPT: usize = 24;

/// Tokens a domain to validate on, at the least.
const VALIDATION: usize = 6_000;

/// Texts in place of the built-in ones, by domain.
#[derive(Default)]
pub struct Sources(pub [Option<Source>; 3]);

/// What was prepared.
pub(super) struct Texts {
    /// Each domain's SHA-256.
    pub(super) hashes: Vec<String>,
    /// Each domain's bytes of text.
    pub(super) bytes: Vec<usize>,
    /// Test windows by domain.
    pub(super) test: Vec<Vec<Vec<u32>>>,
    /// Validation windows by domain.
    pub(super) validation: Vec<Vec<Vec<u32>>>,
    /// A few prompts of each domain's test text.
    pub(super) prompts: Vec<String>,
}

/// The file of a domain's training tokens.
pub(super) fn tokens_file(demo: &Demo, domain: &str) -> PathBuf {
    demo.out.join("data").join(format!("{domain}.tokens"))
}

/// The tokenizer's file.
pub(super) fn tokenizer_file(demo: &Demo) -> PathBuf {
    demo.out.join("data").join("tokenizer.json")
}

/// Reads or makes the texts, trains the tokenizer, and only then makes the demo's folder with tokens and test windows.
pub(super) fn prepare(demo: &mut Demo) -> Result<Texts, Error> {
    let corpora = corpora(demo)?;
    let training = corpora.iter().flat_map(|corpus| corpus.texts(Split::Train));
    let tokenizer = Tokenizer::train(training, demo.settings.vocabulary)?;
    let mut texts = Texts { hashes: vec![], bytes: vec![], test: vec![], validation: vec![], prompts: vec![] };
    let mut training = Vec::new();
    for (corpus, domain) in corpora.iter().zip(DOMAINS) {
        let encode = |split| Tokens::encode(domain, &tokenizer, corpus.texts(split));
        let tokens = encode(Split::Train)?;
        let window = demo.settings.length + 1;
        tokens.require_window(window)?;
        let test = encode(Split::Test)?.spread(window, demo.settings.test_tokens)?;
        enough(&test, demo.settings.test_tokens, domain, "test")?;
        let validation = encode(Split::Validation)?.spread(window, VALIDATION)?;
        enough(&validation, VALIDATION, domain, "validation")?;
        texts.hashes.push(corpus.sha256());
        texts.bytes.push(corpus.bytes());
        texts.validation.push(validation);
        texts.prompts.extend(
            test.first().map(|window| tokenizer.decode(&window[..window.len().min(PROMPT)], true)).transpose()?,
        );
        texts.test.push(test);
        demo.say(format!(
            "{:8} {:>9} bytes, {:>8} training tokens, sha256 {:.16}..",
            corpus.name,
            corpus.bytes(),
            tokens.ids.len(),
            corpus.sha256()
        ));
        training.push(tokens);
    }
    folders::create(&demo.out.join("data"))?;
    files::write(&tokenizer_file(demo), tokenizer.to_json()?)?;
    for ((domain, tokens), test) in DOMAINS.iter().zip(&mut training).zip(&texts.test) {
        tokens.tokenizer = files::digest(&tokenizer_file(demo))?;
        files::replace(&tokens_file(demo, domain), |partial| Ok(tokens.write(partial)?))?;
        files::write(&demo.out.join(format!("test-{domain}.json")), json(test)?)?;
    }
    Ok(texts)
}

fn corpora(demo: &mut Demo) -> Result<Vec<Corpus>, Error> {
    let mut corpora = Vec::new();
    for (i, source) in demo.sources.0.iter().enumerate() {
        let corpus = match source {
            Some(source) => Corpus::open(["English", "Code", "Math"][i], source)?,
            None => built_in(i)?,
        };
        corpus.require_bytes(LEAST)?;
        corpora.push(corpus);
    }
    Ok(corpora)
}

/// An error if the windows of a split hold fewer tokens than are wanted: a tenth and a twentieth of the text are few of little.
fn enough(windows: &[Vec<u32>], wanted: usize, domain: &str, split: &str) -> Result<(), Error> {
    let tokens: usize = windows.iter().map(Vec::len).sum();
    if tokens >= wanted {
        return Ok(());
    }
    let what = format!("{domain}: {tokens} tokens of {split} text, and {wanted} are wanted");
    Err(Error::Setting(format!("{what}; give more text with --{domain}")))
}

fn json(windows: &[Vec<u32>]) -> Result<String, Error> {
    serde_json::to_string(windows).map_err(|source| Error::Json { path: "test windows".into(), source })
}
