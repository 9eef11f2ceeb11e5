//! What `train`, `compose` and `worker` are told of a recipe to carry out and of the folder that it makes.

use crate::Error;
use crate::train::{Existing, Recipe};
use std::path::PathBuf;

/// A recipe, and its folder.
#[derive(clap::Args)]
pub(super) struct RecipeArguments {
    /// The recipe, a TOML file
    #[arg(value_name = "RECIPE")]
    pub(super) file: PathBuf,
    /// Folder to make, in place of the recipe's
    #[arg(long)]
    out: Option<PathBuf>,
    /// Replace the run in a folder that exists; what that made is gone once this one begins
    #[arg(long, conflicts_with = "resume")]
    pub(super) force: bool,
    /// Go on from the last checkpoint of a run that was stopped, to the same bits
    #[arg(long)]
    pub(super) resume: bool,
    /// No progress on stderr
    #[arg(long)]
    pub(super) quiet: bool,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
}

impl RecipeArguments {
    /// The recipe, with the settings and the folder of the command line.
    pub(super) fn read(&self) -> Result<Recipe, Error> {
        let mut recipe = Recipe::read(&self.file, &self.set)?;
        if let Some(out) = &self.out {
            recipe.out = out.clone();
        }
        Ok(recipe)
    }

    /// What is done with a folder that exists.
    pub(super) fn existing(&self) -> Existing {
        match (self.force, self.resume) {
            (true, _) => Existing::Replace,
            (_, true) => Existing::Resume,
            _ => Existing::Refuse,
        }
    }
}
