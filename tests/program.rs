//! The program from outside: every method's recipe, end to end.

mod common;

use common::{Recipes, as_halves, refused, run, text};
use mode_tensor::Dtype;
use std::path::{Path, PathBuf};

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
    recipes.run("compose", "unfrozen", &format!("method = 'compose'\n[compose]\n{experts}\ntrain = 'everything'"));
    let base = recipes.eval("base")["mean_nll"].as_f64().expect("a number");
    for name in ["full", "lora", "both", "gates", "unfrozen"] {
        let loss = recipes.eval(name)["mean_nll"].as_f64().expect("a number");
        assert!(loss.is_finite() && loss != base, "{name}: {loss} and {base}");
    }
    // A backbone that was trained too is another base, which lies beside the experts, who are its own.
    let unfrozen = recipes.path("unfrozen");
    let read = |path: &Path| std::fs::read(path.join("model.safetensors")).expect("a file");
    assert!(read(&unfrozen.join("base")) != read(&recipes.path("base")));
    let (stdout, stderr, code) = run(&["inspect", text(&unfrozen), "--gates", "river stone"]);
    assert!(code == 0 && stdout.contains("branches backbone, one, two"), "{stdout}{stderr}");
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
    // --force replaces a run, and nothing else that somebody made.
    let own = recipes.path("own");
    std::fs::create_dir(&own).expect("a folder");
    std::fs::write(own.join("config.json"), "mine").expect("a file");
    refused(&["train", &full, "--out", text(&own), "--force"], "holds no run to resume or replace");
    assert_eq!(std::fs::read(own.join("config.json")).expect("a file"), b"mine");
    let inside = format!("compose.experts=['{}']", text(&recipes.path("both").join("experts/one")));
    let compose = text(&recipes.path("both.toml")).to_string();
    refused(&["compose", &compose, "--force", "--set", &inside], "experts/one, which this recipe reads");
    let source = format!("data=[{{name='x', source='{}'}}]", text(&recipes.path("full").join("config.json")));
    refused(&["train", &full, "--force", "--set", &source], "config.json, which this recipe reads");
    let prompt = ["--prompt", "river stone", "--max-new", "3", "--json"];
    let (stdout, stderr, code) = run(&[&["generate", "--model", text(&recipes.path("both"))][..], &prompt].concat());
    assert_eq!(code, 0, "{stderr}");
    let made: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(made["new_ids"].as_array().map(Vec::len), Some(3));
    assert_eq!(made["top"].as_array().map(Vec::len), Some(5));
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
    let (_, stderr, code) =
        run(&[&["train", text(&file), "--out", text(&recipes.path("y")), "--check-nan"][..], &sets].concat());
    assert_eq!(code, 1, "{stderr}");
    let told = ["error: step ", "kernel ", " wrote ", " of ", ", at "];
    assert!(told.iter().all(|word| stderr.contains(word)), "{stderr}");
    let (_, _, code) = run(&["train", text(&file), "--out", text(&recipes.path("z")), "--check-nan"]);
    assert_eq!(code, 0, "what is computed in a sound run are numbers");
}

