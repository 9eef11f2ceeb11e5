//! LoRAs in PEFT's own format: adapters that PEFT made give here what they give there, before and after they are folded into
//! their base; and adapters that were made here give it there, where a Python with `peft` is at hand (`MODE_PYTHON` names it).

use mode::model::open_on;
use mode::train::evaluate;
use mode_tensor::Dtype;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

mod common;
use common::{Recipes, as_halves, data, devices, refused, run, text};

fn golden(name: &str) -> Value {
    let text = std::fs::read_to_string(data("peft").join(name).with_extension("json")).expect("a golden file");
    serde_json::from_str(&text).expect("JSON")
}

fn ids(golden: &Value) -> Vec<u32> {
    serde_json::from_value(golden["ids"].clone()).expect("ids")
}

/// The mean loss that the program finds on a file of ids.
fn loss(arguments: &[&str]) -> f64 {
    let (stdout, stderr, code) = run(&[&["eval", "--json"], arguments].concat());
    assert_eq!(code, 0, "{stderr}");
    let found: Value = serde_json::from_str(stdout.trim()).expect("JSON");
    found["mean_nll"].as_f64().expect("a number")
}

#[test]
fn adapters_of_peft_give_what_they_give_there() {
    for name in ["llama", "gpt2"] {
        let golden = golden(name);
        let (adapter, base) = (data("peft").join(name), data(golden["base"].as_str().expect("a folder")));
        for device in devices() {
            let model = open_on(&adapter, Some(&base), &device).expect("a model");
            assert!(model.has_lora());
            let found = evaluate(&model, &[ids(&golden)], true).expect("an evaluation");
            let want = golden["mean_nll"].as_f64().expect("a number");
            assert!((found.mean_nll - want).abs() < 1e-4, "{name}: {} and {want}", found.mean_nll);
            assert!(found.grad_l2.expect("norms").keys().all(|name| name.contains(".lora_")));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ids.json");
        std::fs::write(&file, "[1, 2]").expect("a file");
        refused(&["eval", "--model", text(&adapter), "--ids", text(&file)], "give its place as --base");
    }
}

#[test]
fn a_merged_model_gives_what_base_and_adapter_give() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["llama", "gpt2"] {
        let golden = golden(name);
        let (adapter, base) = (data("peft").join(name), data(golden["base"].as_str().expect("a folder")));
        let (out, file) = (folder.path().join(name), folder.path().join("ids.json"));
        std::fs::write(&file, golden["ids"].to_string()).expect("a file");
        let merge = ["export", text(&adapter), "--merge", "--base", text(&base), "--out", text(&out)];
        let output = common::mode().args(merge).output().expect("the program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found = loss(&["--model", text(&out), "--ids", text(&file)]);
        let want = golden["merged_nll"].as_f64().expect("a number");
        assert!((found - want).abs() < 1e-4, "{name}: {found} and {want}");
        for (again, says) in [
            (&merge[..], "--out"),
            (&["export", text(&base), "--merge", "--out", "elsewhere"], "holds no LoRA"),
            (&["export", text(&adapter), "--merge", "--out", "elsewhere"], "give its place as --base"),
            (&["export", text(&adapter), "--base", text(&base), "--out", "elsewhere"], "--merge"),
        ] {
            let output = common::mode().args(again).output().expect("the program");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(2) && said.contains(says), "{again:?}: {said}");
        }
        assert!(!Path::new("elsewhere").exists());
    }
}

/// The adapter of PEFT's on the small Llama with one of its files changed.
fn changed_adapter(folder: &Path, file: &str, change: impl FnOnce(&Path, &Path)) -> PathBuf {
    std::fs::create_dir(folder).expect("a folder");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(data("peft/llama").join(name), folder.join(name)).expect("a file");
    }
    change(&data("peft/llama").join(file), &folder.join(file));
    folder.into()
}

