//! What can go wrong between here and the hub.

use std::path::PathBuf;

/// An error of a fetch. Those of the network end the program with exit code 1, those of what was asked for with 2.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A repository's name that can't be.
    #[error("{0:?} names no repository; give ORG/NAME, both of letters, digits, `_`, `-` and `.`")]
    RepositoryName(String),
    /// A revision's name that can't be.
    #[error("{0:?} names no revision; give a branch, a tag or a commit")]
    RevisionName(String),
    /// A file's name that would lie outside its folder, or has characters that are not fetched.
    #[error(
        "{0:?} is no file that can be fetched; names are of letters, digits, `_`, `-` and `.`, and lie inside the model"
    )]
    FileName(String),
    /// A variable of the environment that can't be.
    #[error("{name} {what}")]
    Variable {
        /// Which.
        name: &'static str,
        /// What is wrong, and what to do.
        what: &'static str,
    },
    /// A repository that the hub does not show.
    #[error(
        "the hub shows no repository {0}; check its name, and if it is private set HF_TOKEN to a token that may read it"
    )]
    NoRepository(String),
    /// A revision that the repository lacks.
    #[error("{repository} has no revision {revision}; give one of its branches, tags or commits")]
    NoRevision {
        /// Whose.
        repository: String,
        /// Which.
        revision: String,
    },
    /// A repository whose files are not for everybody.
    #[error("{0} is gated: accept its conditions on its page, and set HF_TOKEN to a token that may read it")]
    Gated(String),
    /// A file that the repository lacks.
    #[error("{repository} has no {file}{}", .named.as_ref().map(|by| format!(", which its {by} names")).unwrap_or_default())]
    NoFile {
        /// Whose.
        repository: String,
        /// Which.
        file: String,
        /// The file that names it.
        named: Option<&'static str>,
    },
    /// A repository without weights that could be read.
    #[error("{0} has no model.safetensors and no index of its shards; name the files to fetch with --file NAME")]
    NoWeights(String),
    /// A repository whose weights are GGUF files.
    #[error("{repository} has no safetensors, but GGUF files; name those to fetch with --file NAME: {}", .files.join(", "))]
    OnlyGguf {
        /// Which.
        repository: String,
        /// Its files.
        files: Vec<String>,
    },
    /// Files that the cache lacks, while the network may not be used.
    #[error(
        "the cache does not hold all of {repository} at {revision}, and HF_HUB_OFFLINE is set; fetch it without that"
    )]
    Offline {
        /// Which.
        repository: String,
        /// Which revision of it.
        revision: String,
    },
    /// A server that does not answer.
    #[error(
        "{endpoint} can't be reached: {why}; check the network, or set HF_HUB_OFFLINE=1 to take what the cache holds"
    )]
    Unreachable {
        /// The server.
        endpoint: String,
        /// Why.
        why: String,
    },
    /// A server that answers with an error.
    #[error("{endpoint} answered with status {status}; try again later")]
    Status {
        /// The server.
        endpoint: String,
        /// Of HTTP.
        status: u16,
    },
    /// A connection that broke within a file.
    #[error("the connection broke while {file} came: {why}; fetch again, which goes on from there")]
    Cut {
        /// Which.
        file: String,
        /// Why.
        why: String,
    },
    /// A server that stopped sending.
    #[error(
        "{endpoint} sent nothing for {seconds} s; fetch again, which goes on from there, or wait longer with --timeout"
    )]
    Silent {
        /// The server.
        endpoint: String,
        /// How long.
        seconds: u64,
    },
    /// An answer that makes no sense.
    #[error("{endpoint} gave an answer that makes no sense: {what}; try again, or another HF_ENDPOINT")]
    Answer {
        /// The server.
        endpoint: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file that came with another size or hash than it has.
    #[error("{0} came damaged and was removed; fetch again")]
    Damaged(String),
    /// A file that another process is fetching.
    #[error("{}: another process is fetching this file; wait for its end", .0.display())]
    Busy(PathBuf),
}

impl HubError {
    /// 1 if the network or the server failed, 2 if what was asked for can't be.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Offline { .. }
            | Self::Unreachable { .. }
            | Self::Status { .. }
            | Self::Cut { .. }
            | Self::Silent { .. }
            | Self::Answer { .. }
            | Self::Damaged(_)
            | Self::Busy(_) => 1,
            _ => 2,
        }
    }
}
