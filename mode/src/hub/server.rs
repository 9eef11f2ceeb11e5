//! What is asked of the hub, and what its answers and hf-hub's errors mean.

use super::call::{Event, Unanswered, Watch, call};
use super::{HubError, Seen, choice};
use crate::Error;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, Metadata};
use hf_hub::{Cache, Repo};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// A hub, or a mirror of it.
pub(super) struct Server {
    api: Api,
    endpoint: String,
    cache: PathBuf,
    patience: Duration,
}

/// A revision of a repository.
pub(super) struct Listing {
    pub(super) commit: String,
    /// Names of files, and their sizes if the server says them.
    pub(super) files: BTreeMap<String, Option<u64>>,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

impl Server {
    /// The server at `endpoint`, given up after `patience` without a byte.
    pub(super) fn new(cache: &Cache, endpoint: &str, token: Option<String>, patience: Duration) -> Result<Self, Error> {
        let builder = ApiBuilder::from_cache(cache.clone()).with_endpoint(endpoint.into()).with_token(token);
        let (endpoint, cache) = (endpoint.to_string(), cache.path().clone());
        match builder.build() {
            Ok(api) => Ok(Self { api, endpoint, cache, patience }),
            Err(error) => Err(HubError::Unreachable { endpoint, why: error.to_string() }.into()),
        }
    }

    /// What a repository holds at a revision.
    pub(super) fn list(&self, repository: &str, repo: &Repo) -> Result<Listing, Error> {
        let handle = self.api.repo(repo.clone());
        let (status, code, body) = self
            .call(&mut |_, _| (), move |_| {
                let request = handle.info_request().query("blobs", "true");
                let mut response = request.config().http_status_as_error(false).build().call().map_err(Box::new)?;
                let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok());
                let (code, status) = (code.unwrap_or_default().to_string(), response.status().as_u16());
                let body =
                    if status == 200 { response.body_mut().read_to_string().map_err(Box::new)? } else { String::new() };
                Ok((status, code, body))
            })?
            .map_err(|error| self.failed(error, repository, None))?;
        let no_revision = || HubError::NoRevision { repository: repository.into(), revision: repo.revision().into() };
        match (status, code.as_str()) {
            (200, _) => {}
            (_, "RevisionNotFound") => return Err(no_revision().into()),
            (_, "GatedRepo") | (403, _) => return Err(HubError::Gated(repository.into()).into()),
            // The hub does not say of what it hides whether it is there.
            (401 | 404, _) => return Err(HubError::NoRepository(repository.into()).into()),
            _ => return Err(HubError::Status { endpoint: self.endpoint.clone(), status }.into()),
        }
        let info: Info = serde_json::from_str(&body).map_err(|error| self.nonsense(error.to_string()))?;
        if !choice::is_commit(&info.sha) {
            return Err(self.nonsense(format!("{:?} is no commit", info.sha)));
        }
        let files = info.siblings.into_iter().map(|file| (file.rfilename, file.size)).collect();
        Ok(Listing { commit: info.sha, files })
    }

    /// Size and ETag of a file of a commit.
    pub(super) fn metadata(&self, repository: &str, repo: &Repo, file: &str) -> Result<Metadata, Error> {
        let (api, url) = (self.api.clone(), self.api.repo(repo.clone()).url(file));
        let found = self.call(&mut |_, _| (), move |_| api.metadata(&url))?;
        let found = found.map_err(|error| self.failed(error, repository, Some(file)))?;
        // Both become names in the cache.
        if !choice::is_etag(found.etag()) || found.commit_hash() != repo.revision() {
            let what = format!("{file} has ETag {:?} and commit {:?}", found.etag(), found.commit_hash());
            return Err(self.nonsense(what));
        }
        Ok(found)
    }

    /// Fetches a file of a commit into the cache; goes on where an earlier fetch broke off.
    pub(super) fn fetch(
        &self,
        repository: &str,
        repo: &Repo,
        file: &str,
        see: &mut dyn FnMut(Seen),
    ) -> Result<PathBuf, Error> {
        let (handle, name) = (self.api.repo(repo.clone()), file.to_string());
        let fetched = self.call(&mut |done, bytes| see(Seen { file, done, bytes }), move |sender| {
            handle.download_with_progress(&name, Watch::new(sender))
        })?;
        fetched.map_err(|error| self.failed(error, repository, Some(file)))
    }

    /// What hf-hub gives, on a thread that is watched.
    fn call<T: Send + 'static>(
        &self,
        see: &mut dyn FnMut(u64, u64),
        work: impl FnOnce(Sender<Event<T>>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<Result<T, ApiError>, Error> {
        call(self.patience, see, work).map_err(|why| match why {
            Unanswered::Silent => {
                let (endpoint, seconds) = (self.endpoint.clone(), self.patience.as_secs());
                HubError::Silent { endpoint, seconds }.into()
            }
            Unanswered::Panicked => self.nonsense("hf-hub gave it up".into()),
            Unanswered::NoThread(error) => {
                Error::Setting(format!("no thread can be started: {error}; free some memory"))
            }
        })
    }

    fn nonsense(&self, what: String) -> Error {
        HubError::Answer { endpoint: self.endpoint.clone(), what }.into()
    }

    /// What an error of hf-hub's means.
    fn failed(&self, error: ApiError, repository: &str, file: Option<&str>) -> Error {
        let (endpoint, repository) = (self.endpoint.clone(), repository.to_string());
        let error = match (error, file) {
            (ApiError::RequestError(error), file) => match (*error, file) {
                (ureq::Error::StatusCode(401 | 403), _) => HubError::Gated(repository),
                (ureq::Error::StatusCode(404), Some(file)) => {
                    HubError::NoFile { repository, file: file.into(), named: None }
                }
                (ureq::Error::StatusCode(status), _) => HubError::Status { endpoint, status },
                (error, _) => HubError::Unreachable { endpoint, why: error.to_string() },
            },
            (ApiError::LockAcquisition(path), _) => HubError::Busy(path),
            (ApiError::IoError(error), Some(file)) => match error.kind() {
                ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
                | ErrorKind::FileTooLarge
                | ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::AlreadyExists => return Error::file(&self.cache)(error),
                _ => HubError::Cut { file: file.into(), why: error.to_string() },
            },
            (error, _) => HubError::Answer { endpoint, what: error.to_string() },
        };
        error.into()
    }
}
