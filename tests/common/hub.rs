//! A hub of its own on 127.0.0.1, for `tests/hub.rs`: what hf-hub asks for, and the troubles that a network makes.

use mode_tensor::{Device, SafeTensors, Tensor, write_safetensors};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub const REPOSITORY: &str = "tests/tiny";

/// What goes wrong with the requests whose path ends with `at`, the next `times` of them.
pub struct Trouble {
    pub at: &'static str,
    pub times: usize,
    pub what: What,
}

#[derive(Clone, Copy)]
pub enum What {
    /// The connection breaks after so many bytes of a file; requests for one byte are answered.
    Cut(usize),
    Status(u16, &'static str),
    /// Answers without a word, or with the words of a server that is none.
    Silent,
    Says(&'static str),
    /// The whole file comes, whatever range was asked for.
    Whole,
    /// The file comes with other bytes.
    Altered,
    Etag(&'static str),
}

pub struct State {
    pub commit: String,
    pub files: BTreeMap<String, Vec<u8>>,
    pub troubles: Vec<Trouble>,
    /// Requests: path, range and authorization.
    pub log: Vec<(String, String, String)>,
}

pub struct Hub {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    pub fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let state = State { commit: "c0ffee".repeat(6) + "0000", files, troubles: Vec::new(), log: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                // A reader that goes away is no failure of the server's.
                std::thread::spawn(move || _ = answer(stream, &state));
            }
        });
        Self { endpoint, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    pub fn trouble(&self, at: &'static str, times: usize, what: What) {
        self.state().troubles = vec![Trouble { at, times, what }];
    }

    /// The requests since the last call for contents of a file, each with its range.
    pub fn ranges(&self, file: &str) -> Vec<String> {
        let log = std::mem::take(&mut self.state().log);
        let of_file = log.into_iter().filter(|(path, range, _)| path.ends_with(file) && range != "bytes=0-0");
        of_file.map(|(_, range, _)| range).collect()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_string();
    let path = path.split('?').next().unwrap_or_default().to_string();
    let (mut range, mut authorization) = (String::new(), String::new());
    for line in lines {
        let line = line?;
        match line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value)) {
            Some((name, value)) if name == "range" => range = value.into(),
            Some((name, value)) if name == "authorization" => authorization = value.into(),
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let mut state = state.lock().expect("no panic");
    state.log.push((path.clone(), range.clone(), authorization));
    let probe = range == "bytes=0-0";
    let trouble = state.troubles.iter_mut().find(|trouble| {
        let only_contents = matches!(trouble.what, What::Cut(_) | What::Whole | What::Altered);
        path.ends_with(trouble.at) && trouble.times > 0 && !(only_contents && probe)
    });
    let what = trouble.map(|trouble| {
        trouble.times -= 1;
        trouble.what
    });
    let (commit, file) = (state.commit.clone(), path.strip_prefix("/tests/tiny/resolve/").map(str::to_string));
    let status = |status: u16, code: &str| {
        format!("HTTP/1.1 {status} Status\r\nX-Error-Code: {code}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    };
    match what {
        Some(What::Status(code, error)) => return stream.write_all(status(code, error).as_bytes()),
        Some(What::Says(text)) => return stream.write_all(text.as_bytes()),
        Some(What::Silent) => {
            drop(state);
            std::thread::sleep(Duration::from_secs(5));
            return Ok(());
        }
        _ => {}
    }
    let Some(file) = file else {
        let text = match path.strip_prefix("/api/models/tests/tiny/revision/") {
            Some(revision) if revision == "main" || revision == commit => {
                let files = state.files.iter();
                let files: Vec<_> =
                    files.map(|(name, bytes)| serde_json::json!({"rfilename": name, "size": bytes.len()})).collect();
                let body = serde_json::json!({"sha": commit, "siblings": files}).to_string();
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
            }
            Some(_) => status(404, "RevisionNotFound"),
            None => status(401, "RepoNotFound"),
        };
        return stream.write_all(text.as_bytes());
    };
    let name = file.strip_prefix(&format!("{commit}/")).unwrap_or_default();
    let Some(mut bytes) = state.files.get(name).cloned() else {
        return stream.write_all(status(404, "EntryNotFound").as_bytes());
    };
    drop(state);
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let etag = if let Some(What::Etag(etag)) = what { etag } else { &digest };
    if matches!(what, Some(What::Altered)) {
        bytes.reverse();
    }
    let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap_or_default();
    let first = if matches!(what, Some(What::Whole)) { 0 } else { first.parse().unwrap_or(0) };
    let end = last.parse().map_or(bytes.len(), |last: usize| last + 1);
    if first >= bytes.len() {
        return stream.write_all(status(416, "").as_bytes());
    }
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nETag: \"{etag}\"\r\nX-Repo-Commit: {commit}\r\nContent-Length: {}\r\n\
         Content-Range: bytes {first}-{}/{}\r\nConnection: close\r\n\r\n",
        end - first,
        end - 1,
        bytes.len()
    );
    stream.write_all(head.as_bytes())?;
    let end = if let Some(What::Cut(after)) = what { end.min(first + after) } else { end };
    stream.write_all(&bytes[first..end])
}

/// The small model and a tokenizer, as a repository holds them. The model knows 256 tokens, so the tokenizer, which is left
/// so, loses all merges and the last byte.
pub fn model(tokenizer: &Path) -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(tokenizer).expect("a file");
    let mut small: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    small["model"]["merges"] = serde_json::json!([]);
    small["model"]["vocab"].as_object_mut().expect("tokens").retain(|_, id| id.as_u64() < Some(256));
    std::fs::write(tokenizer, small.to_string()).expect("a file");
    let folder = super::common::data("tiny-random-llama");
    let files = [folder.join("config.json"), folder.join("model.safetensors"), tokenizer.to_path_buf()];
    let read = |path: &std::path::PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read(path).expect("a file"))
    };
    files.iter().map(read).chain([("README.md".to_string(), b"A model.".to_vec())]).collect()
}

/// The same with its weights cut into two shards.
pub fn shards(mut files: BTreeMap<String, Vec<u8>>, scratch: &Path) -> BTreeMap<String, Vec<u8>> {
    files.remove("model.safetensors");
    let whole = super::common::data("tiny-random-llama").join("model.safetensors");
    let tensors = SafeTensors::open(&[whole]).expect("a file");
    let (device, mut map) = (Device::cpu(), BTreeMap::new());
    for half in 0..2 {
        let name = format!("model-0000{}-of-00002.safetensors", half + 1);
        let names = tensors.names().enumerate().filter(|(i, _)| i % 2 == half);
        let shard: Vec<(String, Tensor)> = names
            .map(|(_, tensor)| {
                map.insert(tensor.to_string(), name.clone());
                let shape = tensors.shape(tensor).expect("a tensor");
                let values = tensors.read(tensor, &shape).expect("a tensor");
                (tensor.to_string(), Tensor::from_slice(&device, &values, &shape).expect("fits"))
            })
            .collect();
        let path = scratch.join(&name);
        write_safetensors(&path, &shard.into_iter().collect(), |_| false, &[]).expect("written");
        files.insert(name, std::fs::read(&path).expect("a file"));
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
    files.insert("model.safetensors.index.json".into(), index.into_bytes());
    files
}