#[test]
fn an_adapter_stored_as_halves_is_merged_and_one_that_overflows_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = golden("llama");
    let base = data(golden["base"].as_str().expect("a folder"));
    let file = folder.path().join("ids.json");
    std::fs::write(&file, golden["ids"].to_string()).expect("a file");
    let merge = |adapter: &Path, out: &Path| {
        let arguments = ["export", text(adapter), "--merge", "--base", text(&base), "--out", text(out)];
        common::mode().args(arguments).output().expect("the program")
    };
    let weights = "adapter_model.safetensors";
    let halves = changed_adapter(&folder.path().join("halves"), weights, |from, to| as_halves(from, to, Dtype::BF16));
    let out = folder.path().join("merged");
    let output = merge(&halves, &out);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let beside = loss(&["--model", text(&halves), "--base", text(&base), "--ids", text(&file)]);
    let merged = loss(&["--model", text(&out), "--ids", text(&file)]);
    assert!((beside - merged).abs() < 1e-5, "{beside} and {merged}");
    let huge = changed_adapter(&folder.path().join("huge"), "adapter_config.json", |from, to| {
        let mut config: Value = serde_json::from_slice(&std::fs::read(from).expect("a file")).expect("JSON");
        config["lora_alpha"] = 1e39.into();
        std::fs::write(to, config.to_string()).expect("a file");
    });
    let output = merge(&huge, &folder.path().join("nothing"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("once merged"), "{said}");
    assert!(!folder.path().join("nothing").exists());
}

#[test]
fn adapters_that_name_no_base_or_a_pattern_say_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = data(golden("llama")["base"].as_str().expect("a folder"));
    let file = folder.path().join("ids.json");
    std::fs::write(&file, "[1, 2, 3]").expect("a file");
    let with = |name: &str, key: &str, value: Value| {
        changed_adapter(&folder.path().join(name), "adapter_config.json", |from, to| {
            let mut config: Value = serde_json::from_slice(&std::fs::read(from).expect("a file")).expect("JSON");
            config[key] = value;
            std::fs::write(to, config.to_string()).expect("a file");
        })
    };
    let nameless = with("nameless", "base_model_name_or_path", Value::Null);
    refused(&["eval", "--model", text(&nameless), "--ids", text(&file)], "names no base_model_name_or_path");
    loss(&["--model", text(&nameless), "--base", text(&base), "--ids", text(&file)]);
    let pattern = with("pattern", "target_modules", ".*q_proj".into());
    let on_base = ["eval", "--base", text(&base), "--ids", text(&file), "--model"];
    refused(&[&on_base[..], &[text(&pattern)]].concat(), "the pattern \".*q_proj\" is not supported");
    let other = data("families/llama");
    let wrong = ["eval", "--base", text(&other), "--ids", text(&file), "--model", text(&nameless)];
    refused(&wrong, "does not fit adapter_config.json and the base model");
}

#[test]
fn adapters_made_here_give_what_they_give_in_peft() {
    let python = std::env::var("MODE_PYTHON").unwrap_or_else(|_| "python3".into());
    let there = Command::new(&python).args(["-c", "import peft, torch, transformers"]).output();
    let recipes = Recipes::new();
    recipes.pretrain();
    let file = recipes.path("ids.json");
    std::fs::write(&file, "[1, 5, 9, 200, 33, 7, 250, 4]").expect("a file");
    let base = recipes.path("base");
    let plain = loss(&["--model", text(&base), "--ids", text(&file)]);
    let is_there = there.is_ok_and(|output| output.status.success());
    assert!(is_there || std::env::var_os("MODE_REQUIRE_PEFT").is_none(), "{python} has no peft");
    let targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens"];
    for (adapted, count) in [("attention", 4), ("feed-forward", 7), ("embedding", 8)] {
        recipes.run("train", adapted, &format!("method = 'lora'\n[lora]\nrank = 2\nalpha = 4\nadapted = '{adapted}'"));
        let adapter = recipes.path(adapted);
        let config = std::fs::read(adapter.join("adapter_config.json")).expect("a file");
        let config: Value = serde_json::from_slice(&config).expect("JSON");
        assert_eq!(config["target_modules"], serde_json::json!(targets[..count]));
        let here = loss(&["--model", text(&adapter), "--ids", text(&file)]);
        assert!((here - plain).abs() > 1e-4, "{adapted}: four steps must have changed something: {here} and {plain}");
        let merged = recipes.path(&format!("{adapted}-merged"));
        let merge = ["export", text(&adapter), "--merge", "--out", text(&merged)];
        let output = common::mode().args(merge).output().expect("the program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let folded = loss(&["--model", text(&merged), "--ids", text(&file)]);
        assert!((folded - here).abs() < 1e-4, "{adapted}: {folded} folded into its base, {here} beside it");
        if is_there {
            let script = data("peft/make.py");
            let arguments = [text(&script), "--check", text(&adapter), text(&base), text(&file)];
            let output = Command::new(&python).args(arguments).output().expect("python");
            let said = String::from_utf8_lossy(&output.stdout);
            let found: f64 = said.trim().lines().last().expect("a line").parse().expect("a number");
            assert!((found - here).abs() < 1e-4, "{adapted}: {found} in PEFT, {here} here");
        }
    }
}
