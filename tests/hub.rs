//! `mode fetch` against a hub on 127.0.0.1: what comes whole, what is gone on with, and what is refused.
#![cfg(feature = "hub")]

mod common;
#[path = "common/hub.rs"]
mod hub;

use common::{Recipes, data, text};
use hub::{Hub, REPOSITORY, What};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const WEIGHTS: &str = "model.safetensors";

/// A hub, and a home with nothing in its cache.
struct Scene {
    hub: Hub,
    recipes: Recipes,
}

impl Scene {
    fn new() -> Self {
        let recipes = Recipes::new();
        let english = std::fs::read_to_string(recipes.path("english.txt")).expect("a text");
        std::fs::write(recipes.path("english.txt"), &english[..2_000]).expect("a file");
        Self { hub: Hub::new(hub::model(&recipes.path("tokenizer.json"))), recipes }
    }

    fn sharded() -> Self {
        let scene = Self::new();
        let files = scene.hub.state().files.clone();
        scene.hub.state().files = hub::shards(files, scene.recipes.folder.path());
        scene
    }

    fn fetch(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (String, String, i32) {
        let mut command = common::mode();
        for name in ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.recipes.path("home")).env("HF_ENDPOINT", &self.hub.endpoint);
        command.envs(variables.iter().copied()).arg("fetch").args(arguments).timeout(Duration::from_secs(60));
        let output = command.output().expect("the program");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
    }

    fn fetched(&self, arguments: &[&str]) -> serde_json::Value {
        let (stdout, stderr, code) = self.fetch(&[&[REPOSITORY, "--json", "--quiet"], arguments].concat(), &[]);
        assert!(code == 0 && stderr.is_empty(), "{stderr}");
        serde_json::from_str(stdout.lines().last().expect("a line")).expect("JSON")
    }

    /// One line of error, and nothing where a reader would take it for whole.
    fn fails(&self, arguments: &[&str], variables: &[(&str, &str)], code: i32, says: &str) {
        let (stdout, stderr, found) = self.fetch(&[arguments, &["--quiet"]].concat(), variables);
        assert_eq!(found, code, "{arguments:?}: {stderr}");
        assert!(stderr.lines().count() == 1 && stderr.starts_with("error: "), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says) && !stderr.contains("panicked"), "{says:?} is not in {stderr}");
        assert!(stdout.is_empty() && !self.cache().join("refs/main").exists());
        assert!(variables.iter().all(|(name, value)| *name != "HF_TOKEN" || !stderr.contains(value)), "{stderr}");
    }

    fn cache(&self) -> PathBuf {
        self.recipes.path("home").join("hub/models--tests--tiny")
    }

    fn snapshot(&self) -> PathBuf {
        self.cache().join("snapshots").join(&self.hub.state().commit)
    }

    fn evaluates(&self, folder: &Path) -> serde_json::Value {
        let (stdout, stderr, code) = common::run(&[
            "eval",
            "--model",
            text(folder),
            "--text",
            text(&self.recipes.path("english.txt")),
            "--json",
        ]);
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str(stdout.lines().last().expect("a line")).expect("JSON")
    }
}

