//! A folder of its own for what was fetched, made whole or not at all.

use crate::{Error, files};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A folder that is not yet what it will be called; it goes when this is dropped, unless it was put in its place.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes `out`, which does not exist, of files of a snapshot. Weights are linked where the file system can; the rest, which
/// people edit, is copied, so that no edit reaches the cache.
pub(super) fn place(snapshot: &Path, names: &[String], out: &Path) -> Result<(), Error> {
    let Some(name) = out.file_name() else { return Err(Error::content(out, "names no folder to make")) };
    let staged = Staged(out.with_file_name(format!(".{}{}", name.to_string_lossy(), files::PARTIAL)));
    let above = out.parent().unwrap_or(Path::new("")).to_path_buf();
    let made = files::create_folder(&above)?;
    let result = fill(snapshot, names, &staged.0).and_then(|()| {
        // A rename would replace an empty folder that came to be meanwhile.
        files::refuse_existing_folder(out)?;
        fs::rename(&staged.0, out).map_err(Error::file(out))
    });
    drop(staged);
    if result.is_err() {
        made.remove_empty();
        return result;
    }
    files::sync_folder(Some(&above))
}

fn fill(snapshot: &Path, names: &[String], folder: &Path) -> Result<(), Error> {
    if folder.exists() {
        // A killed fetch left it.
        fs::remove_dir_all(folder).map_err(Error::file(folder))?;
    }
    fs::create_dir(folder).map_err(Error::file(folder))?;
    for name in names {
        let (from, to) = (snapshot.join(name), folder.join(name));
        let from = from.canonicalize().map_err(Error::file(&from))?;
        let above = to.parent().unwrap_or(folder);
        fs::create_dir_all(above).map_err(Error::file(above))?;
        let is_weights = [".safetensors", ".gguf"].iter().any(|end| name.ends_with(end));
        if is_weights && fs::hard_link(&from, &to).is_ok() {
            continue;
        }
        let copied = fs::copy(&from, &to).and_then(|_| File::options().write(true).open(&to)?.sync_all());
        copied.map_err(Error::file(&to))?;
    }
    files::sync_folder(Some(folder))
}
