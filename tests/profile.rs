//! Ceilings and profiles, from outside.

mod common;

use common::{Recipes, refused, run, text};
use serde_json::Value;

/// What a command that succeeds prints as JSON.
fn json(arguments: &[&str]) -> Value {
    let (stdout, stderr, code) = run(&[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(stdout.trim()).expect("one line of JSON")
}

#[test]
fn ceilings_are_measured() {
    let found = json(&["bench", "ceilings"]);
    for rate in ["gflops", "gbytes"] {
        assert!(found[rate].as_f64().is_some_and(|rate| rate > 0.1 && rate < 1e6), "{found}");
    }
    let whole = found["copied"].as_u64() >= Some(256_000_000);
    assert!(whole || found["warnings"].to_string().contains("there is no room"), "{found}");
    assert!(found["believed"] == true && found["timer"] == "clocks" && found["data_sheet"].is_null(), "{found}");
    assert!(found["half_gflops"].is_null() && found["cooperative"] == serde_json::json!([]), "{found}");
    refused(&["bench", "ceilings", "W1"], "ceilings are measured alone");
    refused(&["bench", "celings"], "did you mean 'ceilings'?");
}

#[test]
fn an_operation_is_profiled_at_many_sizes() {
    let folder = tempfile::tempdir().expect("a folder");
    let [csv, svg, trace] = ["launches.csv", "roofline.svg", "trace.json"].map(|name| folder.path().join(name));
    let files = ["--csv", text(&csv), "--svg", text(&svg), "--trace", text(&trace)];
    let sizes = ["profile", "gate", "--branches", "2,3", "--tokens", "40", "--width", "33,64"];
    let found = json(&[&sizes[..], &files].concat());
    let profiles = found["profiles"].as_array().expect("profiles");
    assert_eq!(profiles.len(), 4);
    assert_eq!(profiles[2]["sizes"], serde_json::json!({"branches": 3, "tokens": 40, "width": 33}));
    let mut launches = 0;
    for profile in profiles {
        let rows = profile["launches"].as_array().expect("launches");
        launches += rows.len();
        let of = |kernel: &str| rows.iter().filter(|row| row["kernel"] == kernel).count();
        assert_eq!((of("gate_merge"), of("gate_merge_backward")), (1, 1), "{profile}");
        assert!(rows.iter().all(|row| row["ms"].as_f64() > Some(0.0) && row["percent"].as_f64() > Some(0.0)));
        assert_eq!(rows[0]["settings"]["tokens"], 40);
    }
    let fusion = &profiles[2]["fusion"];
    assert_eq!((&fusion["forward"]["units"], &fusion["backward"]["units"]), (&[5, 13].into(), &[9, 20].into()));
    // Product, bias, softmax, three weighted branches and two sums; tensors this small cost no bandwidth.
    assert_eq!(fusion["forward"]["unfused_launches"], 8);

    let rows = std::fs::read_to_string(&csv).expect("a file");
    assert_eq!(rows.lines().count(), 1 + launches);
    let columns = |row: &str| row.split(',').count();
    assert!(rows.lines().all(|row| columns(row) == columns(rows.lines().next().unwrap_or_default())), "{rows}");
    let drawing = std::fs::read_to_string(&svg).expect("a file");
    assert!(drawing.starts_with("<svg") && drawing.contains("gate_merge 3 x 40 x 64:"), "{drawing}");
    let events: Value = serde_json::from_slice(&std::fs::read(&trace).expect("a file")).expect("JSON");
    let events = events["traceEvents"].as_array().expect("events");
    let slices: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    assert!(slices.len() == launches && slices.iter().all(|slice| slice["dur"].as_f64() > Some(0.0)));
    assert!(slices.iter().all(|slice| slice["args"]["bytes"].as_f64() > Some(0.0)));

    for (option, file) in [("--csv", &csv), ("--svg", &svg), ("--trace", &trace)] {
        refused(&["profile", "gate", option, text(file)], "exists already");
    }
    let new = folder.path().join("new");
    refused(&["profile", "gate", "--csv", text(&new), "--svg", text(&new)], "named twice");
    refused(&["profile", "gaet"], "did you mean 'gate'?");
    refused(&["profile", "matmul", "--branches", "2"], "--branches is no size of matmul");
    refused(&["profile", "matmul", "--columns", "0"], "give 1 or more");
    refused(&["profile", "gate", "--half"], "--half: only matmul and attention");
    refused(&["profile", "attention", "--tokens", "99999999999"], "choose smaller sizes");
    assert!(!new.exists(), "nothing is written");
}

#[test]
fn a_gpu_is_profiled_dispatch_by_dispatch() {
    if common::gpu().is_none() {
        return;
    }
    let sizes = ["--branches", "2", "--tokens", "9", "--width", "5", "--json", "--device", "gpu"];
    let output = common::mode().args(["profile", "gate"]).args(sizes).output().expect("the program");
    let found: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    let launches = found["profiles"][0]["launches"].as_array().expect("launches");
    let entries: Vec<&str> = launches.iter().filter_map(|launch| launch["entry"].as_str()).collect();
    assert!(entries.len() == launches.len() && entries.len() > 2, "{found}");
    assert_eq!(found["ceilings"]["timer"], "timestamps");

    // Where there are cooperative matrices, they have a ceiling, and what multiplies by them is held against it.
    let sizes = ["--tokens", "130", "--width", "64", "--columns", "72", "--half", "--json", "--device", "gpu"];
    let output = common::mode().args(["profile", "matmul"]).args(sizes).output().expect("the program");
    let found: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    let (ceilings, launch) = (&found["ceilings"], &found["profiles"][0]["launches"][0]);
    let cooperative = ceilings["cooperative"].as_array().expect("a list");
    assert!(cooperative.iter().all(|of| of["gflops"].as_f64() > Some(0.01)), "{ceilings}");
    assert_eq!(launch["cooperative"], !cooperative.is_empty(), "{found}");
    assert!(launch["cooperative"] == false || launch["bound"] != "arithmetic", "{launch}");
}

#[test]
fn some_steps_of_a_run_are_profiled() {
    let recipes = Recipes::new();
    recipes.pretrain();
    let file = recipes.write("full", "method = 'full'");
    refused(&["train", text(&file), "--profile", "2"], "that takes 5 steps, train.steps is 4");
    refused(&["train", text(&file), "--profile", "0"], "--profile");
    assert!(!recipes.path("full").exists());
    let (stdout, stderr, code) = run(&["train", text(&file), "--profile", "2", "--set", "train.steps=6"]);
    assert!(code == 0 && stdout.contains("rms_norm") && stdout.contains("profile.json written"), "{stdout} {stderr}");
    let profile = std::fs::read(recipes.path("full").join("profile.json")).expect("a file");
    let found: Value = serde_json::from_slice(&profile).expect("JSON");
    let kernels = found["profiles"][0]["kernels"].as_array().expect("kernels");
    assert!(kernels.iter().any(|kernel| kernel["kernel"] == "adamw"), "{found}");
    // A run that takes its place takes its profile away.
    let (_, stderr, code) = run(&["train", text(&file), "--force"]);
    assert!(code == 0 && !recipes.path("full").join("profile.json").exists(), "{stderr}");
}

#[test]
fn the_demos_runs_are_profiled() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("demo");
    let tiny = [
        "width=16",
        "hidden=24",
        "layers=2",
        "heads=2",
        "length=16",
        "batch=1",
        "blocks=2",
        "steps=5",
        "pretrain_steps=5",
    ];
    let sets: Vec<&str> = tiny.iter().flat_map(|set| ["--set", set]).collect();
    let demo = [&["demo", "--quick", "--out", text(&out)][..], &sets].concat();
    refused(&[&demo[..], &["--profile", "3"]].concat(), "--profile 3: that takes 6 steps, steps is 5");
    refused(&[&demo[..], &["--profile", "2", "--tune"]].concat(), "--tune");
    assert!(!out.exists());
    let (stdout, stderr, code) = run(&[&demo[..], &["--profile", "2"]].concat());
    assert!(code == 0 && stdout.contains("profile.json written: a step's launches take "), "{stdout} {stderr}");
    for name in ["base", "expert-code", "lora-long", "mode-2x"] {
        let profile = std::fs::read(out.join(name).join("profile.json")).expect("a file");
        let found: Value = serde_json::from_slice(&profile).expect("JSON");
        let kernels = found["profiles"][0]["kernels"].as_array().expect("kernels");
        assert_eq!(
            kernels.iter().any(|kernel| kernel["kernel"] == "gate_merge"),
            name.contains("expert") || name == "mode-2x"
        );
    }
    // Composed without a step.
    assert!(out.join("mode-code").exists() && !out.join("mode-code/profile.json").exists());
}

#[test]
fn a_step_is_profiled_kernel_by_kernel() {
    let recipes = Recipes::new();
    let model = format!(
        "method = 'pretrain'\n[model]\ntokenizer = '{}'\nwidth = 16\nhidden = 24\nlayers = 2\nheads = 2\nkv_heads = 1\n\
         positions = 32",
        text(&recipes.path("tokenizer.json"))
    );
    let file = recipes.write("base", &model);
    let (stdout, stderr, code) = run(&["profile", "step", text(&file), "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let found: serde_json::Value = serde_json::from_str(stdout.trim()).expect("one line of JSON");
    let launches = |kernel: &str| {
        let rows = found["profiles"][0]["kernels"].as_array().expect("rows");
        rows.iter().find(|row| row["kernel"] == kernel).and_then(|row| row["launches"].as_f64())
    };
    // Two layers, each with attention, and three norms in all for every pass over the tokens.
    assert_eq!(
        (launches("attention"), launches("attention_backward"), launches("rms_norm")),
        (Some(2.0), Some(2.0), Some(5.0))
    );
    assert!(!recipes.path("base").exists(), "nothing is written");
    refused(&["profile", "step"], "required");
    refused(&["profile", "gate", text(&file)], "only `mode profile step`");
}

#[test]
fn what_freezing_removes_is_missing_from_the_launches() {
    let profile = |workload: &str| json(&["profile", "step", workload])["profiles"][0].clone();
    let (frozen, unfrozen) = (profile("W6"), profile("W6-unfrozen"));
    let launches = |profile: &Value, kernel: &str| {
        profile["launches"].as_array().map_or(0, |rows| rows.iter().filter(|row| row["kernel"] == kernel).count())
    };
    // Four backbone layers of seven matrices each lose dW; two of them, in the first block, dx as well, and the head its own dW.
    let products = launches(&unfrozen, "matmul") - launches(&frozen, "matmul");
    assert_eq!(products, 4 * 7 + 2 * 7 + 1);
    assert_eq!(launches(&unfrozen, "attention_backward") - launches(&frozen, "attention_backward"), 2);
    assert_eq!(launches(&unfrozen, "attention"), launches(&frozen, "attention"));
    refused(&["profile", "step", "W6", "--set", "seed=1"], "--set changes a recipe");
    refused(&["profile", "step", "W4", "--tokens", "64"], "a step has the sizes of its recipe");
}
