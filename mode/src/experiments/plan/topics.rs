//! More domains than three, for as many experts: Rust by what it is for, in nine parts of the built-in packages. What they are tested on is
//! parted from Code's training text too (`texts.rs`), which the base has seen.

use crate::Error;
use crate::data::{Corpus, code_by_packages};

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

/// Their texts.
///
/// # Errors
/// A package's source that is not there, or a file that can't be read.
pub fn corpora() -> Result<Vec<(String, Corpus)>, Error> {
    let corpus = |(name, packages): (&str, &[&str])| Ok((name.to_string(), code_by_packages(name, packages)?));
    TOPICS.into_iter().map(corpus).collect()
}
