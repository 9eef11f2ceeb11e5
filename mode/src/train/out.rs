//! A run's folder: what may be there before it, and that nothing is lost that another run or a user made.

use super::checkpoint;
use super::method;
use super::recipe::Recipe;
use super::record::{PROFILE, RECIPE, RECORD, is_run};
use super::run::Existing;
use crate::data::Source;
use crate::{Error, folders};
use std::path::{Path, PathBuf};

/// An error unless a run of `recipe` may make its folder, or go on in it.
pub(crate) fn check(recipe: &Recipe, existing: Existing) -> Result<(), Error> {
    folders::refuse_unless(&recipe.out, existing != Existing::Refuse)?;
    refuse_strange_paths(recipe)?;
    refuse_inputs(recipe)?;
    if existing != Existing::Refuse {
        refuse_other(&recipe.out)?;
    }
    if existing == Existing::Resume {
        refuse_other_recipe(recipe)?;
    }
    Ok(())
}

/// Makes the folder, or takes the one that is there, and has `run` fill it while no other run can.
pub(super) fn make<T>(recipe: &Recipe, existing: Existing, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // Another run may have made it since it was looked for.
    let folders = match existing {
        Existing::Refuse => folders::create_new(&recipe.out)?,
        _ => folders::create(&recipe.out)?,
    };
    let made = folders::lock(&recipe.out, &[&checkpoint::folder(&recipe.out)]).and_then(|_lock| {
        if existing == Existing::Replace {
            clear(recipe)?;
        }
        run()
    });
    if made.is_err() {
        folders.remove_empty();
    }
    made
}

/// An error if there is something in a folder to resume or to replace that no run has left there.
fn refuse_other(out: &Path) -> Result<(), Error> {
    if !out.exists() || is_run(out) {
        return Ok(());
    }
    let mut files = std::fs::read_dir(out).map_err(Error::file(out))?;
    if files.all(|file| file.is_ok_and(|file| folders::is_leftover(&file.file_name()))) {
        return Ok(());
    }
    Err(Error::content(out, "holds no run to resume or replace: it has no recipe.toml; choose another --out DIR"))
}

/// An error if the run in a folder, which has a recipe there, is another: what it left is as that says, so it stays as it is.
fn refuse_other_recipe(recipe: &Recipe) -> Result<(), Error> {
    let path = recipe.out.join(RECIPE);
    if !path.exists() {
        return Ok(());
    }
    let value =
        |recipe: &Recipe| serde_json::to_value(recipe).map_err(|source| Error::Json { path: path.clone(), source });
    match checkpoint::difference("", &value(&Recipe::read(&path, &[])?)?, &value(recipe)?) {
        None => Ok(()),
        Some((key, was, is)) => {
            let what =
                format!("{key} is {was} there and {is} now; resume with the same recipe, or choose another --out");
            Err(Error::content(&path, what))
        }
    }
}

/// Takes away what would make the folder's old run, or what it made, pass for the new one's, whose recipe takes the old one's place: a folder
/// without any is no run, and would not be replaced a second time.
fn clear(recipe: &Recipe) -> Result<(), Error> {
    let out = &recipe.out;
    let old = [RECORD, PROFILE, "config.json"].into_iter().chain(method::MARKERS);
    let old = old.map(|name| out.join(name)).chain(super::tensorboard::files(out));
    for file in old.filter(|file| file.exists()) {
        std::fs::remove_file(&file).map_err(Error::file(&file))?;
    }
    for entry in checkpoint::entries(&checkpoint::folder(out))? {
        std::fs::remove_file(&entry.path).map_err(Error::file(&entry.path))?;
    }
    if is_run(out) { recipe.write(&out.join(RECIPE)) } else { Ok(()) }
}

/// An error if something that the recipe reads lies in the folder to make, which not even `--force` may write over, or the folder
/// in a text's, which would then be another text.
fn refuse_inputs(recipe: &Recipe) -> Result<(), Error> {
    for data in &recipe.data {
        folders::refuse_within(&recipe.out, Path::new(&data.source), "this recipe")?;
    }
    let Ok(out) = recipe.out.canonicalize() else { return Ok(()) };
    let tokenizer = recipe.model.as_ref().map(|shape| shape.tokenizer.clone());
    let experts = recipe.compose.iter().flat_map(|compose| compose.experts.iter().cloned());
    let data = recipe.data.iter().filter_map(|data| data.source.parse().ok()).map(|source| match source {
        Source::Path(path) => path,
        Source::JsonLines { file, .. } => file,
    });
    for input in recipe.base.clone().into_iter().chain(tokenizer).chain(experts).chain(data) {
        let what = match input.canonicalize() {
            Ok(whole) if whole == out => "is read by this recipe".into(),
            Ok(whole) if whole.starts_with(&out) => format!("holds {}, which this recipe reads", input.display()),
            _ => continue,
        };
        return Err(Error::content(&recipe.out, what + "; choose another out"));
    }
    Ok(())
}

/// An error for paths that a recipe or a model's file, which are UTF-8, can't name.
fn refuse_strange_paths(recipe: &Recipe) -> Result<(), Error> {
    let whole = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let paths = [recipe.out.clone(), std::env::current_dir().unwrap_or_default()];
    match paths.into_iter().chain(recipe.base.as_ref().map(whole)).find(|path| path.to_str().is_none()) {
        None => Ok(()),
        Some(path) => Err(Error::content(&path, "this path is not UTF-8, which files of models are; rename it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_replaced_can_be_replaced_again_wherever_it_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("full");
        let recipe = |steps: u64| {
            let example = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/recipes/full.toml"));
            let sets = [format!("out={}", out.display()), format!("train.steps={steps}")];
            Recipe::read(example, &sets).expect("a recipe")
        };
        let killed = |recipe: &Recipe, existing| {
            check(recipe, existing).expect("a folder that may be taken");
            make(recipe, existing, || -> Result<(), Error> { Err(Error::Stopped) }).expect_err("killed");
        };
        // One that had not begun leaves nothing.
        killed(&recipe(1), Existing::Replace);
        assert!(!out.exists());
        std::fs::create_dir(&out).expect("a folder");
        recipe(1).write(&out.join(RECIPE)).expect("a recipe");
        std::fs::write(out.join(RECORD), "{}").expect("a record");
        for _ in 0..2 {
            killed(&recipe(2), Existing::Replace);
            assert!(!out.join(RECORD).exists());
            assert_eq!(Recipe::read(&out.join(RECIPE), &[]).expect("a recipe").train.steps, 2);
        }
    }
}