#[test]
fn check_compares_kernels_and_names_the_unknown() {
    let (stdout, stderr, code) = run(&["check", "gate_merge", "add", "--seed", "5", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let found: serde_json::Value = serde_json::from_str(stdout.trim()).expect("one line of JSON");
    let kernels = found["kernels"].as_array().expect("rows");
    assert!(found["agrees"] == true && found["seed"] == 5 && kernels.len() == 2, "{found}");
    assert!(kernels.iter().all(|row| row["worst"].as_f64().expect("a number") <= 3e-5), "{found}");
    refused(&["check", "gate_merg"], "did you mean 'gate_merge'");
}

#[cfg(unix)]
#[test]
fn bench_starts_itself_by_the_runner() {
    let program = env!("CARGO_BIN_EXE_mode");
    let mut bench = std::process::Command::new(program);
    bench.args(["bench", "W1", "W5", "--device", "cpu"]).env("MODE_RUNNER", "echo");
    let output = bench.output().expect("the program");
    let line = |name: &str| format!("{program} bench {name} --device cpu\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), line("W1") + &line("W5"));
}

#[test]
fn a_dry_run_tells_the_memory_of_a_real_one() {
    let recipes = Recipes::new();
    recipes.pretrain();
    let expert = "[expert]\nname = 'one'\ndomain = 'tales'\nblocks = 2\nlayers_per_block = 1";
    let file = recipes.write("one", &format!("method = 'expert'\n{expert}"));
    let megabytes = |arguments: &[&str]| {
        let (stdout, stderr, code) = run(&[&["train", text(&file), "--set", "train.batch=128"], arguments].concat());
        assert_eq!(code, 0, "{stderr}");
        let line = stdout.lines().find(|line| line.starts_with("memory ")).expect("a line of memory").to_string();
        line.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok()).expect("a number")
    };
    let predicted = megabytes(&["--dry-run"]);
    assert!(!recipes.path("one").exists());
    let found = megabytes(&[]);
    assert!(predicted > 5.0 && (predicted - found).abs() <= 0.1 * found, "{predicted} and {found}");
}

#[test]
fn what_was_made_can_be_looked_at() {
    let recipes = Recipes::new();
    recipes.pretrain();
    let expert = "[expert]\nname = 'one'\ndomain = 'tales'\nblocks = 2\nlayers_per_block = 1\n[checkpoint]\nevery = 2";
    recipes.run("train", "one", &format!("method = 'expert'\n{expert}"));
    let one = recipes.path("one");
    let compose = format!("method = 'compose'\n[compose]\nexperts = ['{}']", text(&one));
    recipes.run("compose", "composed", &compose);
    let inspect = |path: &Path, more: &[&str]| {
        let (stdout, stderr, code) = run(&[&["inspect", text(path), "--json"], more].concat());
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str::<serde_json::Value>(stdout.trim()).expect("JSON")
    };
    let found = inspect(&one, &[]);
    assert!(found["kind"] == "expert" && found["domain"] == "tales" && found["steps"] == 4, "{found}");
    assert_eq!(found["more"]["provenance"]["tokens_a_step"], 32);
    let checkpoint = PathBuf::from(found["checkpoints"][0].as_str().expect("a checkpoint"));
    let found = inspect(&checkpoint, &[]);
    assert!(found["kind"] == "checkpoint" && found["step"] == 2 && found["intact"] == true, "{found}");
    let found = inspect(&recipes.path("composed"), &[]);
    assert!(
        found["kind"] == "model" && found["experts"][0]["name"] == "one" && found["method"] == "compose",
        "{found}"
    );
    let gates = inspect(&recipes.path("composed"), &["--gates", "river stone lantern", "--gates", "seven"]);
    let text_gates = &gates["texts"][0];
    let tokens = text_gates["tokens"].as_array().expect("tokens").len();
    assert!(tokens > 0 && text_gates["weights"].as_array().map(Vec::len) == Some(tokens), "{gates}");
    let entropy = text_gates["blocks"][1]["entropy"].as_f64().expect("a number");
    assert!((0.0..=2f64.ln() + 1e-6).contains(&entropy), "{gates}");
    refused(&["inspect", text(&recipes.path("base")), "--gates", "river"], "has no gates");
    refused(&["inspect", text(recipes.folder.path())], "holds no model");
}

#[test]
fn texts_are_counted_and_encoded() {
    let recipes = Recipes::new();
    let (source, tokenizer) = (recipes.path("english.txt"), recipes.path("tokenizer.json"));
    let call = |arguments: &[&str]| {
        let output = common::mode().args(arguments).output().expect("the program");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (String::from_utf8_lossy(&output.stdout).into_owned(), stderr, output.status.code())
    };
    let stats = |source: &Path| {
        let (stdout, stderr, code) = call(&["data", "stats", text(source), "--tokenizer", text(&tokenizer), "--json"]);
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str::<serde_json::Value>(stdout.trim()).expect("JSON")
    };
    let found = stats(&source);
    let of = |split: &str, what: &str| found[split][what].as_u64().expect("a number");
    let splits = ["train", "validation", "test"];
    assert_eq!(
        splits.iter().map(|split| of(split, "documents")).sum::<u64>(),
        found["documents"].as_u64().expect("one")
    );
    let out = recipes.path("english.tokens");
    let prepare = ["data", "prepare", text(&source), "--tokenizer", text(&tokenizer), "--out", text(&out)];
    assert_eq!(call(&prepare).2, Some(0));
    assert_eq!(stats(&out)["tokens"].as_u64(), Some(of("train", "tokens")));
    assert_eq!(call(&prepare).2, Some(2), "a file that exists is not written over");
    // A run takes the file as it is, as long as it was made with the model's own tokenizer.
    recipes.pretrain();
    let train = |source: &Path, name: &str| {
        let recipe = recipes.write(name, "method = 'full'");
        let changed =
            std::fs::read_to_string(&recipe).expect("a file").replace(text(&recipes.path("english.txt")), text(source));
        std::fs::write(&recipe, changed).expect("a file");
        recipe
    };
    let (_, stderr, code) = run(&["train", text(&train(&out, "tokens"))]);
    assert_eq!(code, 0, "{stderr}");
    let other = mode::data::Tokenizer::train(["another text altogether"].into_iter(), 270).expect("a tokenizer");
    other.save(&recipes.path("other.json")).expect("a file");
    let (others, other) = (recipes.path("others.tokens"), recipes.path("other.json"));
    let prepare = ["data", "prepare", text(&source), "--tokenizer", text(&other), "--out", text(&others)];
    assert_eq!(call(&prepare).2, Some(0));
    refused(&["train", text(&train(&others, "others"))], "was made with another tokenizer than");
    let base = recipes.path("base");
    refused(&["eval", "--model", text(&base), "--ids", text(&others)], "was made with another tokenizer than");
    assert_eq!(run(&["eval", "--model", text(&base), "--ids", text(&out), "--limit", "64"]).2, 0);
}

#[test]
fn a_checkpoint_becomes_what_its_run_would_have_made() {
    let recipes = Recipes::new();
    recipes.pretrain();
    // A base stored as halves: what is trained must not be rounded to them.
    let base = recipes.path("base").join("model.safetensors");
    let beside = base.with_extension("halves");
    as_halves(&base, &beside, Dtype::BF16);
    std::fs::rename(&beside, &base).expect("renamed");
    // The last step's checkpoint holds what the run itself wrote at its end.
    let checkpoint = "[checkpoint]\nevery = 4";
    let expert = "[expert]\nname = 'one'\ndomain = 'tales'\nblocks = 2\nlayers_per_block = 1";
    let experts = format!("experts = ['{}']\ntrain = 'everything'", text(&recipes.path("one")));
    for (name, recipe, file) in [
        ("full", format!("method = 'full'\n{checkpoint}"), "model.safetensors"),
        ("one", format!("method = 'expert'\n{expert}\n{checkpoint}"), "expert.safetensors"),
        ("lora", format!("method = 'lora'\n[lora]\nrank = 2\nalpha = 4.0\n{checkpoint}"), "adapter_model.safetensors"),
        ("narrow", format!("method = 'bottleneck'\n[bottleneck]\nsize = 2\n{checkpoint}"), "bottleneck.safetensors"),
        ("unfrozen", format!("method = 'compose'\n[compose]\n{experts}\n{checkpoint}"), "base/model.safetensors"),
    ] {
        recipes.run(if name == "unfrozen" { "compose" } else { "train" }, name, &recipe);
        let made = std::fs::read_dir(recipes.path(name).join("checkpoints")).expect("a folder");
        let made = made.map(|file| file.expect("a file").path()).next().expect("a checkpoint");
        let out = recipes.path(&format!("exported-{name}"));
        let export =
            || common::mode().args(["export", text(&made), "--out", text(&out)]).output().expect("the program");
        assert!(export().status.success());
        let read = |folder: &Path| std::fs::read(folder.join(file)).expect("a file");
        assert!(read(&out) == read(&recipes.path(name)), "{name}");
        assert_eq!(export().status.code(), Some(2), "a folder that exists is not written over");
    }
}

#[test]
fn recipes_to_begin_with_are_never_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    for method in ["pretrain", "full", "lora", "bottleneck", "expert", "compose"] {
        let file = folder.path().join(format!("{method}.toml"));
        let write = || common::mode().args(["init", method, "--out", text(&file)]).output().expect("the program");
        assert!(write().status.success());
        assert!(mode::train::Recipe::read(&file, &[]).is_ok(), "{method}");
        assert_eq!(write().status.code(), Some(2));
    }
    for arguments in [&["completions", "bash"][..], &["completions", "zsh"], &["completions", "fish"], &["man"]] {
        let output = common::mode().args(arguments).output().expect("the program");
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("compose"));
    }
}

