//! What independent implementations compute on small models, reproduced on the CPU, and as WGSL where a GPU adapter is.
//!
//! `tests/data/tiny-random-llama.json` and those in `families` hold what transformers computes on the model beside it (losses, accuracies,
//! gradient norms, continuations); `tiny-random-mode.json` what an f64 implementation computes on experts beside it.

use mode::generate::generate;
use mode::model::{GateRule, Model, Trained, open, open_with_experts};
use mode::train::{evaluate, one_step};
use mode_autograd::{AdamW, AdamWSettings, Decayed};
use mode_tensor::Device;
use serde_json::Value;
use std::path::{Path, PathBuf};

mod common;
use common::{data, devices};

fn golden(name: &str) -> Value {
    let text = std::fs::read_to_string(data(name)).expect("a golden file");
    serde_json::from_str(&text).expect("JSON")
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn close(got: f64, want: &Value, tolerance: f64, what: &str) {
    let want = want.as_f64().expect("a number");
    assert!((got - want).abs() <= tolerance, "{what}: {got}, not {want}");
}

fn check_norms(got: &std::collections::BTreeMap<String, f64>, want: &Value, all: bool) {
    let want = want.as_object().expect("norms");
    assert!(!all || got.len() == want.len(), "other parameters have gradients");
    for (name, norm) in want {
        let relative = got[name] / norm.as_f64().expect("a number") - 1.0;
        assert!(relative.abs() < 1e-3, "gradient norm of {name} off by {relative:e}");
    }
}

/// A model against what transformers computes on it.
fn check_model(folder: &Path, golden: &Value, devices: &[Device]) {
    for device in devices {
        let model = open(folder, device).unwrap_or_else(|e| panic!("{e}"));
        for window in golden["windows"].as_array().expect("windows") {
            let found = evaluate(&model, &[ids(&window["ids"])], true).expect("an evaluation");
            close(found.mean_nll, &window["mean_nll"], 1e-4, "loss");
            close(found.next_token_accuracy, &window["next_token_accuracy"], 1e-6, "accuracy");
            check_norms(&found.grad_l2.expect("norms"), &window["grad_l2"], true);
        }
        for prompt in golden["prompts"].as_array().expect("prompts") {
            let want = ids(&prompt["greedy"]);
            let made = generate(&model, &ids(&prompt["ids"]), want.len(), &[]).expect("a continuation");
            assert_eq!(made.ids, want, "{}", folder.display());
            for (got, want) in made.top.iter().zip(prompt["top5"].as_array().expect("five")) {
                assert_eq!(u64::from(got.0), want[0].as_u64().expect("an id"));
                close(got.1, &want[1], 1e-3, "log-probability");
            }
        }
    }
}

#[test]
fn llama_as_transformers_computes_it() {
    check_model(&data("tiny-random-llama"), &golden("tiny-random-llama.json"), &devices());
}

/// Every family, with shapes that no tile divides, windows, stretched angles, tied and untied heads, single files and shards.
#[test]
fn families_as_transformers_computes_them() {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(data("families")).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    names.retain(|path| path.extension().is_some_and(|end| end == "json"));
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let text = std::fs::read_to_string(&name).expect("a golden file");
        check_model(&name.with_extension(""), &serde_json::from_str(&text).expect("JSON"), &devices());
    }
}

/// The stage-1 or composed model of a golden case.
fn case_model(case: &Value, device: &Device) -> Model {
    match case["model"].as_str().expect("a name") {
        "composed" => open(&data("tiny-random-mode/composed"), device),
        name => {
            let expert = data("tiny-random-mode").join(name);
            open_with_experts(&data("tiny-random-llama"), &[expert], GateRule::Relative, device)
        }
    }
    .expect("the model")
}

#[test]
fn experts_as_an_independent_implementation_computes_them() {
    for device in devices() {
        for case in golden("tiny-random-mode.json")["cases"].as_array().expect("cases") {
            let model = case_model(case, &device);
            let found = evaluate(&model, &[ids(&case["ids"])], true).expect("an evaluation");
            close(found.mean_nll, &case["mean_nll"], 1e-4, "loss");
            close(found.next_token_accuracy, &case["next_token_accuracy"], 1e-5, "accuracy");
            assert_eq!(found.gate_means.len(), case["gate_means"].as_array().expect("blocks").len());
            for (got, want) in found.gate_means.iter().zip(case["gate_means"].as_array().expect("blocks")) {
                for (got, want) in got.iter().zip(want.as_array().expect("branches")) {
                    close(*got, want, 1e-4, "gate mean");
                }
            }
            check_norms(&found.grad_l2.expect("norms"), &case["grad_l2"], true);
        }
    }
}

/// Six AdamW steps on a case's one window: the loss before each.
fn six_losses(case: &Value, adamw: &Value, trained: Trained, device: &Device) -> Vec<f64> {
    let model = case_model(case, device);
    model.set_trained(trained);
    let number = |name: &str| adamw[name].as_f64().expect("a number");
    let settings = AdamWSettings {
        beta1: number("beta1"),
        beta2: number("beta2"),
        epsilon: number("eps"),
        decay: number("weight_decay"),
        clip: 0.0,
        decayed: Decayed::All,
    };
    let mut optimizer = AdamW::new(model.params(), settings).expect("trained parameters");
    let windows = [ids(&case["ids"])];
    let mut step = || one_step(&model, &mut optimizer, &windows, 1, number("lr")).expect("a step");
    (0..6).map(|_| f64::from(step().loss)).collect()
}

#[test]
fn six_steps_of_adamw() {
    let golden = golden("tiny-random-mode.json");
    for device in devices() {
        for case in golden["cases"].as_array().expect("cases") {
            for (key, trained) in [("train", Trained::Experts), ("train_gates_only", Trained::Gates)] {
                let losses = six_losses(case, &golden["adamw"], trained, &device);
                for (got, want) in losses.iter().zip(case[key]["losses"].as_array().expect("six losses")) {
                    close(*got, want, 1e-4, key);
                }
            }
        }
    }
}
