//! `mode export`.

use crate::Error;
use crate::train::export;
use std::path::PathBuf;

/// Make a checkpoint into what its run would have made: a model, an expert or a LoRA.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A file of a run's checkpoints folder
    checkpoint: PathBuf,
    /// Folder to make
    #[arg(long)]
    out: PathBuf,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let step = export(&arguments.checkpoint, &arguments.out)?;
    say!("{} written: the run after step {step}", arguments.out.display());
    Ok(())
}
