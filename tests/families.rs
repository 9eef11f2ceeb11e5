//! Every family of decoders as a base: written and read again, trained whole, and with experts and LoRAs beside it, all of which
//! are stored under the family's own names.

use mode::data::Tokens;
use mode::model::{Backbone, Expert, ExpertInfo, ExpertInit, Gate, Model, Random, Trained, open};
use mode::train::{evaluate, one_step};
use mode_autograd::{AdamW, AdamWSettings};
use mode_tensor::{Device, SafeTensors};
use std::path::{Path, PathBuf};

mod common;
use common::{data, families, refused, run, text};

fn window() -> Vec<u32> {
    (0..40).map(|i| (i * 37 + i * i) % 97).collect()
}

fn loss(model: &Model) -> f64 {
    evaluate(model, &[window()], false).expect("an evaluation").mean_nll
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    for family in families() {
        let device = Device::cpu();
        let before = Backbone::open(&family, &device).expect("a model");
        let out = folder.path().join(family.file_name().expect("a name"));
        std::fs::create_dir(&out).expect("a folder");
        before.save(&out).expect("written");
        let after = Backbone::open(&out, &device).unwrap_or_else(|e| panic!("{e}"));
        let counted: usize = after.params().map(|param| param.value().len()).sum();
        assert_eq!(after.config.parameters(), counted as u64, "{}", family.display());
        for (a, b) in before.params().zip(after.params()) {
            assert_eq!(
                (a.name(), a.value().to_vec().expect("readable")),
                (b.name(), b.value().to_vec().expect("readable"))
            );
        }
        assert_eq!(loss(&Model::plain(before)), loss(&Model::plain(after)));
    }
}

/// A fresh expert of all layers beside a family's backbone, in one block.
fn with_fresh_expert(family: &Path, init: ExpertInit, seed: u64) -> Model {
    let device = Device::cpu();
    let backbone = Backbone::open(family, &device).expect("a model");
    let info = ExpertInfo::new("fresh", "any", "", 1, backbone.config.layers).expect("a name");
    let expert = Expert::new(&backbone, info, init, &mut Random::new(seed)).expect("an expert");
    let gate = Gate::with_share(&device, 0, backbone.config.width, 0.7).expect("a gate");
    Model::with_experts(backbone, vec![expert], vec![gate]).expect("a model that fits")
}

#[test]
fn a_copied_expert_of_all_layers_is_the_backbone() {
    for family in families() {
        let plain = loss(&open(&family, &Device::cpu()).expect("a model"));
        let copied = loss(&with_fresh_expert(&family, ExpertInit::Copy, 1));
        assert!((plain - copied).abs() < 1e-5, "{}: {plain} and {copied}", family.display());
    }
}

#[test]
fn an_expert_that_begins_silent_adds_nothing_whatever_its_matrices() {
    for family in families() {
        let of = |init, seed| loss(&with_fresh_expert(&family, init, seed));
        assert_eq!(of(ExpertInit::ZeroOutput, 1), of(ExpertInit::ZeroOutput, 2), "{}", family.display());
        assert_ne!(of(ExpertInit::Random, 1), of(ExpertInit::Random, 2));
        // A step later it adds as much as the step was long: no norm blows it up.
        let model = with_fresh_expert(&family, ExpertInit::ZeroOutput, 1);
        let before = loss(&model);
        model.set_trained(Trained::Experts);
        let mut optimizer = AdamW::new(model.params(), AdamWSettings::default()).expect("parameters");
        one_step(&model, &mut optimizer, &[window()], 1, 1e-6).expect("a step");
        let after = loss(&model);
        assert!(before != after && (before - after).abs() < 0.01, "{}: {before} and {after}", family.display());
    }
}

/// A recipe's file; `base` is the family, `rest` the method's own tables.
fn recipe(folder: &Path, method: &str, name: &str, base: &Path, rest: &str) -> (PathBuf, PathBuf) {
    let (file, out) = (folder.join(format!("{name}.toml")), folder.join(name));
    let data = text(&folder.join("some.tokens")).to_string();
    let recipe = format!(
        "method = '{method}'\nout = '{}'\nbase = '{}'\n{rest}\n[train]\nsteps = 3\nbatch = 2\nlength = 24\n\
         learning_rate = 1e-2\n[[data]]\nname = 'some'\nsource = '{data}'\n",
        text(&out),
        text(base),
    );
    std::fs::write(&file, recipe).expect("a file");
    (file, out)
}

fn train(folder: &Path, method: &str, name: &str, base: &Path, rest: &str) -> PathBuf {
    let (file, out) = recipe(folder, method, name, base, rest);
    let (_, stderr, code) = run(&["train", text(&file), "--quiet"]);
    assert_eq!(code, 0, "{name}: {stderr}");
    out
}

