//! More domains than three, for as many experts: Rust by what it is for, in nine parts of the built-in packages, each as far from
//! the others as parsers are from shaders. Their splits are Code's own, so that no model has been trained on what it is tested on.

use super::Settings;
use super::texts::{Domain, Texts, corpora, part};
use crate::Error;
use crate::data::{Split, code_by_packages};
use std::path::Path;

/// Topics and their packages.
const TOPICS: [(&str, &[&str]); 9] = [
    ("shaders", &["naga", "codespan-reporting"]),
    ("expressions", &["regex", "regex-automata", "regex-syntax", "fancy-regex", "aho-corasick", "memchr"]),
    (
        "concurrency",
        &[
            "rayon",
            "rayon-core",
            "crossbeam-deque",
            "crossbeam-epoch",
            "crossbeam-utils",
            "parking_lot",
            "parking_lot_core",
            "lock_api",
            "once_cell",
        ],
    ),
    ("graphics", &["wgpu", "wgpu-core", "wgpu-hal", "wgpu-types"]),
    (
        "collections",
        &["hashbrown", "indexmap", "smallvec", "arrayvec", "compact_str", "either", "itertools", "allocator-api2"],
    ),
    ("parsers", &["winnow", "nom", "toml", "toml_parser"]),
    ("numbers", &["zerocopy", "half", "num-traits", "num-complex", "bytemuck", "rand", "fastrand", "chacha20"]),
    ("terminals", &["clap", "clap_builder", "console", "indicatif"]),
    ("records", &["serde", "serde_core", "serde_json"]),
];

/// How many there are.
pub const COUNT: usize = TOPICS.len();

/// Names of the topics.
pub fn names() -> [&'static str; COUNT] {
    TOPICS.map(|(name, _)| name)
}

/// Reads the topics' texts, and writes their tokens, by the tokenizer of the other `texts`, below `root`, if there is one. Of a small one a fifth is tested on.
///
/// # Errors
/// A package's source that is not there, or a file that can't be read or written.
pub fn prepare(root: Option<&Path>, settings: &Settings, texts: &Texts) -> Result<Texts, Error> {
    let Some(encoder) = &texts.encoder else { return Ok(Texts::on_paper(&names())) };
    let mut all = corpora(settings)?;
    let others = all.len();
    for (name, packages) in TOPICS {
        let mut corpus = code_by_packages(name, packages)?;
        if encoder.encode(name, &corpus, Split::Test)?.ids.len() < settings.test_tokens {
            corpus.test_on_a_fifth();
        }
        all.push(corpus);
    }
    part(&mut all, settings)?;
    let prepared = all.drain(others..).zip(names());
    let domains = prepared
        .map(|(corpus, name)| {
            let splits = encoder.splits(name, &corpus)?;
            Domain::prepare(root, name, &corpus, splits, (encoder, settings))
        })
        .collect::<Result<_, _>>()?;
    Ok(Texts::new(domains, texts.tokenizer.clone(), Some(encoder.clone())))
}
