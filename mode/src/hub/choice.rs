//! Which files of a repository a model needs, and which names are believed: none may lead out of its folder.

use super::HubError;
use crate::{Error, files};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The weights in one file.
const WEIGHTS: &str = "model.safetensors";

/// The list of the shards that they may be cut into.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// What else is fetched as far as it is there, except for the first, which must be.
const OTHERS: [&str; 5] =
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

/// True for `[A-Za-z0-9_.-]+` that is neither `.` nor `..`.
fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) && name.bytes().any(|b| b != b'.')
}

/// An error for a repository that is not `ORG/NAME`.
pub(super) fn check_repository(name: &str) -> Result<(), HubError> {
    match name.split_once('/') {
        Some((owner, model)) if is_name(owner) && is_name(model) => Ok(()),
        _ => Err(HubError::RepositoryName(name.into())),
    }
}

/// An error for a revision that is no branch, tag or commit, such as `main` or `refs/pr/1`.
pub(super) fn check_revision(name: &str) -> Result<(), HubError> {
    if name.split('/').all(is_name) { Ok(()) } else { Err(HubError::RevisionName(name.into())) }
}

/// An error for a file's name, with `/` between folders, that is not fetched.
pub(super) fn check_file(name: &str) -> Result<(), HubError> {
    if name.split('/').all(is_name) { Ok(()) } else { Err(HubError::FileName(name.into())) }
}

/// True for a hash in hex as git and the hub have them; it becomes a folder's name.
pub(super) fn is_commit(hash: &str) -> bool {
    (7..=64).contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// True for an ETag that can be a file's name; a weak one begins with `W/`.
pub(super) fn is_etag(tag: &str) -> bool {
    let name = tag.strip_prefix("W/").unwrap_or(tag);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// The files to fetch of those that a repository has: those `asked` for, or else the model's, of which the shards are not
/// known yet.
///
/// # Errors
/// One that is needed is not there.
pub(super) fn files(repository: &str, there: &BTreeSet<&str>, asked: &[String]) -> Result<Vec<String>, HubError> {
    let missing = |file: &str| HubError::NoFile { repository: repository.into(), file: file.into(), named: None };
    if !asked.is_empty() {
        return match asked.iter().find(|name| !there.contains(name.as_str())) {
            Some(name) => Err(missing(name)),
            None => Ok(asked.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect()),
        };
    }
    let Some(weights) = [WEIGHTS, INDEX].into_iter().find(|name| there.contains(name)) else {
        let ggufs = there.iter().filter(|name| name.ends_with(".gguf") && check_file(name).is_ok());
        let ggufs: Vec<String> = ggufs.map(|name| name.to_string()).collect();
        return Err(match ggufs.is_empty() {
            true => HubError::NoWeights(repository.into()),
            false => HubError::OnlyGguf { repository: repository.into(), files: ggufs },
        });
    };
    if !there.contains(OTHERS[0]) {
        return Err(missing(OTHERS[0]));
    }
    let others = OTHERS.into_iter().filter(|name| there.contains(name));
    Ok(others.chain([weights]).map(str::to_string).collect())
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The shards that an index names, in order.
///
/// # Errors
/// One lies outside the folder, or is not there.
pub(super) fn shards(repository: &str, there: &BTreeSet<&str>, index: &Path) -> Result<Vec<String>, Error> {
    let index_of: Index = files::read_json(index)?;
    let shards: BTreeSet<String> = index_of.weight_map.into_values().collect();
    if shards.is_empty() {
        return Err(Error::content(index, "weight_map names no shard; this repository holds no weights"));
    }
    for name in &shards {
        // A reader wants them beside the index.
        if !is_name(name) {
            return Err(HubError::FileName(name.clone()).into());
        }
        if !there.contains(name.as_str()) {
            let (repository, file) = (repository.into(), name.clone());
            return Err(HubError::NoFile { repository, file, named: Some(INDEX) }.into());
        }
    }
    Ok(shards.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        assert!(["a/b", "meta-llama/Llama-3.2-1B", "A_b/c.d"].iter().all(|name| check_repository(name).is_ok()));
        let bad = ["", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a/.", "a b/c", "a/b\n", "a/b?x", "ä/b", "a%2Fb/c"];
        assert!(bad.iter().all(|name| check_repository(name).is_err()));
        assert!(["main", "refs/pr/1", "v1.0"].iter().all(|name| check_revision(name).is_ok()));
        assert!(["", "..", "a/../b", "/main", "a//b", "a?b"].iter().all(|name| check_revision(name).is_err()));
        assert!(["x.gguf", "Q4/x-00001-of-2.gguf"].iter().all(|name| check_file(name).is_ok()));
        assert!(["../x", "/etc/x", "a/../../x", "a\\b", "", "a/"].iter().all(|name| check_file(name).is_err()));
        assert!(is_etag("0a1b") && is_etag("W/0a1b") && !is_etag("") && !is_etag("../x") && !is_etag("W/.."));
        assert!(is_commit(&"0".repeat(40)) && !is_commit("..") && !is_commit("main") && !is_commit(""));
    }

    #[test]
    fn a_model_is_configuration_tokenizer_and_weights() {
        let of = |there: &[&'static str]| files("a/b", &there.iter().copied().collect(), &[]);
        let found = of(&["README.md", "model.safetensors", INDEX, "tokenizer.json", "config.json", "x.gguf"]);
        assert_eq!(found.unwrap(), ["config.json", "tokenizer.json", "model.safetensors"]);
        assert_eq!(of(&["config.json", INDEX]).unwrap(), ["config.json", INDEX]);
        let text = |there: &[&'static str]| of(there).unwrap_err().to_string();
        assert!(text(&["model.safetensors"]).contains("has no config.json"));
        assert!(text(&["b.gguf", "a.gguf", "../c.gguf"]).ends_with("--file NAME: a.gguf, b.gguf"));
        assert!(text(&["config.json", "pytorch_model.bin"]).contains("no model.safetensors"));
    }
}
