//! Files read and written whole or not at all, with errors that name them.

use crate::Error;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::error::Category;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Bytes of a text at the most: what reads for ever, such as a device, must not fill the memory.
const MOST_TEXT: u64 = 1 << 30;

/// A text file, with `\n` line ends and without a byte-order mark.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let file = File::open(path).map_err(Error::file(path))?;
    file.take(MOST_TEXT + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Error::content(path, "is no UTF-8 text; convert it, or give another file"),
        _ => Error::file(path)(error),
    })?;
    if text.len() as u64 > MOST_TEXT {
        return Err(Error::content(path, format!("is longer than {MOST_TEXT} bytes; give a part of it")));
    }
    Ok(plain(&text))
}

/// A text with `\n` line ends and without a byte-order mark.
pub(crate) fn plain(text: &str) -> String {
    text.trim_start_matches('\u{feff}').replace("\r\n", "\n")
}

/// A key's path in a message at the most; a longer one tells nobody anything.
const LONGEST_PATH: usize = 100;

/// A JSON file; what is wrong is said with the key that it is wrong at.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    parse_json(path, &read_text(path)?)
}

/// The same of a text that has been read already.
pub(crate) fn parse_json<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(|e| {
        let at = e.path().to_string();
        let error = e.into_inner();
        let what = match error.classify() {
            Category::Eof => format!("{error}: it is cut off; take the whole file"),
            _ => error.to_string(),
        };
        let named = at != "." && at.len() < LONGEST_PATH && error.is_data();
        Error::content(path, if named { format!("{at}: {what}") } else { what })
    })?;
    parser.end().map_err(|source| Error::Json { path: path.into(), source })?;
    Ok(value)
}

/// Writes a file, whole or not at all.
pub(crate) fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<(), Error> {
    replace(path, |partial| std::fs::write(partial, contents).map_err(Error::file(path)))
}

/// Lets `write` make a file beside `path`, and puts it in its place once it is on the disk: whatever happens meanwhile, the
/// old file or the new one is there whole.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let staged = Staged::beside(path);
    write(&staged.path)?;
    staged.place(path)
}

/// Lets `write` make a file that is not there yet: of two programs that make it one does.
pub(crate) fn create(path: &Path, write: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    refuse_existing_file(path)?;
    let staged = Staged::beside(path);
    write(&staged.path)?;
    // A link, unlike a rename, replaces nothing; where the file system has none, a look comes close.
    match std::fs::hard_link(&staged.path, path) {
        Ok(()) => sync_folder(path.parent()),
        Err(_) => refuse_existing_file(path).and_then(|()| staged.place(path)),
    }
}

/// How a file's name ends until it is whole.
pub(crate) const PARTIAL: &str = ".mode-partial";

/// A file that is not yet what it will be called; it goes when this is dropped, unless it was put in its place.
pub(crate) struct Staged {
    /// Where it is meanwhile.
    pub(crate) path: PathBuf,
}

impl Staged {
    /// One beside `path`, which no other program takes for its own.
    fn beside(path: &Path) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { path: path.with_file_name(format!(".{name}.{}{PARTIAL}", std::process::id())) }
    }

    /// Flushes it to the disk and gives it its name, in the same folder.
    pub(crate) fn place(self, path: &Path) -> Result<(), Error> {
        // Flushing needs a handle that may write, on Windows.
        let file = OpenOptions::new().write(true).open(&self.path).map_err(Error::file(path))?;
        file.sync_all().and_then(|()| std::fs::rename(&self.path, path)).map_err(Error::file(path))?;
        sync_folder(path.parent())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Once placed, or if it never came to be, there is nothing to remove.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes a rename in a folder last. Only Unix lets a folder be opened for that.
pub(crate) fn sync_folder(folder: Option<&Path>) -> Result<(), Error> {
    let Some(folder) = folder.filter(|_| cfg!(unix)) else { return Ok(()) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|file| file.sync_all()).map_err(Error::file(folder))
}

/// Writes a value as readable JSON.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|source| Error::Json { path: path.into(), source })?;
    write(path, text + "\n")
}

/// True for whatever there is of this name, a link to nothing too.
pub(crate) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// An error if a file to make exists.
pub(crate) fn refuse_existing_file(path: &Path) -> Result<(), Error> {
    if !is_there(path) {
        return Ok(());
    }
    Err(Error::content(path, "exists already; choose another file"))
}

/// An error if a file can't be made here, or, with `force`, put in the place of one: its folder must be there, and whatever has its name
/// a file itself, no link, folder or device.
pub(crate) fn check_output(path: &Path, force: bool) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(Error::content(path, format!("can't be made: {} is no folder; make it first", folder.display())));
    }
    match path.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(there) if !there.is_file() => {
            Err(Error::content(path, "is no file that could be replaced; choose another --out"))
        }
        Ok(_) if force => Ok(()),
        Ok(_) => Err(Error::content(path, "exists already; choose another --out, or --force to replace it")),
    }
}

/// Hex SHA-256 of a file's bytes.
pub(crate) fn sha256(path: &Path) -> Result<String, Error> {
    Ok(hex(&digest(path)?))
}

/// SHA-256 of a file.
pub(crate) fn digest(path: &Path) -> Result<[u8; 32], Error> {
    let mut file = File::open(path).map_err(Error::file(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).map_err(Error::file(path))?;
        if count == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&buffer[..count]);
    }
}

/// Hex SHA-256 of bytes.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    hex(&digest_of(bytes))
}

/// SHA-256 of bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_made_meanwhile_stays() -> Result<(), Error> {
        let folder = tempfile::tempdir().map_err(Error::file(Path::new("a temporary folder")))?;
        let path = folder.path().join("file");
        let said = create(&path, |partial| write(&path, "theirs").and_then(|()| write(partial, "ours")));
        assert!(said.is_err_and(|error| error.to_string().contains("exists already")));
        assert_eq!(read_text(&path)?, "theirs");
        assert_eq!(std::fs::read_dir(folder.path()).map_err(Error::file(folder.path()))?.count(), 1);
        Ok(())
    }
}
