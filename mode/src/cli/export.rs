//! `mode export`.

use crate::Error;
use crate::train::{export, merge};
use std::path::PathBuf;

/// Make a checkpoint into what its run would have made: a model, an expert or a LoRA; or a LoRA and its base into one model.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A file of a run's checkpoints folder; with --merge a LoRA's folder
    source: PathBuf,
    /// Fold a LoRA into its base model
    #[arg(long)]
    merge: bool,
    /// Folder of the LoRA's base model, in place of the one that it names
    #[arg(long, requires = "merge")]
    base: Option<PathBuf>,
    /// Folder to make
    #[arg(long)]
    out: PathBuf,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    if arguments.merge {
        let merged = merge(&arguments.source, arguments.base.as_deref(), &arguments.out)?;
        say!("{} written: a plain model with {merged} projections changed", arguments.out.display());
        return Ok(());
    }
    let step = export(&arguments.source, &arguments.out)?;
    say!("{} written: the run after step {step}", arguments.out.display());
    Ok(())
}
