//! Folders that are made once: whole or not at all, or locked while one run writes to them; and where the user's cache is.

use crate::{Error, files};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An error if a folder to make exists.
pub(crate) fn refuse(path: &Path) -> Result<(), Error> {
    if !files::is_there(path) {
        return Ok(());
    }
    Err(Error::content(path, "exists already; choose another folder with --out DIR"))
}

/// An error if a folder to make exists, unless its files may be replaced or added to.
pub(crate) fn refuse_unless(path: &Path, welcome: bool) -> Result<(), Error> {
    if path.is_dir() && welcome || !files::is_there(path) {
        return Ok(());
    }
    if !path.is_dir() {
        return Err(Error::content(path, "is a file; choose another folder with --out DIR"));
    }
    Err(Error::content(path, "exists already; choose another with --out DIR, or replace its files with --force"))
}

/// An error if a folder to make lies in one that is read, and would then be part of it.
pub(crate) fn refuse_within(out: &Path, read: &Path, by: &str) -> Result<(), Error> {
    // It may not be there yet, but the folder above it that is tells where it will be.
    let there = out.ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        folder.canonicalize().ok()
    });
    let within = |out: &PathBuf| read.is_dir() && read.canonicalize().is_ok_and(|read| out.starts_with(read));
    if there.as_ref().is_some_and(within) {
        let what = format!("lies in {}, which {by} reads; choose another out", read.display());
        return Err(Error::content(out, what));
    }
    Ok(())
}

/// Folders that this run has made.
pub(crate) struct NewFolders(Vec<PathBuf>);

/// Makes a folder, and those above it, where there is none yet.
pub(crate) fn create(path: &Path) -> Result<NewFolders, Error> {
    let missing = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    let made = NewFolders(missing.map(Path::to_path_buf).collect());
    std::fs::create_dir_all(path).map_err(Error::file(path))?;
    Ok(made)
}