#[test]
fn runs_are_set_beside_each_other() {
    let recipes = Recipes::new();
    recipes.pretrain();
    recipes.run("train", "full", "method = 'full'");
    let page = recipes.path("page.html");
    let (base, full) = (recipes.path("base"), recipes.path("full"));
    let report = ["report", text(&base), text(&full), "--out", text(&page)];
    let call = || common::mode().args(report).output().expect("the program");
    assert!(call().status.success());
    let html = std::fs::read_to_string(&page).expect("a page");
    assert!(html.contains(text(&full)) && html.contains("Against the first") && html.contains("<svg"), "{html}");
    assert_eq!(call().status.code(), Some(2), "a page that exists is not written over");
}

#[test]
fn devices_are_listed() {
    let output = common::mode().args(["devices", "--json"]).output().expect("the program");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert!(found["cpu"]["threads"].as_u64() >= Some(1) && found["gpus"].is_array(), "{found}");
}

#[test]
#[cfg(not(feature = "hub"))]
fn fetching_says_how_to_build_it() {
    let output = common::mode().args(["fetch", "org/name", "--json"]).output().expect("the program");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && output.stdout.is_empty() && stderr.lines().count() == 1, "{stderr}");
    assert!(stderr.contains("cargo build --release --features hub"), "{stderr}");
}

/// Which processes there are is asked before any file is opened.
#[test]
fn what_this_program_was_built_without_is_told() {
    let grpc = ["--listen", "127.0.0.1:0", "--certificate", "x", "--key", "x", "--peer", "x", "--layout", "1+1"];
    for (built, more, feature) in [(cfg!(feature = "mpi"), &[][..], "mpi"), (cfg!(feature = "net"), &grpc, "net")] {
        if !built {
            let says = format!("--features {feature}`");
            refused(&[&["worker", "recipe.toml", "--mesh", "experts"][..], more].concat(), &says);
        }
    }
    if !cfg!(feature = "net") {
        let says = "--features net`";
        refused(&[&["expert", "serve", "law", "--base", "base"][..], &grpc[..8]].concat(), says);
        let model = common::data("tiny-random-mode/composed");
        let folder = tempfile::tempdir().expect("a folder");
        let ids = folder.path().join("ids.json");
        std::fs::write(&ids, "[1]").expect("a file");
        let prompt =
            ["generate", "--model", common::text(&model), "--ids", common::text(&ids), "--connect", "code=x:1"];
        refused(&[&prompt[..], &grpc[2..8]].concat(), says);
    }
}
