//! Bad input ends with exit code 2, one line that says what and what to do, and nothing written.

mod common;

use ::mode::model::{Backbone, Config, Random};
use common::{Recipes, changed, data, mode, refused, run, text};
use mode_tensor::{Device, SafeTensors, Tensor, write_safetensors};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

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
        (
            changed(at, "config.json", |_| b"{".to_vec()),
            "config.json: EOF while parsing an object at line 1 column 1: it is cut off",
        ),
        (changed(at, "config.json", |_| "{\"a\":".repeat(200).into_bytes()), "config.json: recursion limit exceeded"),
        (changed(at, "config.json", |_| vec![255, 254, 0]), "config.json: is no UTF-8 text"),
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
    refused(&["eval", "--model", "nowhere", "--base", text(&model), "--ids", text(&ids)], "nowhere: no such folder");
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

#[test]
fn settings_that_would_be_ignored_are_refused() {
    let recipes = common::Recipes::new();
    recipes.pretrain();
    let full = text(&recipes.write("full", "method = 'full'")).to_string();
    for (set, says) in [
        ("lora={rank=8, alpha=3.0}", "has no use for [lora]"),
        ("compose={experts=['nowhere']}", "has no use for [compose]"),
        ("seed=18446744073709551615", "whole numbers go up to 9223372036854775807"),
        ("out=2024", "write it in quotes"),
        ("train.accumulate=3", "divides train.batch"),
        ("data=[{name='a', source='x', weight=1e300}]", "a positive number up to"),
    ] {
        refused(&["train", &full, "--set", set], says);
    }
    let small = recipes.path("small.txt");
    std::fs::write(&small, "One short text, which is one document.").expect("a file");
    let source = format!("data=[{{name='small', source='{}'}}]", text(&small));
    let (_, stderr, code) = run(&["train", &full, "--set", &source, "--set", "checkpoint.validation=1"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("of its 1 documents none is for"), "{stderr}");
    assert!(!recipes.path("full").exists());
}

#[test]
fn a_mark_before_a_text_is_no_text() {
    let recipes = common::Recipes::new();
    recipes.pretrain();
    let losses = ["", "\u{feff}"].map(|mark| {
        let file = recipes.path("marked.txt");
        let line_end = if mark.is_empty() { "\n" } else { "\r\n" };
        std::fs::write(&file, format!("{mark}river stone{line_end}lantern")).expect("a file");
        let (stdout, stderr, code) = run(&["eval", "--model", text(&recipes.path("base")), "--text", text(&file)]);
        assert_eq!(code, 0, "{stderr}");
        stdout
    });
    assert_eq!(losses[0], losses[1]);
}

#[test]
fn several_end_tokens_all_end_a_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let ids = folder.path().join("ids.json");
    std::fs::write(&ids, "[1, 2, 3]").expect("a file");
    let with = |eos: &str| {
        changed(folder.path(), "config.json", |bytes| {
            let mut config: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
            config["eos_token_id"] = serde_json::from_str(eos).expect("JSON");
            config.to_string().into_bytes()
        })
    };
    let generate = |model: &Path, more: &[&str]| {
        let model = text(model).to_string();
        let (stdout, stderr, code) =
            run(&[&["generate", "--model", &model, "--ids", text(&ids), "--max-new", "3", "--json"], more].concat());
        assert_eq!(code, 0, "{stderr}");
        let made: serde_json::Value = serde_json::from_str(stdout.trim()).expect("JSON");
        made["new_ids"].as_array().expect("ids").clone()
    };
    let first = generate(&with("null"), &[])[0].clone();
    assert_eq!(generate(&with(&format!("[0, {first}]")), &["--stop-at-eos"]), [first]);
    let none = with("null");
    refused(
        &["generate", "--model", text(&none), "--ids", text(&ids), "--stop-at-eos"],
        "has no eos_token_id for --stop-at-eos",
    );
    for wrong in ["\"432\"", "-1", "[1, null]"] {
        refused(&["eval", "--model", text(&with(wrong)), "--ids", text(&ids)], "eos_token_id has");
    }
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
    let inside = format!("data=[{{name='a', source='{}'}}]", text(recipes.folder.path()));
    refused(&["train", text(&file), "--set", &inside], "which this recipe reads; choose another out");
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
fn unknown_devices_are_refused() {
    let model = data("tiny-random-llama");
    for device in ["cpuu", "gpu:99"] {
        let arguments = ["generate", "--model", text(&model), "--ids", "x.json", "--device", device];
        let output = mode().args(arguments).output().expect("the program");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).lines().count() <= 2);
    }
}

