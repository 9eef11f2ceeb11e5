//! The program from outside: recipes end to end, and bad input, which ends with exit code 2, one line and nothing written.

use assert_cmd::Command;
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).join(name)
}

fn mode() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mode"))
}

/// Runs with `arguments` on the CPU; stdout, stderr and exit code.
fn run(arguments: &[&str]) -> (String, String, i32) {
    let output = mode().args(arguments).args(["--device", "cpu"]).output().expect("the program");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
}

/// Bad input: exit code 2 and one line of error, behind the line that names the device.
fn refused(arguments: &[&str], says: &str) {
    let (stdout, stderr, code) = run(arguments);
    assert_eq!(code, 2, "{arguments:?}: {stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("device: ")).collect();
    assert!(errors.len() == 1 && errors[0].starts_with("error: "), "{arguments:?}: {stderr}");
    assert!(errors[0].contains(says), "{says:?} is not in {stderr}");
    assert!(stdout.is_empty() && !stderr.contains("panicked"));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

#[test]
fn wrong_ids_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = data("tiny-random-llama");
    for (contents, says) in [
        ("[1,2,99999]", "out of range"),
        ("[1,-2,3]", "-2 is no token id"),
        ("[1,2.5]", "2.5 is no token id"),
        ("[]", "is empty"),
        ("[1]", "two or more"),
        ("hello", "expected value"),
        ("[[1,2],3]", "mixes"),
        ("[[1,2],[]]", "two or more"),
        ("{}", "is no list"),
    ] {
        let file = folder.path().join("ids.json");
        std::fs::write(&file, contents).expect("a file");
        refused(&["eval", "--model", text(&model), "--ids", text(&file)], says);
    }
    refused(&["eval", "--model", text(&model), "--ids", "no-such.json"], "no-such.json");
}

/// A copy of the small model with one of its files changed.
fn changed(folder: &Path, file: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> PathBuf {
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

#[test]
fn broken_models_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let ids = folder.path().join("ids.json");
    std::fs::write(&ids, "[1,2,3]").expect("a file");
    let weights = "model.safetensors";
    let replace = |from: &'static str, to: &'static str| {
        move |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(from, to).into_bytes()
    };
    let at = folder.path();
    for (model, says) in [
        (changed(at, weights, |b| b[..b.len() / 2].to_vec()), "not a whole safetensors file"),
        (changed(at, weights, |_| vec![7; 5_000]), "not a whole safetensors file"),
        (changed(at, weights, |_| Vec::new()), "empty"),
        (changed(at, weights, |b| [vec![255; 8], b[8..].to_vec()].concat()), "not a whole safetensors file"),
        (changed(at, "config.json", |_| b"{".to_vec()), "config.json"),
        (changed(at, "config.json", replace("LlamaForCausalLM", "NoSuchForCausalLM")), "NoSuchForCausalLM"),
        (changed(at, "config.json", replace("\"hidden_size\": 48", "\"hidden_size\": 96")), "shape"),
        (at.join("none"), "no such folder"),
        (ids.clone(), "is a file"),
    ] {
        refused(&["eval", "--model", text(&model), "--ids", text(&ids)], says);
    }
    let model = data("tiny-random-llama");
    let expert = data("tiny-random-mode/code");
    refused(&["eval", "--model", text(&model), "--ids", text(&ids), "--expert", text(at)], "no such expert");
    let other = changed(at, weights, |mut bytes| {
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        bytes
    });
    refused(
        &["eval", "--model", text(&other), "--ids", text(&ids), "--expert", text(&expert)],
        "made for the base model",
    );
}

/// A folder with a base model that has a tokenizer, a text, and recipes.
struct Recipes {
    folder: tempfile::TempDir,
}

impl Recipes {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let words = ["river", "stone", "lantern", "copper", "seven", "meadow", "under", "bright", "never", "sings"];
        let sentence = |i: usize| (0..9).map(|j| words[(i * 7 + j * j + i / 3) % 10]).collect::<Vec<_>>().join(" ");
        let english: String = (0..4_000).map(|i| sentence(i) + if i % 5 == 0 { ".\n\n" } else { ". " }).collect();
        std::fs::write(folder.path().join("english.txt"), &english).expect("a file");
        let tokenizer = mode::data::Tokenizer::train([english.as_str()].into_iter(), 300).expect("a tokenizer");
        tokenizer.save(&folder.path().join("tokenizer.json")).expect("a file");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a recipe that trains for a few steps on the text.
    fn write(&self, name: &str, body: &str) -> PathBuf {
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

    fn pretrain(&self) {
        let model = format!(
            "method = 'pretrain'\n[model]\ntokenizer = '{}'\nwidth = 16\nhidden = 24\nlayers = 4\nheads = 2\n\
             kv_heads = 1\npositions = 32",
            text(&self.path("tokenizer.json"))
        );
        self.run("train", "base", &model);
    }

    fn run(&self, command: &str, name: &str, body: &str) {
        let (_, stderr, code) = run(&[command, text(&self.write(name, body))]);
        assert_eq!(code, 0, "{name}: {stderr}");
    }

    fn eval(&self, name: &str) -> serde_json::Value {
        let (stdout, stderr, code) =
            run(&["eval", "--model", text(&self.path(name)), "--text", text(&self.path("english.txt")), "--json"]);
        assert_eq!(code, 0, "{name}: {stderr}");
        serde_json::from_str(stdout.lines().last().expect("a line")).expect("JSON")
    }
}

#[test]
fn every_method_trains_and_its_folder_opens() {
    let recipes = Recipes::new();
    recipes.pretrain();
    recipes.run("train", "full", "method = 'full'");
    recipes.run("train", "lora", "method = 'lora'\n[lora]\nrank = 2\nalpha = 4.0");
    for name in ["one", "two"] {
        let expert = format!("[expert]\nname = '{name}'\ndomain = '{name}'\nblocks = 2\nlayers_per_block = 1");
        recipes.run("train", name, &format!("method = 'expert'\n{expert}"));
    }
    let experts = format!("experts = ['{}', '{}']", text(&recipes.path("one")), text(&recipes.path("two")));
    recipes.run("compose", "both", &format!("method = 'compose'\n[compose]\n{experts}"));
    recipes.run("compose", "gates", &format!("method = 'compose'\n[compose]\n{experts}\ntrain = 'gates'"));
    let base = recipes.eval("base")["mean_nll"].as_f64().expect("a number");
    for name in ["full", "lora", "both", "gates"] {
        let loss = recipes.eval(name)["mean_nll"].as_f64().expect("a number");
        assert!(loss.is_finite() && loss != base, "{name}: {loss} and {base}");
    }
    let means = recipes.eval("both")["gate_means"].clone();
    let sums: Vec<f64> = means
        .as_array()
        .expect("blocks")
        .iter()
        .map(|block| block.as_array().expect("branches").iter().filter_map(serde_json::Value::as_f64).sum())
        .collect();
    assert!(sums.len() == 2 && sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
    // With --force a folder becomes a model of another kind, and opens as that.
    let full = text(&recipes.path("full.toml")).to_string();
    let (_, stderr, code) = run(&["train", &full, "--out", text(&recipes.path("gates")), "--force"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(recipes.eval("gates"), recipes.eval("full"));
    // What a recipe reads is never written to, and neither is a folder that exists.
    refused(&["train", &full, "--out", text(&recipes.path("base")), "--force"], "is read by this recipe");
    refused(&["train", text(&recipes.path("full.toml"))], "--force");
    let prompt = ["--prompt", "river stone", "--max-new", "3", "--json"];
    let (stdout, stderr, code) = run(&[&["generate", "--model", text(&recipes.path("both"))][..], &prompt].concat());
    assert_eq!(code, 0, "{stderr}");
    let made: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(made["new_ids"].as_array().map(Vec::len), Some(3));
    assert_eq!(made["top"].as_array().map(Vec::len), Some(5));
}

#[test]
fn wrong_recipes_are_refused_and_write_nothing() {
    let recipes = Recipes::new();
    recipes.pretrain();
    let file = recipes.write("x", "method = 'full'\nsedd = 1");
    refused(&["train", text(&file)], "did you mean 'seed'");
    let file = recipes.write("x", "method = 'lora'");
    refused(&["train", text(&file)], "needs a [lora] table");
    let expert = "method = 'expert'\n[expert]\nname = 'a'\ndomain = 'a'\nblocks = 3\nlayers_per_block = 1";
    refused(&["train", text(&recipes.write("x", expert))], "do not divide");
    let file = recipes.write("x", "method = 'full'");
    refused(&["train", text(&file), "--set", "train.length=64"], "positions");
    refused(&["train", text(&file), "--set", "train.stepz=64"], "did you mean 'steps'");
    refused(&["compose", text(&file)], "mode train");
    refused(&["train", text(&file), "--set", "out="], "out is empty");
    refused(&["train", text(&file), "--set", "train.batch=1000000000000"], "tokens");
    refused(&["train", text(&file), "--set", "train.beta1=nan"], "beta1");
    refused(&["generate", "--model", "x", "--max-new", "-1", "--prompt", "a"], "--help");
    refused(&["train", text(&recipes.path("none.toml"))], "none.toml");
    assert!(!recipes.path("x").exists());
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let recipes = Recipes::new();
    recipes.pretrain();
    let file = recipes.write("x", "method = 'full'");
    let sets = ["--set", "train.learning_rate=1e30", "--set", "train.clip=0", "--set", "train.steps=50"];
    let (_, stderr, code) = run(&[&["train", text(&file)][..], &sets].concat());
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("at step"), "{stderr}");
}

#[test]
fn unknown_devices_are_refused() {
    let model = data("tiny-random-llama");
    for device in ["cpuu", "gpu:99"] {
        let arguments = ["generate", "--model", text(&model), "--ids", "x.json", "--device", device];
        let output = mode().args(arguments).output().expect("the program");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).lines().count() <= 2);
    }
}