#[test]
fn a_model_comes_whole_and_once() {
    let scene = Scene::new();
    let found = scene.fetched(&[]);
    let names = ["config.json", "tokenizer.json", WEIGHTS];
    let bytes: usize = names.iter().map(|name| scene.hub.state().files[*name].len()).sum();
    assert_eq!(found["files"], serde_json::json!(names));
    assert_eq!((&found["bytes"], &found["revision"]), (&bytes.into(), &scene.hub.state().commit.clone().into()));
    assert_eq!(found["folder"], text(&scene.snapshot()));
    assert_eq!(std::fs::read_to_string(scene.cache().join("refs/main")).expect("a ref"), scene.hub.state().commit);
    scene.evaluates(&scene.snapshot());
    // Again: the repository is asked what it holds, and nothing comes.
    scene.hub.state().log.clear();
    assert_eq!(scene.fetched(&[]), found);
    assert_eq!(scene.hub.state().log.len(), 1, "{:?}", scene.hub.state().log);
    // Another commit: what has not changed is not fetched again.
    scene.hub.state().commit = "ab".repeat(20);
    scene.hub.state().log.clear();
    assert_ne!(scene.fetched(&[])["folder"], found["folder"]);
    assert!(scene.hub.ranges("").iter().all(String::is_empty));
    scene.evaluates(&scene.snapshot());
    // Without the network, from the cache; people see the folder alone on stdout.
    let offline = [("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", "http://127.0.0.1:9")];
    let (stdout, stderr, code) = scene.fetch(&[REPOSITORY], &offline);
    assert_eq!((stdout.trim(), code), (text(&scene.snapshot()), 0), "{stderr}");
    assert!(scene.hub.state().log.is_empty());
    let elsewhere = scene.recipes.path("elsewhere");
    let (stdout, stderr, code) = scene.fetch(&[REPOSITORY], &[("HF_HUB_CACHE", text(&elsewhere))]);
    assert!(stdout.starts_with(text(&elsewhere)) && code == 0, "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(lines.len() == 4 && lines[0] == "config.json: 0.0 MB" && lines[3].contains("3 files, 0.6 MB"), "{stderr}");
}

#[test]
fn shards_come_and_a_folder_is_made_of_them() {
    let scene = Scene::sharded();
    let out = scene.recipes.path("models/tiny");
    let found = scene.fetched(&["--out", text(&out)]);
    assert_eq!((&found["folder"], found["files"].as_array().map(Vec::len)), (&text(&out).into(), Some(5)));
    let whole = scene.recipes.path("whole");
    std::fs::create_dir(&whole).expect("a folder");
    for file in [data("tiny-random-llama/config.json"), data("tiny-random-llama/model.safetensors")] {
        std::fs::copy(&file, whole.join(file.file_name().expect("a name"))).expect("a file");
    }
    std::fs::copy(scene.recipes.path("tokenizer.json"), whole.join("tokenizer.json")).expect("a file");
    let loss = |folder: &Path| scene.evaluates(folder)["mean_nll"].clone();
    assert_eq!((loss(&out), loss(&scene.snapshot())), (loss(&whole), loss(&whole)));
    // What people edit is theirs, and what is there is not written to.
    std::fs::write(out.join("config.json"), "{}").expect("a file");
    assert_ne!(std::fs::read(scene.snapshot().join("config.json")).expect("a file"), b"{}");
    let (_, stderr, code) = scene.fetch(&[REPOSITORY, "--out", text(&out)], &[]);
    assert!(code == 2 && stderr.contains("exists already"), "{stderr}");
    let beside: Vec<_> = std::fs::read_dir(out.parent().expect("a folder")).expect("a folder").collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
}

#[test]
fn a_connection_that_breaks_is_gone_on_with() {
    // Within one fetch.
    let scene = Scene::new();
    scene.hub.trouble(WEIGHTS, 1, What::Cut(200_000));
    scene.fetched(&[]);
    let ranges = scene.hub.ranges(WEIGHTS);
    assert_eq!(ranges, ["bytes=0-", "bytes=200000-"]);
    assert_eq!(std::fs::read(scene.snapshot().join(WEIGHTS)).expect("a file"), scene.hub.state().files[WEIGHTS]);
    // From one fetch to the next.
    let scene = Scene::new();
    scene.hub.trouble(WEIGHTS, 4, What::Cut(1_000));
    scene.fails(&[REPOSITORY, "--out", text(&scene.recipes.path("out"))], &[], 1, "the connection broke");
    assert!(!scene.snapshot().join(WEIGHTS).exists() && !scene.recipes.path("out").exists());
    assert_eq!(scene.hub.ranges(WEIGHTS).last().map(String::as_str), Some("bytes=3000-"));
    scene.fails(&[REPOSITORY], &[("HF_HUB_OFFLINE", "1")], 1, "HF_HUB_OFFLINE is set");
    scene.fetched(&[]);
    assert_eq!(scene.hub.ranges(WEIGHTS), ["bytes=4000-"]);
    scene.evaluates(&scene.snapshot());
}

#[test]
fn what_comes_damaged_is_removed() {
    let scene = Scene::new();
    // A server without ranges sends the beginning again, behind what an earlier fetch has of the file.
    scene.hub.trouble(WEIGHTS, 4, What::Cut(1_000));
    scene.fails(&[REPOSITORY], &[], 1, "the connection broke");
    scene.hub.trouble(WEIGHTS, 1, What::Whole);
    scene.fails(&[REPOSITORY], &[], 1, "came damaged");
    assert!(!scene.snapshot().join(WEIGHTS).exists());
    scene.hub.trouble(WEIGHTS, 1, What::Altered);
    scene.fails(&[REPOSITORY], &[], 1, "came damaged");
    assert!(!scene.snapshot().join(WEIGHTS).exists());
    let blobs = std::fs::read_dir(scene.cache().join("blobs")).expect("a folder").flatten();
    let lock = blobs
        .map(|blob| blob.path())
        .find(|path| path.extension().is_some_and(|end| end == "lock") && !path.with_extension("").exists());
    // A part that is already as long as the file, as a kill before its renaming leaves it.
    let part = lock.expect("a lock").with_extension("part");
    std::fs::write(part, &scene.hub.state().files[WEIGHTS]).expect("a file");
    scene.fetched(&[]);
    scene.evaluates(&scene.snapshot());
    // A file of another length under its name is fetched again.
    std::fs::write(scene.snapshot().join("config.json"), "{").expect("a file");
    scene.fetched(&[]);
    scene.evaluates(&scene.snapshot());
}

#[test]
fn servers_that_refuse_or_fail_are_told_in_one_line() {
    let scene = Scene::new();
    scene.fails(&["tests/other"], &[], 2, "the hub shows no repository tests/other");
    scene.fails(&[REPOSITORY, "--revision", "refs/pr/7"], &[], 2, "has no revision refs/pr/7");
    let cases = [
        ("main", What::Status(404, "RepoNotFound"), 2, "the hub shows no repository"),
        ("main", What::Status(401, "GatedRepo"), 2, "is gated"),
        ("main", What::Status(401, ""), 2, "set HF_TOKEN"),
        ("main", What::Status(500, ""), 1, "answered with status 500"),
        ("main", What::Status(429, ""), 1, "answered with status 429"),
        ("main", What::Silent, 1, "sent nothing for 1 s"),
        ("main", What::Says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), 1, "makes no sense"),
        ("main", What::Says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"), 1, "can't be reached"),
        ("main", What::Says("SSH-2.0\r\n"), 1, "can't be reached"),
        ("config.json", What::Status(401, "GatedRepo"), 2, "is gated"),
        ("config.json", What::Status(404, "EntryNotFound"), 2, "has no config.json"),
        ("config.json", What::Status(503, ""), 1, "answered with status 503"),
        ("config.json", What::Silent, 1, "sent nothing for 1 s"),
        ("config.json", What::Etag("../../../escaped"), 1, "makes no sense"),
        ("config.json", What::Says("HTTP/1.1 206 OK\r\nContent-Length: 0\r\n\r\n"), 1, "makes no sense"),
        // hf-hub panics on this one.
        (
            "config.json",
            What::Says("HTTP/1.1 302 Found\r\nETag: a\r\nX-Repo-Commit: a\r\nContent-Length: 0\r\n\r\n"),
            1,
            "makes no sense: hf-hub gave it up",
        ),
    ];
    for (at, what, code, says) in cases {
        scene.hub.trouble(at, 1, what);
        let patience = if matches!(what, What::Silent) { "1" } else { "60" };
        scene.fails(&[REPOSITORY, "--timeout", patience], &[], code, says);
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    scene.fails(&[REPOSITORY], &[("HF_ENDPOINT", &format!("http://{free}"))], 1, "can't be reached");
    scene.fails(&[REPOSITORY], &[("HF_HUB_OFFLINE", "1")], 1, "HF_HUB_OFFLINE is set");
    scene.fails(&[REPOSITORY], &[("HF_ENDPOINT", "hub")], 2, "HF_ENDPOINT");
    scene.fails(&[REPOSITORY], &[("HF_TOKEN", "a b")], 2, "HF_TOKEN");
    for name in ["tiny", "../tiny", "tests/..", "tests/tiny/x", "tests/ti ny"] {
        scene.fails(&[name], &[], 2, "names no repository");
    }
    scene.fails(&[REPOSITORY, "--revision", "../main"], &[], 2, "names no revision");
    // A token goes along. (That no message tells one, `fails` looks after.)
    scene.hub.state().log.clear();
    scene.hub.trouble("main", 1, What::Status(403, ""));
    scene.fails(&[REPOSITORY], &[("HF_TOKEN", "hf_secret")], 2, "is gated");
    assert_eq!(scene.hub.state().log[0].2, "Bearer hf_secret");
}

#[test]
fn repositories_that_lack_something_are_refused() {
    let scene = Scene::sharded();
    let files = scene.hub.state().files.clone();
    let shard = "model-00002-of-00002.safetensors";
    scene.hub.trouble(shard, 1, What::Status(404, "EntryNotFound"));
    scene.fails(&[REPOSITORY], &[], 2, "has no model-00002-of-00002.safetensors");
    scene.hub.state().files.remove(shard);
    scene.fails(&[REPOSITORY], &[], 2, "which its model.safetensors.index.json names");
    for name in ["../x", "/etc/passwd", "..", "a/b", ""] {
        let index = serde_json::json!({"weight_map": {"w": name}}).to_string().into_bytes();
        scene.hub.state().commit = format!("{:040x}", index.len() + 0xab_cdef);
        scene.hub.state().files.insert("model.safetensors.index.json".into(), index);
        scene.fails(&[REPOSITORY], &[], 2, "lie inside the model");
    }
    let broken = b"{\"weight_map\": {}}".to_vec();
    scene.hub.state().commit = "d".repeat(40);
    scene.hub.state().files.insert("model.safetensors.index.json".into(), broken);
    scene.fails(&[REPOSITORY], &[], 2, "names no shard");
    // Files of another kind come by name.
    let ggufs = ["Q4/tiny.gguf", "tiny.gguf"].map(|name| (name.to_string(), name.as_bytes().to_vec()));
    scene.hub.state().files = BTreeMap::from(ggufs);
    scene.fails(&[REPOSITORY], &[], 2, "name those to fetch with --file NAME: Q4/tiny.gguf, tiny.gguf");
    scene.fails(&[REPOSITORY, "--file", "other.gguf"], &[], 2, "has no other.gguf");
    scene.fails(&[REPOSITORY, "--file", "../x"], &[], 2, "lie inside the model");
    let out = scene.recipes.path("out");
    let found = scene.fetched(&["--file", "tiny.gguf", "--file", "Q4/tiny.gguf", "--out", text(&out)]);
    assert_eq!(found["files"], serde_json::json!(["Q4/tiny.gguf", "tiny.gguf"]));
    assert_eq!(std::fs::read(out.join("Q4/tiny.gguf")).expect("a file"), b"Q4/tiny.gguf");
    scene.hub.state().files = files;
}
