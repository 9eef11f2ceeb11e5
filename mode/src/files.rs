//! Files read and written with errors that name them, and folders that must not exist yet.

use crate::Error;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::error::Category;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, TryLockError};
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
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let staged = Staged { path: path.with_file_name(format!(".{name}{PARTIAL}")) };
    write(&staged.path)?;
    staged.place(path)
}

/// How a file's name ends until it is whole.
pub(crate) const PARTIAL: &str = ".partial";

/// A file that is not yet what it will be called; it goes when this is dropped, unless it was put in its place.
pub(crate) struct Staged {
    /// Where it is meanwhile.
    pub(crate) path: PathBuf,
}

impl Staged {
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

/// A file that is there, and locked, while a folder is written to.
pub(crate) const LOCK: &str = ".lock";

/// A folder that this process alone writes to, until it is dropped.
pub(crate) struct FolderLock {
    path: PathBuf,
    _file: File,
}

/// True for a file that is only there while another is written, or after the process that wrote it was killed.
pub(crate) fn is_leftover(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name == LOCK || name.starts_with('.') && name.ends_with(PARTIAL)
}

/// Removes what a killed process left of files that it had not finished. The folder may be missing.
fn sweep(folder: &Path) -> Result<(), Error> {
    let Ok(files) = std::fs::read_dir(folder) else { return Ok(()) };
    for path in files.flatten().map(|file| file.path()) {
        let name = path.file_name().unwrap_or_default();
        if is_leftover(name) && name != LOCK {
            std::fs::remove_file(&path).map_err(Error::file(&path))?;
        }
    }
    Ok(())
}

/// Locks a folder, which exists, and clears what a killed run left in it and in those of its folders named in `below`.
///
/// # Errors
/// Another process has it.
pub(crate) fn lock(folder: &Path, below: &[&Path]) -> Result<FolderLock, Error> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(Error::file(&path))?;
    match file.try_lock() {
        Ok(()) => {
            let lock = FolderLock { path, _file: file };
            [folder].iter().chain(below).try_for_each(|folder| sweep(folder))?;
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            Err(Error::content(folder, "another run is writing to it; wait for its end, or choose another --out DIR"))
        }
        Err(TryLockError::Error(source)) => Err(Error::File { path, source }),
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // The lock goes with the file's handle; a file that stays behind locks nothing.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes a value as readable JSON.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|source| Error::Json { path: path.into(), source })?;
    write(path, text + "\n")
}

/// An error if a file to make exists.
pub(crate) fn refuse_existing_file(path: &Path) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    Err(Error::content(path, "exists already; choose another file with --out FILE"))
}

/// An error if a folder to make exists.
pub(crate) fn refuse_existing_folder(path: &Path) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    Err(Error::content(path, "exists already; choose another folder with --out DIR"))
}

/// An error if a folder to make exists, unless its files may be replaced or added to.
pub(crate) fn refuse_existing(path: &Path, welcome: bool) -> Result<(), Error> {
    if path.is_dir() && welcome || !path.exists() {
        return Ok(());
    }
    if !path.is_dir() {
        return Err(Error::content(path, "is a file; choose another folder with --out DIR"));
    }
    Err(Error::content(path, "exists already; choose another with --out DIR, or replace its files with --force"))
}

/// Folders that this run has made.
pub(crate) struct NewFolders(Vec<PathBuf>);

/// Makes a folder, and those above it, where there is none yet.
pub(crate) fn create_folder(path: &Path) -> Result<NewFolders, Error> {
    let missing = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    let made = NewFolders(missing.map(Path::to_path_buf).collect());
    std::fs::create_dir_all(path).map_err(Error::file(path))?;
    Ok(made)
}

/// Makes a folder that is not there yet, with those above it: of two programs that ask for it one gets it.
pub(crate) fn create_new_folder(path: &Path) -> Result<NewFolders, Error> {
    let mut made = create_folder(path.parent().unwrap_or(Path::new("")))?;
    match std::fs::create_dir(path) {
        Ok(()) => {
            made.0.insert(0, path.into());
            Ok(made)
        }
        Err(error) => {
            made.remove_empty();
            refuse_existing_folder(path)?;
            Err(Error::file(path)(error))
        }
    }
}

impl NewFolders {
    /// Takes them away again, as far as they are empty: whatever is in one stays.
    pub(crate) fn remove_empty(self) {
        for folder in self.0 {
            if std::fs::remove_dir(folder).is_err() {
                return;
            }
        }
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
    hex(&Sha256::digest(bytes))
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_make_a_folder_one_gets_it() -> Result<(), Error> {
        let folder = tempfile::tempdir().map_err(Error::file(Path::new("a temporary folder")))?;
        let (above, new) = (folder.path().join("above"), folder.path().join("above/new"));
        let made = create_new_folder(&new)?;
        let said = create_new_folder(&new).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("exists already; choose another folder"), "{said}");
        assert!(new.is_dir());
        made.remove_empty();
        assert!(!above.exists());
        Ok(())
    }
}
