//! A folder of its own for what was fetched, made whole or not at all.

use crate::{Error, folders};
use std::fs::{self, File};
use std::path::Path;

/// Makes `out`, which does not exist, of files of a snapshot. Weights are linked where the file system can; the rest, which
/// people edit, is copied, so that no edit reaches the cache.
pub(super) fn place(snapshot: &Path, names: &[String], out: &Path) -> Result<(), Error> {
    folders::make(out, |folder| fill(snapshot, names, folder))
}

fn fill(snapshot: &Path, names: &[String], folder: &Path) -> Result<(), Error> {
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
    Ok(())
}
