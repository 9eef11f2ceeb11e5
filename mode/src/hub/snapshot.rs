//! A commit's files in the cache, and how those that are missing come there.

use super::server::{Listing, Server};
use super::{HubError, Seen, choice};
use crate::{Error, files};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file whose connection broke is gone on with this often before the fetch gives up.
const TRIES: usize = 3;

/// The pause before each.
const PAUSE: Duration = Duration::from_millis(500);

/// A commit of a repository.
pub(super) struct Snapshot<'a> {
    repository: &'a str,
    /// Its hash.
    pub(super) commit: String,
    /// Its folder in the cache.
    pub(super) folder: PathBuf,
    /// Its files, and their sizes as far as they are known.
    files: BTreeMap<String, Option<u64>>,
    /// Where the cache keeps the commit that the revision names.
    reference: PathBuf,
    cache: CacheRepo,
    /// None without the network.
    server: Option<Server>,
    /// The repository at the commit.
    repo: Repo,
    revision: String,
}

impl<'a> Snapshot<'a> {
    /// What the server says of a revision.
    pub(super) fn of(server: Server, cache: &Cache, repo: Repo, repository: &'a str) -> Result<Self, Error> {
        let listing = server.list(repository, &repo)?;
        Ok(Self::new(cache, &repo, repository, listing, Some(server)))
    }

    /// What the cache holds of a revision.
    pub(super) fn cached(cache: &Cache, repo: Repo, repository: &'a str) -> Result<Self, Error> {
        let known = fs::read_to_string(reference(cache, &repo)).map(|commit| commit.trim().to_string());
        let commit = known.ok().filter(|commit| choice::is_commit(commit)).unwrap_or_else(|| repo.revision().into());
        let mut files = BTreeMap::new();
        list(&cache.repo(repo.clone()).pointer_path(&commit), "", &mut files);
        Ok(Self::new(cache, &repo, repository, Listing { commit, files }, None))
    }

    fn new(cache: &Cache, repo: &Repo, repository: &'a str, listing: Listing, server: Option<Server>) -> Self {
        let Listing { commit, files } = listing;
        let at_commit = Repo::with_revision(repository.into(), RepoType::Model, commit.clone());
        let (reference, revision) = (reference(cache, repo), repo.revision().to_string());
        let cache = cache.repo(at_commit.clone());
        let folder = cache.pointer_path(&commit);
        Self { repository, commit, folder, files, reference, cache, server, repo: at_commit, revision }
    }

    /// Fetches what is missing of the files asked for, or else of the model; the names of all that were wanted.
    pub(super) fn fetch(&self, asked: &[String], see: &mut dyn FnMut(Seen)) -> Result<Vec<String>, Error> {
        let there: BTreeSet<&str> = self.files.keys().map(String::as_str).collect();
        let mut names = choice::files(self.repository, &there, asked).map_err(|error| self.or_offline(error.into()))?;
        names.iter().try_for_each(|name| self.fetch_file(name, see))?;
        if asked.is_empty() && names.iter().any(|name| name == choice::INDEX) {
            let index = self.folder.join(choice::INDEX);
            let shards = choice::shards(self.repository, &there, &index).map_err(|error| self.or_offline(error))?;
            shards.iter().try_for_each(|name| self.fetch_file(name, see))?;
            names.extend(shards);
        }
        if self.server.is_some() && self.revision != self.commit {
            if let Some(folder) = self.reference.parent() {
                fs::create_dir_all(folder).map_err(Error::file(folder))?;
            }
            files::write(&self.reference, &self.commit)?;
        }
        Ok(names)
    }

    /// What is missing in a cache may well be on the hub.
    fn or_offline(&self, error: Error) -> Error {
        match (&self.server, error) {
            (None, Error::Hub(_)) => {
                HubError::Offline { repository: self.repository.into(), revision: self.revision.clone() }.into()
            }
            (_, error) => error,
        }
    }

    fn fetch_file(&self, name: &str, see: &mut dyn FnMut(Seen)) -> Result<(), Error> {
        let (path, expected) = (self.folder.join(name), self.files.get(name).copied().flatten());
        let Some(server) = &self.server else { return Ok(()) };
        if fs::metadata(&path).is_ok_and(|file| expected.is_none_or(|bytes| file.len() == bytes)) {
            return Ok(());
        }
        let metadata = server.metadata(self.repository, &self.repo, name)?;
        let (blob, bytes) = (self.cache.blob_path(metadata.etag()), metadata.size() as u64);
        // Of a link that leads nowhere hf-hub would trip, and of a file of another size it would make no other.
        remove(&path)?;
        if fs::metadata(&blob).is_ok_and(|file| file.len() == bytes) {
            return link(&blob, &path);
        }
        // What it had of a file it asks for the rest of, even if that is nothing, which is an error to servers.
        let part = blob.with_extension("part");
        if fs::metadata(&part).is_ok_and(|file| file.len() >= bytes) {
            remove(&part)?;
        }
        let mut tries = 0;
        let fetched = loop {
            match server.fetch(self.repository, &self.repo, name, see) {
                Err(Error::Hub(HubError::Cut { .. })) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                fetched => break fetched?,
            }
        };
        let whole = OpenOptions::new().write(true).open(&fetched).and_then(|file| {
            file.sync_all()?;
            Ok(file.metadata()?.len() == bytes)
        });
        // The ETag of a large file is its SHA-256; that of others is a hash of git's.
        let etag = metadata.etag();
        if whole.map_err(Error::file(&fetched))? && (etag.len() != 64 || files::sha256(&fetched)? == etag) {
            return Ok(());
        }
        remove(&blob)?;
        remove(&path)?;
        Err(HubError::Damaged(name.into()).into())
    }
}

/// The file that names a revision's commit.
fn reference(cache: &Cache, repo: &Repo) -> PathBuf {
    cache.path().join(repo.folder_name()).join("refs").join(repo.revision())
}

/// Adds the files of a folder, with the folders that they are in; links that lead nowhere are none.
fn list(folder: &Path, above: &str, files: &mut BTreeMap<String, Option<u64>>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{above}{}", entry.file_name().to_string_lossy());
        match fs::metadata(entry.path()) {
            Ok(found) if found.is_dir() => list(&entry.path(), &format!("{name}/"), files),
            Ok(found) => _ = files.insert(name, Some(found.len())),
            Err(_) => {}
        }
    }
}

/// Removes a file or a link, if it is there.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file(path)(error)),
        _ => Ok(()),
    }
}

/// Makes a file of a snapshot out of a blob that another commit brought.
fn link(blob: &Path, path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(Error::file(folder))?;
    #[cfg(unix)]
    let linked = match pathdiff::diff_paths(blob, folder) {
        Some(relative) => std::os::unix::fs::symlink(relative, path),
        None => fs::hard_link(blob, path),
    };
    #[cfg(not(unix))]
    let linked = fs::hard_link(blob, path);
    linked.map_err(Error::file(path))
}