/// A JSON file with some of its keys changed.
fn set(file: &Path, changes: Value) {
    let text = std::fs::read_to_string(file).expect("a file");
    let mut object: serde_json::Map<String, Value> = serde_json::from_str(&text).expect("JSON");
    object.extend(changes.as_object().expect("an object").clone());
    std::fs::write(file, serde_json::to_string(&object).expect("JSON")).expect("a file");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy_folder(&entry, &target)
        } else {
            std::fs::copy(&entry, &target).map(drop).expect("a file")
        }
    }
}

/// The test models side by side in a folder that may be changed.
struct Copies {
    folder: tempfile::TempDir,
    ids: PathBuf,
}

impl Copies {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["tiny-random-llama", "tiny-random-mode"] {
            copy_folder(&data(name), &folder.path().join(name));
        }
        let ids = folder.path().join("ids.json");
        std::fs::write(&ids, "[1,2,3]").expect("a file");
        Self { folder, ids }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn refused(&self, model: &str, says: &str) {
        refused(&["eval", "--model", text(&self.path(model)), "--ids", text(&self.ids)], says);
    }
}

#[test]
fn composed_models_that_contradict_themselves_are_refused() {
    let expert = "tiny-random-mode/composed/experts/code/expert.json";
    let info = "tiny-random-mode/composed/mode.json";
    for (file, changes, says) in [
        (info, json!({"experts": ["code", "code"]}), "listed twice"),
        (info, json!({"experts": []}), "no experts"),
        (info, json!({"experts": ["../code"]}), "can't be a folder's"),
        (info, json!({"blocks": "two"}), "blocks"),
        (info, json!({"format": 0}), "make it again"),
        (info, json!({"format": 2}), "goes with gating"),
        (info, json!({"format": 3}), "newer version"),
        (info, json!({"gating": {"top": 1}}), "goes with gating"),
        (info, json!({"format": 2, "gating": {"top": 9}}), "gating.top is 9 of 3 branches"),
        (info, json!({"format": 2, "gating": {"reads": "attention"}}), "blocks.0.gate.query"),
        (info, json!({"base": "gone"}), "its base model is not there"),
        (expert, json!({"name": "math"}), "is of 'math'"),
        (expert, json!({"layers_per_block": 7}), "tensors are missing ("),
        (expert, json!({"base_sha256": "00"}), "made for the base model"),
    ] {
        let copies = Copies::new();
        set(&copies.path(file), changes);
        copies.refused("tiny-random-mode/composed", says);
    }
    Copies::new().refused("tiny-random-mode/code", "give it as --expert");
}

#[test]
fn a_tensor_that_would_not_be_read_is_an_error() {
    let copies = Copies::new();
    set(&copies.path("tiny-random-llama/config.json"), json!({"num_hidden_layers": 5}));
    copies.refused("tiny-random-llama", "tensors are without a place (model.layers.5.input_layernorm.weight");
    let folder = copies.path("tiny-random-mode/code");
    set(&folder.join("expert.json"), json!({"blocks": 1}));
    let base = data("tiny-random-llama");
    let eval = ["eval", "--model", text(&base), "--ids", text(&copies.ids), "--expert", text(&folder)];
    refused(&eval, "are without a place");
}

