//! The program run from outside, for the tests of it.
#![allow(dead_code)] // Not every test file uses all of it.

use assert_cmd::Command;
use mode::model::{Expert, ExpertInfo, ExpertInit, Gate, Model, Random, Trained, open};
use mode_kernels::fill_hash::hash;
use mode_kernels::{Device, Dtype, KernelError};
use mode_tensor::{SafeTensors, Tensor, write_safetensors};
use std::path::{Path, PathBuf};

pub fn data(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).join(name)
}

/// The models that transformers made, one of each family and more.
pub fn families() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data("families")).expect("a folder");
    let mut folders: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// A GPU, if there is one; where one is required (`MODE_REQUIRE_GPU`), that there is none is a failure, as is any other error.
pub fn gpu() -> Option<Device> {
    match Device::choose(Some("gpu")) {
        Ok(gpu) => Some(gpu),
        Err(KernelError::NoAdapter { .. }) if std::env::var_os("MODE_REQUIRE_GPU").is_none() => None,
        Err(error) => panic!("{error}"),
    }
}

/// The CPU, the f64 reference, and a GPU if there is one.
pub fn devices() -> Vec<Device> {
    [Device::cpu(), Device::reference()].into_iter().chain(gpu()).collect()
}

/// Writes the tensors of a safetensors file as halves.
pub fn as_halves(from: &Path, to: &Path, dtype: Dtype) {
    let (device, tensors) = (Device::cpu(), SafeTensors::open(&[from.to_path_buf()]).expect("a file"));
    let half = |name: &str| {
        let shape = tensors.shape(name).expect("a tensor");
        let halves = dtype.encode(&tensors.read(name, &shape).expect("a tensor"));
        Tensor::from_halves(&device, dtype, &halves, &shape).expect("fits")
    };
    let halves = tensors.names().map(|name| (name.to_string(), half(name))).collect();
    write_safetensors(to, &halves, |_| false, &[]).expect("written");
}

/// A model of which all is trained.
pub fn full(folder: &Path, device: &Device) -> Model {
    let model = open(folder, device).expect("a model");
    model.set_trained(Trained::Backbone);
    model
}

/// Stage 1: one expert of a layer beside each of two blocks.
pub fn stage_1(folder: &Path, device: &Device) -> Model {
    let backbone = open(folder, device).expect("a model").backbone;
    let info = ExpertInfo::new("one", "one", &"0".repeat(64), 2, 1).expect("a name");
    let expert = Expert::new(&backbone, info, ExpertInit::Copy, &mut Random::new(5)).expect("an expert");
    let gates = (0..2).map(|i| Gate::with_share(device, i, backbone.config.width, 0.4).expect("a gate")).collect();
    let model = Model::with_experts(backbone, vec![expert], gates).expect("a model");
    model.set_trained(Trained::Experts);
    model
}

/// The program, through cargo's runner where one is set; it keeps nothing for its next run.
pub fn mode() -> Command {
    let mut program = Command::cargo_bin("mode").expect("the program");
    program.env("MODE_CACHE", "off");
    program
}

/// Runs with `arguments` on the CPU; stdout, stderr and exit code.
pub fn run(arguments: &[&str]) -> (String, String, i32) {
    let output = mode().args(arguments).args(["--device", "cpu"]).output().expect("the program");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
}

/// Bad input: exit code 2 and one line of error, behind the line that names the device.
pub fn refused(arguments: &[&str], says: &str) {
    let (stdout, stderr, code) = run(arguments);
    assert_eq!(code, 2, "{arguments:?}: {stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("device: ")).collect();
    assert!(errors.len() == 1 && errors[0].starts_with("error: "), "{arguments:?}: {stderr}");
    assert!(errors[0].contains(says), "{says:?} is not in {stderr}");
    assert!(stdout.is_empty() && !stderr.contains("panicked"));
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// A copy of the small model with one of its files changed.
pub fn changed(folder: &Path, file: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> PathBuf {
    let copy = folder.join(format!("changed-{file}-{}", std::fs::read_dir(folder).expect("a folder").count()));
    std::fs::create_dir(&copy).expect("a folder");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(data("tiny-random-llama").join(name), copy.join(name)).expect("a file");
    }
    let path = copy.join(file);
    let bytes = std::fs::read(&path).expect("a file");
    std::fs::write(&path, change(bytes)).expect("a file");
    copy
}

/// A folder with a base model that has a tokenizer, a text, and recipes.
pub struct Recipes {
    pub folder: tempfile::TempDir,
}

impl Recipes {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let words = ["river", "stone", "lantern", "copper", "seven", "meadow", "under", "bright", "never", "sings"];
        let sentence = |i: usize| (0..9).map(|j| words[(i * 7 + j * j + i / 3) % 10]).collect::<Vec<_>>().join(" ");
        let english: String = (0..4_000).map(|i| sentence(i) + if i % 5 == 0 { ".\n\n" } else { ". " }).collect();
        std::fs::write(folder.path().join("english.txt"), &english).expect("a file");
        let tokenizer = mode::data::Tokenizer::train([english.as_str()].into_iter(), 300).expect("a tokenizer");
        tokenizer.save(&folder.path().join("tokenizer.json")).expect("a file");
        Self { folder }
    }

    /// Makes the text so varied that most of it stays once near-duplicates are dropped, and each split has some.
    pub fn vary(&self) {
        let word = |i: u32| format!("w{}", hash(1, i) >> 23);
        let english = |i: u32| word(i) + if i.is_multiple_of(40) { ".\n\n" } else { " " };
        std::fs::write(self.path("english.txt"), (0..60_000).map(english).collect::<String>()).expect("a file");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a recipe that trains for a few steps on the text.
    pub fn write(&self, name: &str, body: &str) -> PathBuf {
        let data = format!("[[data]]\nname = 'english'\nsource = '{}'\n", text(&self.path("english.txt")));
        let (head, tables) = body.split_once('\n').unwrap_or((body, ""));
        let base = format!("base = '{}'\n", text(&self.path("base")));
        let base = if head.contains("pretrain") { String::new() } else { base };
        let recipe = format!(
            "{head}\nout = '{}'\n{base}{tables}\n[train]\nsteps = 4\nbatch = 2\nlength = 16\nlearning_rate = 3e-3\n{data}",
            text(&self.path(name))
        );
        let file = self.path(&format!("{name}.toml"));
        std::fs::write(&file, recipe).expect("a file");
        file
    }

    pub fn pretrain(&self) {
        self.pretrain_with(1);
    }

    /// A base model of two heads, with so many for keys and values.
    pub fn pretrain_with(&self, kv_heads: usize) {
        let model = format!(
            "method = 'pretrain'\n[model]\ntokenizer = '{}'\nwidth = 16\nhidden = 24\nlayers = 4\nheads = 2\n\
             kv_heads = {kv_heads}\npositions = 32",
            text(&self.path("tokenizer.json"))
        );
        self.run("train", "base", &model);
    }

    pub fn run(&self, command: &str, name: &str, body: &str) {
        let (_, stderr, code) = run(&[command, text(&self.write(name, body))]);
        assert_eq!(code, 0, "{name}: {stderr}");
    }

    pub fn eval(&self, name: &str) -> serde_json::Value {
        let (stdout, stderr, code) =
            run(&["eval", "--model", text(&self.path(name)), "--text", text(&self.path("english.txt")), "--json"]);
        assert_eq!(code, 0, "{name}: {stderr}");
        serde_json::from_str(stdout.lines().last().expect("a line")).expect("JSON")
    }
}
