//! GGUF files: every type of blocks and every architecture as the package gguf and transformers read them (`tests/data/gguf/make.py`),
//! what is made beside such a file, and files that are refused.

mod common;

use common::{Recipes, data, refused, run, text};
use mode::generate::generate;
use mode::model::{open, open_tokenizer};
use mode::train::evaluate;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Files with a tokenizer: of gpt-2, llama-bpe, qwen2 and smollm.
const WITH_TOKENIZER: [&str; 4] = ["gpt2-q8_0", "llama-q4_0", "qwen2-q4_1", "llama-q4_k"];

fn file(name: &str) -> PathBuf {
    data("gguf").join(format!("{name}.gguf"))
}

fn golden(name: &str) -> Value {
    let text = std::fs::read_to_string(file(name).with_extension("json")).expect("a golden file");
    serde_json::from_str(&text).expect("JSON")
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

#[test]
fn files_as_transformers_computes_them() {
    let files = std::fs::read_dir(data("gguf")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "gguf")).collect();
    assert!(files.len() >= 14, "{files:?}");
    for path in files {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        let golden = golden(name);
        for device in common::devices() {
            let model = open(&path, &device).unwrap_or_else(|e| panic!("{e}"));
            for window in golden["windows"].as_array().expect("windows") {
                let found = evaluate(&model, &[ids(&window["ids"])], false).expect("an evaluation");
                let number = |key: &str| window[key].as_f64().expect("a number");
                let off = (found.mean_nll - number("mean_nll")).abs();
                assert!(off <= 1e-4, "{name}: loss {}, not {}", found.mean_nll, number("mean_nll"));
                let off = (found.next_token_accuracy - number("next_token_accuracy")).abs();
                assert!(off <= 1e-6, "{name}: accuracy {}", found.next_token_accuracy);
            }
            let want = ids(&golden["greedy"]);
            let made = generate(&model, &ids(&golden["prompt"]), want.len(), &[]).expect("a continuation");
            assert_eq!(made.ids, want, "{name}");
        }
    }
}

#[test]
fn tokenizers_as_hugging_face_has_them() {
    for name in WITH_TOKENIZER {
        let tokenizer = open_tokenizer(&file(name)).unwrap_or_else(|e| panic!("{e}"));
        for case in golden(name)["texts"].as_array().expect("texts") {
            let text = case["text"].as_str().expect("a text");
            let found = tokenizer.encode(text, true).expect("ids");
            assert_eq!(found, ids(&case["ids"]), "{name}: {text:?}");
            if name != "qwen2-q4_1" {
                // Which composes letters and accents first.
                let begins = usize::from(name == "llama-q4_0");
                assert_eq!(tokenizer.decode(&found[begins..], false).expect("a text"), text);
            }
        }
    }
}

fn json(stdout: &str) -> Value {
    serde_json::from_str(stdout.lines().last().expect("a line")).expect("JSON")
}

