//! `mode fetch`.

#[cfg(feature = "hub")]
mod hub;

use crate::Error;
use std::path::PathBuf;

/// Fetch a model from the Hugging Face hub into its cache, and print the folder.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// ORG/NAME
    repository: String,
    /// A branch, a tag or a commit
    #[arg(long, default_value = "main")]
    revision: String,
    /// Folder to make of the files, beside the cache
    #[arg(long)]
    out: Option<PathBuf>,
    /// A file to fetch instead of configuration, tokenizer and weights; can be given several times
    #[arg(long = "file", value_name = "NAME")]
    files: Vec<String>,
    /// Seconds without a byte after which the server is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// No progress on stderr
    #[arg(long)]
    quiet: bool,
    /// Folder, commit, files and bytes as one line of JSON
    #[arg(long)]
    json: bool,
}

#[cfg(feature = "hub")]
pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    hub::main(arguments)
}

#[cfg(not(feature = "hub"))]
pub(crate) fn main(_: Arguments) -> Result<(), Error> {
    let what = "this program was built without `mode fetch`; build it with `cargo build --release --features hub`";
    Err(Error::Setting(what.into()))
}

/// True where hf-hub runs, whose panics are caught and told as errors.
pub(crate) fn is_calling_library() -> bool {
    #[cfg(feature = "hub")]
    return crate::hub::is_calling_library();
    #[cfg(not(feature = "hub"))]
    false
}