#[test]
fn adapters_that_compute_something_else_are_refused() {
    let recipes = Recipes::new();
    recipes.pretrain();
    recipes.run("train", "lora", "method = 'lora'\n[lora]\nrank = 2\nalpha = 4.0");
    let ids = recipes.path("ids.json");
    std::fs::write(&ids, "[1,2,3]").expect("a file");
    let folder = recipes.path("lora");
    let config = folder.join("adapter_config.json");
    let good = std::fs::read(&config).expect("a file");
    let eval = ["eval", "--model", text(&folder), "--ids", text(&ids)];
    for (changes, says) in [
        (json!({"use_rslora": true}), "use_rslora"),
        (json!({"use_dora": true}), "use_dora"),
        (json!({"rank_pattern": {"q_proj": 4}}), "rank_pattern"),
        (json!({"layers_to_transform": [0]}), "layers_to_transform"),
        (json!({"bias": "all"}), "bias"),
        (json!({"target_modules": ["q_proj", "up_proj"]}), "up_proj"),
        (json!({"target_modules": "all-linear"}), "the pattern \"all-linear\" is not supported"),
        (json!({"target_modules": 3}), "3 is no list of names"),
        (json!({"target_modules": ["q_proj"]}), "24 tensors are without a place"),
        (json!({"peft_type": "IA3"}), "IA3"),
        (json!({"r": 0}), "positive"),
        (json!({"r": 3}), "shape"),
    ] {
        std::fs::write(&config, &good).expect("a file");
        set(&config, changes);
        refused(&eval, says);
    }
    std::fs::write(&config, &good).expect("a file");
    set(&config, json!({"use_dora": false, "rank_pattern": {}, "bias": "none", "lora_dropout": 0.1}));
    let (_, stderr, code) = run(&eval);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn broken_tokenizers_are_refused_and_ids_need_none() {
    let recipes = Recipes::new();
    recipes.pretrain();
    let base = recipes.path("base");
    let file = base.join("tokenizer.json");
    let good = std::fs::read(&file).expect("a file");
    let prompt = ["generate", "--model", text(&base), "--prompt", "river stone"];
    for changes in [
        // The library panics on these two.
        json!({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAAECAwQ="}}),
        json!({"post_processor": {"type": "TemplateProcessing", "special_tokens": {}, "pair": [],
            "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}}),
        json!({"model": {"type": "NoSuchModel"}}),
        json!({"added_tokens": 3}),
    ] {
        std::fs::write(&file, &good).expect("a file");
        set(&file, changes.clone());
        refused(&prompt, "tokenizer");
        let ids = recipes.path("ids.json");
        std::fs::write(&ids, "[1,2,3]").expect("a file");
        let (stdout, stderr, code) =
            run(&["generate", "--model", text(&base), "--ids", text(&ids), "--max-new", "2", "--json"]);
        assert_eq!(code, 0, "{changes}: {stderr}");
        assert!(!stderr.contains("panicked") && stdout.contains("new_ids"), "{stderr}");
    }
}

#[test]
fn weights_that_are_no_numbers_are_a_failure() {
    let copies = Copies::new();
    let weights = copies.path("tiny-random-llama/model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("a file");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&weights, bytes).expect("a file");
    let (model, ids) = (copies.path("tiny-random-llama"), text(&copies.ids).to_string());
    for command in ["eval", "generate"] {
        let (stdout, stderr, code) = run(&[command, "--model", text(&model), "--ids", &ids, "--json"]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        assert!(stderr.contains("no number"), "{stderr}");
    }
}

#[test]
fn sizes_beyond_reason_are_refused_and_leave_nothing() {
    let recipes = Recipes::new();
    let model = format!(
        "method = 'pretrain'\n[model]\ntokenizer = '{}'\nwidth = 16\nhidden = 24\nlayers = 4\nheads = 2\n\
         kv_heads = 1\npositions = 32",
        text(&recipes.path("tokenizer.json"))
    );
    let file = recipes.write("x", &model);
    let out = recipes.path("deep/in/x");
    // Two hundred billion parameters: no machine that runs this has 3 TB.
    let large =
        "model={tokenizer='tokenizer.json', width=4096, hidden=4000000, layers=4, heads=16, kv_heads=1, positions=32}";
    let large = large.replace("tokenizer.json", text(&recipes.path("tokenizer.json")));
    for (setting, says) in [
        (large.as_str(), "GB of memory"),
        ("model.layers=100000", "layers"),
        ("model.width=1000000000", "over 16777216"),
        ("model.width=16777216", "parameters"),
        ("model.width=4096", "heads of width 2048; 256 is possible"),
        ("model.heads=0", "zero"),
        ("train.steps=9000000000000000000", "train.steps"),
        ("train.steps='many'", "train.steps: invalid type"),
        ("data=[{name='x', source='none.txt'}]", "none.txt"),
        ("train.length=31", "tokens, fewer than one window"),
    ] {
        let short = recipes.path("short.txt");
        std::fs::write(&short, "river stone").expect("a file");
        let source = format!("data=[{{name='short', source='{}'}}]", text(&short));
        let short = if setting.starts_with("train.length") { vec!["--set", &source] } else { vec![] };
        refused(&[&["train", text(&file), "--out", text(&out), "--set", setting][..], &short].concat(), says);
        assert!(!recipes.path("deep").exists(), "{setting}");
    }
}

#[test]
fn a_refused_demo_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let little = folder.path().join("little.txt");
    std::fs::write(&little, "One sentence is too little.").expect("a file");
    let out = folder.path().join("runs/demo");
    for (arguments, says) in [
        (vec!["--english", text(&little)], "give more with --english"),
        (vec!["--math", "none.jsonl:text"], "none.jsonl"),
        (vec!["--set", "batch=1000000000"], "train.batch times train.length"),
        (vec!["--set", "width=99999998", "--set", "heads=1"], "over 16777216"),
        (vec!["--set", "vocabulary=1000000000000"], "over 16777216"),
        (vec!["--set", "steps=1000000000000"], "at the most"),
        (vec!["--set", "layers=7"], "divide"),
        (vec!["--set", "sede=1"], "did you mean 'seed'"),
    ] {
        refused(&[&["demo", "--quick", "--out", text(&out)][..], &arguments].concat(), says);
        assert!(!folder.path().join("runs").exists(), "{arguments:?}");
    }
    std::fs::create_dir_all(&out).expect("a folder");
    refused(&["demo", "--out", text(&out)], "--force");
}

#[test]
fn broken_shards_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let ids = folder.path().join("ids.json");
    std::fs::write(&ids, "[1, 2, 3]").expect("a file");
    let whole = data("families/mistral");
    let copy = |name: &str| {
        let copy = folder.path().join(name);
        std::fs::create_dir(&copy).expect("a folder");
        for entry in std::fs::read_dir(&whole).expect("a folder") {
            let path = entry.expect("an entry").path();
            std::fs::copy(&path, copy.join(path.file_name().expect("a name"))).expect("a file");
        }
        copy
    };
    let eval = |model: &Path, says: &str| refused(&["eval", "--model", text(model), "--ids", text(&ids)], says);
    let index = "model.safetensors.index.json";
    let lost = copy("lost");
    std::fs::remove_file(lost.join("model-00002-of-00002.safetensors")).expect("a shard");
    eval(&lost, "model-00002-of-00002.safetensors: the index beside it names this shard");
    let cut = copy("cut");
    let whole_index = std::fs::read(whole.join(index)).expect("a file");
    std::fs::write(cut.join(index), &whole_index[..whole_index.len() / 2]).expect("a file");
    eval(&cut, index);
    // An index that forgets a shard: the tensors that were there are listed.
    let short = copy("short");
    let shard = String::from_utf8(whole_index.clone()).expect("text").replace("model-00002-of", "model-00001-of");
    std::fs::write(short.join(index), shard).expect("a file");
    eval(&short, "tensors are missing (");
    let outside = copy("outside");
    let shard = String::from_utf8(whole_index).expect("text").replace("model-00002-of", "../model-00002-of");
    std::fs::write(outside.join(index), shard).expect("a file");
    eval(&outside, "a shard lies outside the folder");
}

#[test]
fn a_tied_head_that_is_stored_must_be_the_embedding() {
    let folder = tempfile::tempdir().expect("a folder");
    let ids = folder.path().join("ids.json");
    std::fs::write(&ids, "[1, 2, 3]").expect("a file");
    // tiny-random-llama's head is its own; a configuration that ties it contradicts the file.
    let tied = changed(folder.path(), "config.json", |bytes| {
        let text = String::from_utf8(bytes).expect("text");
        text.replace("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true").into_bytes()
    });
    refused(&["eval", "--model", text(&tied), "--ids", text(&ids)], "set tie_word_embeddings to false");
    // One that is the embedding again is accepted.
    let source = data("families/llama");
    let tensors = SafeTensors::open(&[source.join("model.safetensors")]).expect("a file");
    let device = Device::cpu();
    let mut all = std::collections::BTreeMap::new();
    for name in tensors.names() {
        let shape = tensors.shape(name).expect("a tensor");
        all.insert(name.to_string(), tensors.load(&device, name, &shape).expect("a tensor"));
    }
    let embedding = all["model.embed_tokens.weight"].clone();
    all.insert("lm_head.weight".into(), embedding);
    // What old files of this family hold besides.
    all.insert(
        "model.layers.0.self_attn.rotary_emb.inv_freq".into(),
        Tensor::full(&device, &[5], 1.0).expect("memory"),
    );
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).expect("a folder");
    std::fs::copy(source.join("config.json"), copy.join("config.json")).expect("a file");
    write_safetensors(&copy.join("model.safetensors"), &all, |_| false, &[]).expect("written");
    let losses = [&source, &copy].map(|model| {
        let (stdout, stderr, code) = run(&["eval", "--model", text(model), "--ids", text(&ids), "--json"]);
        assert_eq!(code, 0, "{stderr}");
        stdout
    });
    assert_eq!(losses[0], losses[1]);
}

#[test]
fn a_tensor_past_a_gpus_binding_limit_is_refused_by_name() {
    let Some(gpu) = common::gpu() else { return };
    let config = Config {
        vocabulary: 600_000,
        width: 64,
        hidden: 8,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        head_width: 64,
        positions: 8,
        tied: true,
        ..Config::default()
    };
    // 154 MB; software Vulkan binds 134 MB at once, as WebGPU's default is.
    if let Err(error) = Backbone::random(config, &gpu, &mut Random::new(1)) {
        let said = error.to_string();
        assert!(said.contains("model.embed_tokens.weight [600000, 64]"), "{said}");
    }
}
