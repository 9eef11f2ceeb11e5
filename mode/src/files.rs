//! Files read and written with errors that name them, and folders that must not exist yet.

use crate::Error;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A text file.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(Error::file(path))
}

/// A JSON file; what is wrong is said with the key that it is wrong at.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = read_text(path)?;
    let mut parser = serde_json::Deserializer::from_str(&text);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(|e| {
        let at = e.path().to_string();
        let what = e.into_inner().to_string();
        Error::content(path, if at == "." { what } else { format!("{at}: {what}") })
    })?;
    parser.end().map_err(|source| Error::Json { path: path.into(), source })?;
    Ok(value)
}

/// Writes a file.
pub(crate) fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<(), Error> {
    std::fs::write(path, contents).map_err(Error::file(path))
}

/// Writes a value as readable JSON.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|source| Error::Json { path: path.into(), source })?;
    write(path, text + "\n")
}

/// An error if a folder to make exists, unless `force` says that its files may be replaced.
pub(crate) fn refuse_existing(path: &Path, force: bool) -> Result<(), Error> {
    if path.is_dir() && force || !path.exists() {
        return Ok(());
    }
    if force {
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
    let mut file = File::open(path).map_err(Error::file(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).map_err(Error::file(path))?;
        if count == 0 {
            return Ok(hex(&hasher.finalize()));
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
