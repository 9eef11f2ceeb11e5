//! `mode init`: a recipe to begin with.

use crate::{Error, files};
use clap::ValueEnum;
use std::path::PathBuf;

/// Write a commented recipe to begin with.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What the recipe is for
    method: Which,
    /// File to write [default: METHOD.toml]
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Pretrain,
    Full,
    Lora,
    Bottleneck,
    Expert,
    Compose,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let (name, text) = match arguments.method {
        Which::Pretrain => ("pretrain", include_str!("../../../examples/recipes/pretrain.toml")),
        Which::Full => ("full", include_str!("../../../examples/recipes/full.toml")),
        Which::Lora => ("lora", include_str!("../../../examples/recipes/lora.toml")),
        Which::Bottleneck => ("bottleneck", include_str!("../../../examples/recipes/bottleneck.toml")),
        Which::Expert => ("expert", include_str!("../../../examples/recipes/expert.toml")),
        Which::Compose => ("compose", include_str!("../../../examples/recipes/compose.toml")),
    };
    let path = arguments.out.unwrap_or_else(|| format!("{name}.toml").into());
    files::create(&path, |partial| std::fs::write(partial, text).map_err(Error::file(&path)))?;
    say!(
        "{} written; edit its paths, then: mode {}",
        path.display(),
        if name == "compose" { "compose" } else { "train" }
    );
    Ok(())
}