/// Makes a folder that is not there yet, with those above it: of two programs that ask for it one gets it.
pub(crate) fn create_new(path: &Path) -> Result<NewFolders, Error> {
    let mut made = create(path.parent().unwrap_or(Path::new("")))?;
    match std::fs::create_dir(path) {
        Ok(()) => {
            made.0.insert(0, path.into());
            Ok(made)
        }
        Err(error) => {
            made.remove_empty();
            refuse(path)?;
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

/// Lets `fill` make a folder that is not there yet, beside its place, and puts it there once it is whole. What a killed program left
/// of one is taken away by the next that makes it.
///
/// # Errors
/// There is something of that name, another program is making it, or `fill`'s own.
pub(crate) fn make<T>(out: &Path, fill: impl FnOnce(&Path) -> Result<T, Error>) -> Result<T, Error> {
    refuse(out)?;
    let Some(name) = out.file_name().map(|name| name.to_string_lossy()) else {
        return Err(Error::content(out, "names no folder to make"));
    };
    let above = out.parent().unwrap_or(Path::new("")).to_path_buf();
    let made = create(&above)?;
    let staged = out.with_file_name(format!(".{name}{}", files::PARTIAL));
    let result = lock_file(&out.with_file_name(format!(".{name}{LOCK}")), out).and_then(|_lock| {
        let remove = |folder: &Path| std::fs::remove_dir_all(folder).map_err(Error::file(folder));
        if staged.exists() {
            remove(&staged)?;
        }
        std::fs::create_dir(&staged).map_err(Error::file(&staged))?;
        let filled = fill(&staged).and_then(|value| {
            files::sync_folder(Some(&staged))?;
            // A rename would replace an empty folder that came to be meanwhile.
            refuse(out)?;
            std::fs::rename(&staged, out).map_err(Error::file(out))?;
            Ok(value)
        });
        if filled.is_err() {
            remove(&staged)?;
        }
        filled
    });
    match result {
        Ok(value) => files::sync_folder(Some(&above)).map(|()| value),
        Err(error) => {
            made.remove_empty();
            Err(error)
        }
    }
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
    name == LOCK || name.starts_with('.') && name.ends_with(files::PARTIAL)
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
    let lock = lock_file(&folder.join(LOCK), folder)?;
    [folder].iter().chain(below).try_for_each(|folder| sweep(folder))?;
    Ok(lock)
}

/// Takes the lock of a folder, which this file is.
fn lock_file(path: &Path, folder: &Path) -> Result<FolderLock, Error> {
    let path = path.to_path_buf();
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(Error::file(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock { path, _file: file }),
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

/// The variable that names the folder of [`cache`], or with `off` says that there is none.
pub(crate) const CACHE: &str = "MODE_CACHE";

/// The folder, which may not be there yet, of what the program keeps for its next run and can do without: what [`CACHE`] names, else
/// `mode` in the system's own place for such. None where that is switched off, or where the system has no place.
pub(crate) fn cache() -> Option<PathBuf> {
    cache_in(|name| std::env::var_os(name).filter(|value| !value.is_empty()), std::env::home_dir())
}

/// How old what a killed process left in the cache must be to be removed: no other process is still writing it.
const STALE: Duration = Duration::from_secs(24 * 3_600);

/// Writes a file of [`cache`], whole or not at all, and makes its folder, in which what killed processes left a day ago and more goes.
pub(crate) fn keep(path: &Path, contents: impl AsRef<[u8]>) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
    for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = file.metadata().and_then(|about| about.modified()).ok().and_then(|time| time.elapsed().ok());
        if is_leftover(&file.file_name()) && age.is_some_and(|age| age > STALE) {
            // Another process may have been faster; and a file too many harms nobody.
            let _ = std::fs::remove_file(file.path());
        }
    }
    files::write(path, contents)
}

fn cache_in(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    if let Some(folder) = variable(CACHE) {
        return Some(PathBuf::from(&folder)).filter(|_| !folder.eq_ignore_ascii_case("off"));
    }
    // A path that depends on where the program is started is nobody's cache; the XDG specification says so too.
    let absolute = |path: PathBuf| Some(path).filter(|path| path.is_absolute());
    let named = |name| variable(name).map(PathBuf::from).and_then(absolute);
    let home = |below| home.and_then(absolute).map(|home| home.join(below));
    let place = if cfg!(windows) {
        named("LOCALAPPDATA")
    } else if cfg!(target_vendor = "apple") {
        home("Library/Caches")
    } else {
        named("XDG_CACHE_HOME").or_else(|| home(".cache"))
    };
    place.map(|place| place.join("mode"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_cache_is_where_the_variable_or_the_system_says() {
        let found = |set: &[(&str, &str)], home: &str| {
            let value = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into());
            cache_in(value, Some(home.into()))
        };
        let is = |folder: &str| Some(PathBuf::from(folder));
        assert_eq!(found(&[], "/home/i"), is("/home/i/.cache/mode"));
        assert_eq!(found(&[("XDG_CACHE_HOME", "/fast")], "/home/i"), is("/fast/mode"));
        assert_eq!(found(&[("XDG_CACHE_HOME", "here")], "/home/i"), is("/home/i/.cache/mode"));
        assert_eq!(found(&[("MODE_CACHE", "there"), ("XDG_CACHE_HOME", "/fast")], "/home/i"), is("there"));
        assert_eq!((found(&[("MODE_CACHE", "off")], "/home/i"), found(&[], "home")), (None, None));
    }

    #[test]
    fn what_killed_processes_left_in_the_cache_goes_when_it_is_old() -> Result<(), Error> {
        let folder = scratch()?;
        let file = folder.path().join("tune/gpu");
        keep(&file, "1")?;
        let [old, new] = ["old", "new"].map(|name| folder.path().join(format!("tune/.{name}{}", files::PARTIAL)));
        for (file, age) in [(&old, 2 * STALE), (&new, STALE / 2)] {
            let then = std::time::SystemTime::now() - age;
            File::create(file).and_then(|file| file.set_modified(then)).map_err(Error::file(file))?;
        }
        keep(&file, "2")?;
        assert_eq!((file.exists(), old.exists(), new.exists()), (true, false, true));
        Ok(())
    }

    fn scratch() -> Result<tempfile::TempDir, Error> {
        tempfile::tempdir().map_err(Error::file(Path::new("a temporary folder")))
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_folder_is_made_whole_or_not_at_all() -> Result<(), Error> {
        let folder = scratch()?;
        let out = folder.path().join("above/out");
        let wrong = make(&out, |staged| {
            files::write(&staged.join("half"), "half")?;
            Err::<(), _>(Error::Setting("no more".into()))
        });
        assert!(wrong.is_err() && names(folder.path()).is_empty());
        // What a killed program left is no part of the next one's.
        let left = folder.path().join(format!(".out{}", files::PARTIAL));
        create(&left)?;
        files::write(&left.join("old"), "old")?;
        let out = folder.path().join("out");
        make(&out, |staged| files::write(&staged.join("new"), "new"))?;
        assert_eq!((names(folder.path()), names(&out)), (vec!["out".to_string()], vec!["new".to_string()]));
        assert!(make(&out, |_| Ok(())).is_err());
        Ok(())
    }

    #[test]
    fn two_programs_do_not_make_one_folder_at_once() -> Result<(), Error> {
        let folder = scratch()?;
        let out = folder.path().join("out");
        make(&out, |_| {
            let said = make(&out, |_| Ok(())).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains("another run is writing to it"), "{said}");
            Ok(())
        })
    }

    #[test]
    fn of_two_that_make_a_folder_one_gets_it() -> Result<(), Error> {
        let folder = scratch()?;
        let (above, new) = (folder.path().join("above"), folder.path().join("above/new"));
        let made = create_new(&new)?;
        let said = create_new(&new).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("exists already; choose another folder"), "{said}");
        assert!(new.is_dir());
        made.remove_empty();
        assert!(!above.exists());
        Ok(())
    }
}
