//! `mode report`.

use crate::report::html;
use crate::{Error, files, inspect};
use std::path::PathBuf;

/// One page on several runs, or on demos of several seeds.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folders of runs and demos
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// The page to write
    #[arg(long, default_value = "report.html")]
    out: PathBuf,
    /// Replace a page that exists
    #[arg(long)]
    force: bool,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let out = &arguments.out;
    if out.is_dir() || files::is_there(out) && !arguments.force {
        return Err(Error::content(
            out,
            "exists already; choose another page with --out FILE, or replace it with --force",
        ));
    }
    let report = inspect::report(&arguments.runs)?;
    files::write(out, html(&report)?)?;
    say!("{} written", out.display());
    Ok(())
}