#[test]
fn every_family_is_trained_and_adapted() {
    let folder = tempfile::tempdir().expect("a folder");
    let ids = (0..4_000).map(|i: u32| (i * i / 3 + i % 7) % 97).collect();
    let tokens = Tokens { name: "some".into(), vocab: 97, tokenizer: [0; 32], ids };
    tokens.write(&folder.path().join("some.tokens")).expect("written");
    let file = folder.path().join("ids.json");
    std::fs::write(&file, format!("{:?}", window())).expect("a file");
    for family in families() {
        let name = family.file_name().and_then(|name| name.to_str()).expect("a name").to_string();
        let layers = Backbone::open(&family, &Device::cpu()).expect("a model").config.layers;
        let plain = loss(&open(&family, &Device::cpu()).expect("a model"));
        let full = train(folder.path(), "full", &format!("{name}-full"), &family, "");
        assert_ne!(loss(&open(&full, &Device::cpu()).expect("a model")), plain);
        let lora = train(folder.path(), "lora", &format!("{name}-lora"), &family, "[lora]\nrank = 2\nalpha = 4");
        assert_ne!(loss(&open(&lora, &Device::cpu()).expect("a model")), plain);
        let table = format!("[expert]\nname = 'one'\ndomain = 'some'\nblocks = {layers}\nlayers_per_block = 1");
        let expert = train(folder.path(), "expert", &format!("{name}-expert"), &family, &table);
        let eval = ["eval", "--model", text(&family), "--expert", text(&expert), "--ids", text(&file), "--json"];
        let (stdout, stderr, code) = run(&eval);
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains("gate_means"));
        let stored = SafeTensors::open(&[expert.join("expert.safetensors")]).expect("a file");
        let (projection, turned) = if name.starts_with("gpt2") {
            ("blocks.0.layers.0.attn.c_attn.weight", true)
        } else {
            ("blocks.0.layers.0.self_attn.q_proj.weight", false)
        };
        let shape = stored.shape(projection).expect("the family's name");
        let gate = stored.shape("blocks.0.gate.weight").expect("a gate");
        assert_eq!(if turned { shape[0] } else { shape[1] }, gate[1], "{name}: stored as the family stores it");
        if turned {
            assert_eq!(shape[1], 3 * shape[0]);
        }
    }
}

#[test]
fn experts_are_listed_shown_verified_and_switched() {
    let (base, experts) = (data("tiny-random-llama"), data("tiny-random-mode"));
    let (code_dir, math_dir) = (experts.join("code"), experts.join("math"));
    let on = |arguments: &[&str]| {
        let output = common::mode().args(arguments).output().expect("the program");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let listed = on(&["expert", "list", text(&experts)]);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    let shown = on(&["expert", "show", text(&experts.join("code")), "--json"]);
    let shown: serde_json::Value = serde_json::from_str(shown.trim()).expect("JSON");
    assert!(shown["name"] == "code" && shown["bytes"].as_u64().is_some_and(|bytes| bytes > 300_000));
    let part = experts.join("composed/experts/math");
    refused(&["expert", "verify", text(&part), "--model", text(&base)], "holds no gates");
    for other in [&experts.join("composed"), &code_dir] {
        refused(&["expert", "switch", "--model", text(other), "--expert", text(&code_dir)], "is no plain model");
    }
    let (stdout, stderr, code) = run(&["expert", "verify", text(&experts.join("math")), "--model", text(&base)]);
    assert!(code == 0 && stdout.contains("all finite"), "{stderr}");
    let other = data("families/llama");
    refused(&["expert", "verify", text(&experts.join("math")), "--model", text(&other)], "made for the base model");
    let arguments = [
        "expert",
        "switch",
        "--model",
        text(&base),
        "--expert",
        text(&code_dir),
        "--expert",
        text(&math_dir),
        "--json",
    ];
    let (stdout, stderr, code) = run(&arguments);
    assert_eq!(code, 0, "{stderr}");
    let found: serde_json::Value = serde_json::from_str(stdout.trim()).expect("JSON");
    let bytes: Vec<u64> =
        found["opened"].as_array().expect("a list").iter().filter_map(|o| o["bytes"].as_u64()).collect();
    let size = |path: PathBuf| std::fs::metadata(path).expect("a file").len();
    let of_code = size(code_dir.join("expert.json")) + size(code_dir.join("expert.safetensors"));
    assert_eq!((bytes.len(), bytes[0], bytes[1]), (3, size(base.join("model.safetensors")), of_code));
}

#[test]
fn a_switch_that_fails_changes_nothing() {
    let device = Device::cpu();
    let mut model = open(&data("tiny-random-llama"), &device).expect("a model");
    let rule = mode::model::GateRule::Diluted;
    let plain = loss(&model);
    let folder = |name: &str| data("tiny-random-mode").join(name);
    model.switch(&[folder("code")], rule).expect("an expert");
    let code = loss(&model);
    assert_ne!(code, plain);
    for wrong in [vec![folder("nowhere")], vec![folder("math"), folder("math")], vec![folder("code"), data("families")]]
    {
        assert!(model.switch(&wrong, rule).is_err());
        assert_eq!(loss(&model), code);
    }
    model.switch(&[folder("math"), folder("code")], rule).expect("two experts");
    assert_eq!(model.experts.len(), 2);
    model.switch(&[], rule).expect("none");
    assert_eq!(loss(&model), plain);
}