/// What the program prints, as JSON.
fn said(arguments: &[&str]) -> Value {
    let (stdout, stderr, code) = run(&[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    json(&stdout)
}

#[test]
fn commands_take_the_file_for_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let prompt = folder.path().join("ids.json");
    std::fs::write(&prompt, "[1, 2, 3, 4]").expect("a file");
    for name in ["llama-q4_k", "mistral-f16"] {
        let copy = folder.path().join(format!("{name}.gguf"));
        std::fs::copy(file(name), &copy).expect("a file");
        let model = text(&copy);
        assert!(said(&["eval", "--model", model, "--ids", text(&prompt)])["mean_nll"].is_number());
        assert_eq!(
            said(&["generate", "--model", model, "--ids", text(&prompt), "--max-new", "3"])["new_ids"]
                .as_array()
                .map(Vec::len),
            Some(3)
        );
        let (stdout, stderr, code) = run_plain(&["inspect", model, "--json"]);
        assert_eq!(code, 0, "{stderr}");
        assert_eq!((&json(&stdout)["kind"], &json(&stdout)["layers"]), (&"model".into(), &2.into()));
    }
    // One has a tokenizer; the other gets one from the folder, which is asked first.
    let (with, without) = (folder.path().join("llama-q4_k.gguf"), folder.path().join("mistral-f16.gguf"));
    assert!(said(&["generate", "--model", text(&with), "--prompt", "stone", "--max-new", "2"])["text"].is_string());
    refused(&["generate", "--model", text(&without), "--prompt", "stone"], "put the model's tokenizer.json beside");
    std::fs::write(folder.path().join("tokenizer.json"), "{}").expect("a file");
    refused(&["generate", "--model", text(&with), "--prompt", "stone"], "no tokenizer.json that can be used");
}

/// Runs a command that has no device.
fn run_plain(arguments: &[&str]) -> (String, String, i32) {
    let output = common::mode().args(arguments).output().expect("the program");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
}

#[test]
fn experts_adapters_and_full_models_are_made_of_a_file() {
    let recipes = Recipes::new();
    let base = recipes.path("models/base.gguf");
    std::fs::create_dir(recipes.path("models")).expect("a folder");
    std::fs::copy(file("llama-q4_0"), &base).expect("a file");
    let set = format!("base='{}'", text(&base));
    let make = |command: &str, name: &str, body: &str| {
        let (_, stderr, code) = run(&[command, text(&recipes.write(name, body)), "--set", &set]);
        assert_eq!(code, 0, "{name}: {stderr}");
    };
    let expert = "[expert]\nname = 'one'\ndomain = 'tales'\nblocks = 2\nlayers_per_block = 1\n[checkpoint]\nevery = 2";
    make("train", "one", &format!("method = 'expert'\n{expert}"));
    let one = recipes.path("one");
    make("compose", "both", &format!("method = 'compose'\n[compose]\nexperts = ['{}']", text(&one)));
    make("train", "lora", "method = 'lora'\n[lora]\nrank = 2\nalpha = 4.0");
    make("train", "full", "method = 'full'\n[checkpoint]\nevery = 2");

    let loss = |model: &Path, more: &[&str]| {
        let english = recipes.path("english.txt");
        said(&[&["eval", "--model", text(model), "--text", text(&english)], more].concat())["mean_nll"].clone()
    };
    let of_base = loss(&base, &[]);
    for (model, more) in [
        (&base, vec!["--expert", text(&one)]),
        (&recipes.path("both"), vec![]),
        (&recipes.path("lora"), vec![]),
        (&recipes.path("full"), vec![]),
    ] {
        let found = loss(model, &more);
        assert!(found.is_number() && found != of_base, "{}", model.display());
    }
    // A full model is a folder of its own, with the tokenizer; a checkpoint exports to the same.
    let full = recipes.path("full");
    assert!(full.join("tokenizer.json").exists() && full.join("config.json").exists());
    let checkpoints = std::fs::read_dir(full.join("checkpoints")).expect("a folder");
    let last = checkpoints.map(|file| file.expect("a file").path()).max().expect("a checkpoint");
    let exported = recipes.path("exported");
    let (_, stderr, code) = run_plain(&["export", text(&last), "--out", text(&exported)]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(loss(&exported, &[]), loss(&full, &[]));

    // Whoever names a base names its bytes.
    let mut bytes = std::fs::read(&base).expect("a file");
    *bytes.last_mut().expect("a byte") ^= 1;
    std::fs::write(&base, bytes).expect("a file");
    let ids = recipes.path("ids.json");
    std::fs::write(&ids, "[1,2,3]").expect("a file");
    refused(&["eval", "--model", text(&recipes.path("both")), "--ids", text(&ids)], "made for the base model");
    std::fs::remove_file(&base).expect("a file");
    refused(&["eval", "--model", text(&recipes.path("both")), "--ids", text(&ids)], "its base model is not there");
}

/// Where `what` first stands.
fn find(bytes: &[u8], what: &str) -> usize {
    bytes.windows(what.len()).position(|window| window == what.as_bytes()).expect("is there")
}

/// With the 32-bit number that stands `after` bytes behind a name changed.
fn put(bytes: &mut [u8], name: &str, after: usize, value: u32) {
    let at = find(bytes, name) + name.len() + after;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// With some text in place of another that is as long.
fn swap(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let at = find(bytes, from);
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
}

#[test]
fn broken_files_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let prompt = folder.path().join("ids.json");
    std::fs::write(&prompt, "[1,2,3]").expect("a file");
    type Change = Box<dyn Fn(&mut Vec<u8>)>;
    let size = |key: &'static str, value: u32| -> Change { Box::new(move |b| put(b, key, 4, value)) };
    let cut = |from: usize, part: usize| -> Change { Box::new(move |b| b.truncate(b.len() * from / part)) };
    // Behind a tensor's name: 4 bytes for how many dims, 8 for each, 4 for the type, 8 for the offset.
    let matrix =
        |name: &'static str, after: usize, value: u32| -> Change { Box::new(move |b| put(b, name, after, value)) };
    let cases: Vec<(Change, &str)> = vec![
        (cut(0, 1), "ends too soon"),
        (cut(1, 100), "ends too soon"),
        (cut(9, 10), "ends too soon"),
        (Box::new(|b| b[0] = b'X'), "not a GGUF file that can be read"),
        (Box::new(|b| b[4] = 9), "Unsupported GGUF version: 9"),
        (Box::new(|b| b[8..16].fill(255)), "tensor count"),
        (Box::new(|b| b[16..24].fill(255)), "metadata count"),
        (matrix("blk.0.ffn_up.weight", 20, 99), "Unknown GGUF tensor type: 99"),
        (
            matrix("blk.0.ffn_up.weight", 20, 20),
            "tensor 'blk.0.ffn_up.weight' is stored as IQ4_NL; F32, F16, BF16, Q8_0",
        ),
        (matrix("blk.0.ffn_up.weight", 24, 1 << 30), "ends too soon"),
        (matrix("token_embd.weight", 12, 300), " tokens in its tokenizer and 300 rows in token_embd.weight"),
        (matrix("blk.1.attn_q.weight", 12, 32), "1 tensor is of another shape (model.layers.1.self_attn.q_proj.weight"),
        (Box::new(|b| swap(b, "blk.1.attn_q.weight", "blk.1.attn_x.weight")), "blk.1.attn_x.weight"),
        (Box::new(|b| swap(b, "token_embd.weight", "token_emxx.weight")), "it has no token_embd.weight"),
        (Box::new(|b| swap(b, "architecture", "architexxxxx")), "general.architecture is missing"),
        (Box::new(|b| put(b, "general.architecture", 12, u32::from_le_bytes(*b"falc"))), "architecture falca is not"),
        (Box::new(|b| swap(b, "llama.block_count", "llama.block_xxxxx")), "llama.block_count is missing"),
        (Box::new(|b| swap(b, "llama.context_length", "llama.context_lenxxx")), "llama.context_length is missing"),
        (size("llama.block_count", 1), "tensors are without a place (model.layers.1."),
        (size("llama.block_count", 3), "tensors are missing (model.layers.2."),
        (size("llama.block_count", 100_000), "100000 layers"),
        (size("llama.feed_forward_length", 64), "of another shape"),
        (size("llama.embedding_length", 48), "llama.rope.dimension_count is 16 and heads are 12 wide"),
        (size("llama.attention.head_count", 0), "heads are 64 wide"),
        (size("llama.attention.head_count_kv", 3), "do not divide"),
        (size("llama.rope.dimension_count", 8), "llama.rope.dimension_count is 8 and heads are 16 wide"),
        (
            Box::new(|b| swap(b, "llama.block_count", "llama.logit_scale")),
            "llama.logit_scale is 2, and it is not supported",
        ),
    ];
    let good = std::fs::read(file("llama-q4_0")).expect("a file");
    let path = folder.path().join("bad.gguf");
    for (change, says) in cases {
        let mut bytes = good.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).expect("a file");
        refused(&["eval", "--model", text(&path), "--ids", text(&prompt)], says);
    }
    refused(&["eval", "--model", text(&folder.path().join("none.gguf")), "--ids", text(&prompt)], "none.gguf");
    let (_, stderr, code) = run_plain(&["inspect", text(&folder.path().join("none.gguf"))]);
    assert!(code == 2 && stderr.contains("no such file"), "{stderr}");
}

#[test]
fn tokenizers_that_are_not_read_are_refused_and_ids_need_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    let prompt = folder.path().join("ids.json");
    std::fs::write(&prompt, "[1,2,3]").expect("a file");
    let good = std::fs::read(file("llama-q4_k")).expect("a file");
    for (from, to, says) in [
        ("smollm", "falcon", "it cuts texts as 'falcon' does"),
        ("\0gpt2", "\0bert", "its tokenizer is of the kind 'bert'"),
        ("tokenizer.ggml.merges", "tokenizer.ggml.xerges", "it has no tokenizer.ggml.merges"),
    ] {
        let mut bytes = good.clone();
        swap(&mut bytes, from, to);
        std::fs::write(&path, bytes).expect("a file");
        refused(&["generate", "--model", text(&path), "--prompt", "stone"], says);
        let made = said(&["generate", "--model", text(&path), "--ids", text(&prompt), "--max-new", "2"]);
        assert!(made["text"].is_null());
    }
}
