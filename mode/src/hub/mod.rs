//! Models from the Hugging Face hub, through hf-hub, into the cache that all tools of the hub share.
//!
//! Of a repository the cache has a folder `models--ORG--NAME`: contents lie in `blobs/ETAG`, `snapshots/COMMIT/FILE` are links
//! to them, and `refs/REVISION` names a commit. All files of a fetch are of one commit. Its ref is written when all of them are
//! there, so a cache whose ref names a commit holds what was fetched of it whole. (hf-hub itself writes `refs/COMMIT` with the first
//! file; that promises nothing.)
//!
//! The environment counts as it does for the hub's own tools: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN` (else the
//! token that a login left in `HF_HOME`) and `HF_HUB_OFFLINE`. hf-hub sends the token to where the server redirects it too, as it asks
//! there how large a file is.

mod call;
mod choice;
mod error;
mod out;
mod server;
mod snapshot;

use crate::{Error, folders};
use hf_hub::{Cache, Repo, RepoType};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use call::is_calling_library;
pub use error::HubError;
use server::Server;
use snapshot::Snapshot;

/// What to fetch.
pub struct Request {
    /// `ORG/NAME`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// Files to fetch instead of configuration, tokenizer and weights.
    pub files: Vec<String>,
    /// A folder to make of them, beside the cache.
    pub out: Option<PathBuf>,
    /// A server that sends nothing for so long is given up.
    pub patience: Duration,
}

/// How far a file has come.
pub struct Seen<'a> {
    /// Its name.
    pub file: &'a str,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes that it has.
    pub bytes: u64,
}

/// What was fetched.
#[derive(serde::Serialize)]
pub struct Fetched {
    /// The commit's folder in the cache, or the one that was made.
    pub folder: PathBuf,
    /// The commit.
    pub revision: String,
    /// Names of the files.
    pub files: Vec<String>,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Fetches a model, or named files; those that the cache has already are not fetched again.
///
/// # Errors
/// Something that is not there or not for everybody, a network or server that fails, or a file that can't be written.
pub fn fetch(request: &Request, see: &mut dyn FnMut(Seen)) -> Result<Fetched, Error> {
    let Request { repository, revision, .. } = request;
    choice::check_repository(repository)?;
    choice::check_revision(revision)?;
    request.files.iter().try_for_each(|name| choice::check_file(name))?;
    request.out.iter().try_for_each(|out| folders::refuse(out))?;

    let cache = cache()?;
    let repo = Repo::with_revision(repository.clone(), RepoType::Model, revision.clone());
    let snapshot = if is_set("HF_HUB_OFFLINE") {
        Snapshot::cached(&cache, repo, repository)
    } else {
        let server = Server::new(&cache, &endpoint()?, token()?, request.patience)?;
        Snapshot::of(server, &cache, repo, repository)
    }?;
    let names = snapshot.fetch(&request.files, see)?;

    let folder = match &request.out {
        Some(out) => out::place(&snapshot.folder, &names, out).map(|()| out.clone()),
        None => Ok(snapshot.folder.clone()),
    }?;
    let size = |name: &String| {
        let path = folder.join(name);
        std::fs::metadata(&path).map(|file| file.len()).map_err(Error::file(&path))
    };
    let bytes = names.iter().map(size).sum::<Result<u64, _>>()?;
    Ok(Fetched { folder, revision: snapshot.commit, files: names, bytes })
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_string()).filter(|value| !value.is_empty())
}

/// True for a variable that is switched on, in the words of the hub's own tools.
fn is_set(name: &str) -> bool {
    variable(name).is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str()))
}

/// A folder that a variable names.
fn folder(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The cache in the hub's home. hf-hub would look for it too, and panic where there is none.
fn home() -> Result<Cache, HubError> {
    let home = || std::env::home_dir().filter(|path| path.is_absolute()).map(|path| path.join(".cache/huggingface"));
    let what = "is not set, and no home folder is known; set it to a folder for the cache";
    let home = folder("HF_HOME").or_else(home).ok_or(HubError::Variable { name: "HF_HOME", what })?;
    Ok(Cache::new(home.join("hub")))
}

fn cache() -> Result<Cache, HubError> {
    folder("HF_HUB_CACHE").map_or_else(home, |folder| Ok(Cache::new(folder)))
}

fn endpoint() -> Result<String, HubError> {
    let name = "HF_ENDPOINT";
    let Some(endpoint) = variable(name) else { return Ok("https://huggingface.co".into()) };
    if ["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
        return Ok(endpoint.trim_end_matches('/').into());
    }
    Err(HubError::Variable { name, what: "is no address; let it begin with https://, or unset it" })
}

fn token() -> Result<Option<String>, HubError> {
    let name = "HF_TOKEN";
    // A login leaves it in HF_HOME, wherever the cache is.
    let token = variable(name).or_else(|| home().ok()?.token());
    match token.as_ref().is_none_or(|token| token.bytes().all(|byte| byte.is_ascii_graphic())) {
        true => Ok(token),
        false => Err(HubError::Variable { name, what: "holds characters that no token has; copy it again" }),
    }
}
