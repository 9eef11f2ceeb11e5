//! `mode experiment`: what is there is kept, what is missing is made again to the same bits, test text is measured once.

use mode_kernels::Device;
use mode_tensor::{SafeTensors, Tensor, write_safetensors};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

mod common;
use common::{Recipes, run, text};

/// Sizes with which an experiment takes seconds; what it finds is noise.
const SMALL: [&str; 12] = [
    "seeds=2",
    "steps=2",
    "pretrain_steps=3",
    "test_tokens=1500",
    "validation_tokens=300",
    "vocabulary=512",
    "width=32",
    "hidden=64",
    "heads=2",
    "length=32",
    "batch=4",
    "rank=4",
];

/// A tale of so many paragraphs, from one of them on; each domain's own words, no paragraph like another.
fn tale(words: &str, from: usize, count: usize) -> String {
    let seed = words.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    let paragraph = |i: usize| {
        let mut state = seed ^ (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ["one", "met", "many", "more", "and", "left", "day", "none", "sea", "law", "old", "said"]
                [(state >> 60) as usize % 12]
        };
        format!("{words} {i} says that {}.\n\n", (0..18).map(word).collect::<Vec<_>>().join(" "))
    };
    (from..from + count).map(paragraph).collect()
}

/// What runs an experiment in `out`, on tales that lie beside it.
fn arguments(name: &str, out: &Path, more: &[&str]) -> Vec<String> {
    arguments_with(&SMALL, name, out, more)
}

/// The same with these settings.
fn arguments_with(sets: &[&str], name: &str, out: &Path, more: &[&str]) -> Vec<String> {
    let mut sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    for (name, words) in [("english", "Chapter"), ("code", "Function"), ("math", "Problem")] {
        let file = out.with_file_name(format!("{name}.txt"));
        std::fs::write(&file, tale(words, 0, 600)).expect("a file");
        sets.push(format!("data.{name}={}", text(&file)));
    }
    let sets = sets.into_iter().flat_map(|set| ["--set".into(), set]);
    let start = ["experiment", name, "--out", text(out)].map(String::from);
    start.into_iter().chain(sets).chain(more.iter().map(|more| more.to_string())).collect()
}

/// All rates that may be tried.
const LADDER: [f64; 10] = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1];

/// That both rates beside the best one were tried as well, where there is any.
fn best_lies_within<'v>(tried: impl Iterator<Item = &'v &'v Value>) {
    let number = |value: &Value| value.as_f64().expect("a number");
    let of = |line: &&Value| (number(&line["learning_rate"]), number(&line["scores"]["code"]["accuracy"]));
    let mut tried: Vec<(f64, f64)> = tried.map(of).collect();
    tried.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.total_cmp(&b.0)));
    let best = LADDER.iter().position(|&rate| rate == tried[0].0).expect("a rate of the ladder");
    let beside = LADDER[best.saturating_sub(1)..].iter().take(3 - usize::from(best == 0));
    assert!(beside.clone().all(|rate| tried.iter().any(|(of, _)| of == rate)), "{tried:?}");
}

/// Runs table3; what it says, and its exit code.
fn experiment(out: &Path, more: &[&str]) -> (String, i32) {
    carried_out("table3", out, more)
}

/// The same of any experiment.
fn carried_out(name: &str, out: &Path, more: &[&str]) -> (String, i32) {
    said(&arguments(name, out, more))
}

fn said(arguments: &[String]) -> (String, i32) {
    let (_, stderr, code) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    (stderr, code)
}

/// Settings beside a base of four layers and windows of 32 tokens, for which three and six blocks are none.
const BESIDE: [&str; 9] = [
    "seeds=2",
    "steps=2",
    "test_tokens=1500",
    "validation_tokens=300",
    "length=32",
    "batch=4",
    "rank=4",
    "blocks=2",
    "layers_per_block=1",
];

/// What runs it at the scale of a given base.
fn beside_arguments(base: &Path, out: &Path, more: &[&str]) -> Vec<String> {
    let base = format!("base={}", text(base));
    let more: Vec<&str> = ["--scale", "gpu", "--set", &base].iter().chain(more).copied().collect();
    arguments_with(&BESIDE, "table3", out, &more)
}

/// Runs it so.
fn beside(base: &Path, out: &Path, more: &[&str]) -> (String, i32) {
    said(&beside_arguments(base, out, more))
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("a file of results");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The scores of each cell, by its name and seed.
fn scores(file: &Path) -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = lines(file)
        .into_iter()
        .map(|line| (format!("{} {}", line["cell"], line["seed"]), line["scores"].clone()))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn what_is_there_is_kept_and_what_is_missing_is_made_again_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("all");
    let (stderr, code) = experiment(&out, &[]);
    assert_eq!(code, 0, "{stderr}");
    let file = out.join("results/table3.jsonl");
    let first = scores(&file);
    assert_eq!(first.len(), 7 * 2);
    assert!(first.iter().all(|(_, scores)| scores["code"]["hits"].as_array().is_some_and(|hits| !hits.is_empty())));
    // Six shapes at five rates at the least, and for two seeds of two cells how much seeds differ.
    let tuning = lines(&out.join("results/tuning.jsonl"));
    let tuned: Vec<&Value> = tuning.iter().filter(|line| line["seed"] == 0).collect();
    assert!(tuned.len() >= 6 * 5 && tuning.len() == tuned.len() + 2 * 2, "{}", tuning.len());
    for shape in ["2-1", "2-2", "3-1", "3-2", "6-1", "6-2"] {
        best_lies_within(tuned.iter().filter(|line| line["cell"] == shape));
    }
    let page = std::fs::read_to_string(out.join("README.md")).expect("a page");
    assert!(page.contains("## Table 3") && page.contains("Detectable") && !page.contains("NaN"), "{page}");
    assert!(stderr.contains("four times in five"), "{stderr}");
    // Each reported cell, seed and domain has a row.
    let reported = std::fs::read_to_string(out.join("reported.csv")).expect("a file");
    let rows: BTreeSet<Vec<&str>> = reported.lines().skip(1).map(|row| row.split(',').take(4).collect()).collect();
    assert!(rows.len() == 7 * 2 * 3 && rows.contains(&vec!["table3", "3-2", "2", "english"]), "{reported}");

    // A cell made again from nothing is the same to the bit, or it is said that it is not.
    let rerun = |more: &[&str]| {
        let arguments = arguments("table3", &out, more);
        let (stdout, stderr, code) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        (stdout + &stderr, code)
    };
    let (said, code) = rerun(&["--rerun", "2-2", "--seed", "2"]);
    assert!(code == 0 && said.contains("3 runs made again, the same to the bit: code "), "{said}");
    assert!(out.join("rerun/2-2-2/runs").is_dir());
    for (more, says) in [
        (vec!["--rerun", "2-2", "--seed", "2"], "made again before"),
        (vec!["--rerun", "9-9"], "are 2-1, 2-2, 3-1"),
        (vec!["--rerun", "2-1", "--seed", "7"], "there is no seed 7"),
        (vec!["--rerun", "2-1", "--set", "steps=1"], "known there are base"),
        (vec!["--seed", "2"], "--rerun"),
    ] {
        let (said, code) = rerun(&more);
        assert!(code == 2 && said.contains(says), "{more:?}: {said}");
    }
    let kept = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, kept.replacen("\"nll\":", "\"nll\":1", 60)).expect("a file");
    let (said, code) = rerun(&["--rerun", "2-1"]);
    assert!(code == 1 && said.contains("other figures than before"), "{said}");
    std::fs::write(&file, &kept).expect("a file");

    // All is there: nothing is trained or measured.
    let before = std::fs::read(&file).expect("a file");
    let (stderr, code) = experiment(&out, &[]);
    assert!(code == 0 && !stderr.contains("min left"), "{stderr}");
    assert_eq!(std::fs::read(&file).expect("a file"), before);

    // A killed program leaves half a line; models can be lost. One job of one thread finds the same.
    let whole = String::from_utf8(before).expect("text");
    std::fs::write(&file, &whole[..whole.len() - 40]).expect("a file");
    std::fs::remove_dir_all(out.join("runs")).expect("gone");
    let (stderr, code) = experiment(&out, &["--jobs", "1", "--threads", "1"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(scores(&file), first);

    // Other settings are another look at the same test text, which is said before anything is trained for it.
    let tuned = std::fs::read(out.join("results/tuning.jsonl")).expect("a file");
    // So are windows of another length, cut from the same documents.
    let runs = || std::fs::read_dir(out.join("runs")).expect("a folder").count();
    let before_it = runs();
    for setting in ["steps=1", "length=16"] {
        let (stderr, code) = experiment(&out, &["--set", setting]);
        assert!(code == 2 && stderr.contains("--again"), "{stderr}");
        assert_eq!(std::fs::read(out.join("results/tuning.jsonl")).expect("a file"), tuned);
        assert_eq!(runs(), before_it);
    }

    // A line of before documents were kept is completed by the next command.
    let tested = out.join("results/tested.jsonl");
    let line = std::fs::read_to_string(&tested).expect("a file");
    let (start, _) = line.split_once(",\"documents\"").expect("a hash of documents");
    std::fs::write(&tested, format!("{start}}}\n")).expect("a file");
    let (stderr, code) = experiment(&out, &[]);
    assert_eq!(code, 0, "{stderr}");
    let (stderr, code) = experiment(&out, &["--set", "length=16"]);
    assert!(code == 2 && stderr.contains("--again"), "{stderr}");

    // What another version found counts for nothing, and is not lost.
    let old = whole.replacen("\"version\":\"", "\"version\":\"0.0-", 1);
    // An editor may have taken the last line's end.
    std::fs::write(&file, old.trim_end()).expect("a file");
    let (stderr, code) = experiment(&out, &[]);
    assert!(code == 0 && stderr.contains("1 results of other versions"), "{stderr}");
    assert_eq!(lines(&file).len(), 15);
}

#[test]
fn what_failures_show_of_gates_is_what_inspect_prints() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let (stderr, code) = carried_out("failures", &out, &[]);
    assert_eq!(code, 0, "{stderr}");
    let page = std::fs::read_to_string(out.join("README.md")).expect("a page");
    let blocks: Vec<&str> =
        page.split("```text\n$ mode ").skip(1).filter_map(|block| block.split("\n```").next()).collect();
    assert_eq!(blocks.len(), 7, "{page}");
    for block in blocks {
        let (command, printed) = block.split_once('\n').expect("a command and what it prints");
        let output = common::mode().args(command.split(' ')).current_dir(&out).output().expect("the program");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), printed);
    }
    // Gates as maps too, by block, branch and text; the sick ones' weights beside the healthy ones'.
    assert!(page.contains("| mode-2x | backbone / code / math | english | "), "{page}");
    let html = std::fs::read_to_string(out.join("report.html")).expect("a page");
    assert!(
        html.contains("<h3>one-domain</h3>") && html.contains("class=\"heat\"") && html.contains("<pre>$ mode inspect")
    );
}

#[test]
fn what_can_not_be_is_refused_before_anything_is_trained() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).expect("a file");
        folder.path().join(name).to_string_lossy().into_owned()
    };
    let (few, many) = (write("few.txt", tale("Line", 0, 60)), write("many.txt", tale("Line", 0, 600)));
    let shared = write("shared.txt", tale("Line", 100, 400));
    let out = folder.path().join("out");
    for (more, says) in [
        (vec!["--scale", "huge"], "--scale huge"),
        (vec!["--set", "seeds=1"], "seeds is 1"),
        (vec!["--set", "layers=5"], "do not divide"),
        (vec!["--set", "speed=5"], "speed"),
        (vec!["--jobs", "0"], "--jobs 0"),
        (vec!["--set", "data.law=few.txt"], "data.law"),
        (vec!["--set", &format!("data.code={few}")], "10000 are needed"),
        (
            vec!["--set", &format!("data.code={many}"), "--set", &format!("data.code-test={shared}")],
            "trained or validated on as well: shared.txt",
        ),
        (vec!["--set", &format!("data.law={many}")], "one of your own is for fourth alone"),
        (vec!["--set", "data.law-test=few.txt"], "data.law-test"),
        (vec!["--set", &format!("data.code={}", text(folder.path()))], "lies in"),
        (vec!["--set", "rank=0"], "rank, vocabulary, width and hidden are 1 or more"),
    ] {
        let (stderr, code) = experiment(&out, &more);
        assert!(code == 2 && stderr.contains(says), "{more:?}: {stderr}");
        assert!(!out.join("runs").exists() && !out.join("results").exists());
    }
    let (_, stderr, code) = run(&["experiment", "table9", "--out", text(&out)]);
    assert!(code == 2 && stderr.contains("table3"), "{stderr}");
    let two = arguments("fourth", &out, &["--set", "data.law=a.txt", "--set", "data.tax=b.txt"]);
    let (stderr, code) = said(&two);
    assert!(code == 2 && stderr.contains("data.tax"), "{stderr}");
}

#[test]
fn a_folder_with_a_page_of_its_own_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("project");
    std::fs::create_dir(&out).expect("a folder");
    std::fs::write(out.join("README.md"), "# My project").expect("a file");
    let (stderr, code) = experiment(&out, &[]);
    assert!(code == 2 && stderr.contains("which would replace it"), "{stderr}");
    assert_eq!(std::fs::read_to_string(out.join("README.md")).expect("a file"), "# My project");
    assert_eq!(std::fs::read_dir(&out).expect("a folder").count(), 1);
}

#[test]
fn a_fourth_domain_may_be_the_users_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (out, law) = (folder.path().join("out"), folder.path().join("law.txt"));
    std::fs::write(&law, tale("Section", 0, 600)).expect("a file");
    let (stderr, code) = carried_out("fourth", &out, &["--set", &format!("data.law={}", text(&law))]);
    assert_eq!(code, 0, "{stderr}");
    let page = std::fs::read_to_string(out.join("README.md")).expect("a page");
    assert!(page.contains("| Cell | Rate | english | code | math | law | mean |") && !page.contains("NaN"), "{page}");
    assert!(page.contains("backbone / code / math / law | law |"), "{page}");
    let file = out.join("results/fourth.jsonl");
    assert!(lines(&file).iter().all(|line| line["scores"]["law"]["tokens"].as_u64().is_some_and(|tokens| tokens > 0)));
    // Beside another one English, Code and Math would be looked at again.
    std::fs::write(&law, tale("Rule", 0, 600)).expect("a file");
    let (stderr, code) = carried_out("fourth", &out, &["--set", &format!("data.law={}", text(&law))]);
    assert!(code == 2 && stderr.contains("--again"), "{stderr}");
    // A name that stands for several experiments is one of them too.
    let (stderr, code) = carried_out("claims", &out, &["--rerun", "lora"]);
    assert!(code == 2 && stderr.contains("cells of claims that are known there are base"), "{stderr}");
    let (stderr, code) = carried_out("all", &out, &["--rerun", "lora"]);
    assert!(code == 2 && stderr.contains("name the one experiment"), "{stderr}");
}

#[test]
fn a_given_base_is_adapted_and_may_be_moved() {
    let recipes = Recipes::new();
    recipes.pretrain();
    let (base, moved, out) = (recipes.path("base"), recipes.path("moved"), recipes.path("all"));
    let (stderr, code) = beside(&base, &out, &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("6-2 is left out: 6 blocks do not divide 4 layers"), "{stderr}");
    let file = out.join("results/table3.jsonl");
    let first = scores(&file);
    assert_eq!(
        first.iter().map(|(cell, _)| cell.as_str()).collect::<Vec<_>>(),
        [r#""2-1" 1"#, r#""2-1" 2"#, r#""2-2" 1"#, r#""2-2" 2"#, r#""base" 1"#, r#""base" 2"#]
    );
    let page = std::fs::read_to_string(out.join("README.md")).expect("a page");
    assert!(page.contains("given, hash") && page.contains("3-1 is left out") && !page.contains("NaN"), "{page}");

    // All is there, wherever the base is: nothing is trained, and what has to be measured again is the same.
    let before = std::fs::read_to_string(&file).expect("a file");
    let (stderr, code) = beside(&base, &out, &[]);
    assert!(code == 0 && !stderr.contains("min left"), "{stderr}");
    std::fs::rename(&base, &moved).expect("moved");
    std::fs::write(&file, &before[..before.len() - 40]).expect("a file");
    let (stderr, code) = beside(&moved, &out, &[]);
    assert!(code == 0 && !stderr.contains("min left"), "{stderr}");
    assert_eq!(scores(&file), first);

    // Another one in its place is another design.
    recipes.pretrain_with(2);
    let (stderr, code) = beside(&base, &out, &[]);
    assert!(code == 2 && stderr.contains("--again"), "{stderr}");
}

#[test]
fn runs_that_leave_no_numbers_are_results_and_no_end() {
    let recipes = Recipes::new();
    recipes.pretrain();
    let (base, out) = (recipes.path("base"), recipes.path("out"));
    let (weights, device) = (base.join("model.safetensors"), Device::cpu());
    let tensors = SafeTensors::open(std::slice::from_ref(&weights)).expect("a file");
    let broken = |name: &str| {
        let shape = tensors.shape(name).expect("a tensor");
        let mut values = tensors.read(name, &shape).expect("a tensor");
        // Sums of products of such numbers are none.
        if name.contains("embed") {
            values.iter_mut().for_each(|value| *value *= 1e37);
        }
        Tensor::from_slice(&device, &values, &shape).expect("fits")
    };
    let broken = tensors.names().map(|name| (name.to_string(), broken(name))).collect();
    write_safetensors(&weights, &broken, |_| false, &[]).expect("written");
    let (stderr, code) = beside(&base, &out, &["--quiet"]);
    assert!(code == 0 && stderr.contains("is NaN at step 1"), "{stderr}");
    let file = out.join("results/table3.jsonl");
    assert!(
        scores(&file)
            .iter()
            .filter(|(cell, _)| cell.contains("2-1"))
            .all(|(_, scores)| scores.as_object().is_some_and(|of| of.is_empty()))
    );
    let reported = std::fs::read_to_string(out.join("reported.csv")).expect("a file");
    assert!(reported.contains("\ntable3,2-1,1,code,,,,"), "{reported}");
    let (stderr, code) = beside(&base, &out, &[]);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn a_base_that_is_none_is_refused() {
    let recipes = Recipes::new();
    recipes.pretrain();
    let settings = "method = 'expert'\n[expert]\nname = 'one'\ndomain = 'one'\nblocks = 2\nlayers_per_block = 1";
    recipes.run("train", "one", settings);
    recipes.run(
        "compose",
        "composed",
        &format!("method = 'compose'\n[compose]\nexperts = ['{}']", text(&recipes.path("one"))),
    );
    let out = recipes.path("out");
    for (base, more, says) in [
        ("nowhere", vec![], "no such folder"),
        ("out", vec![], "no such folder"),
        ("one", vec![], "is an expert, not a model"),
        ("composed", vec![], "is no plain model"),
        ("base", vec!["--set", "width=32"], "--set width: at --scale gpu the base decides it"),
        ("base", vec!["--set", "pretrain_steps=5"], "--set pretrain_steps"),
        ("base", vec!["--set", "length=64"], "--set length=64"),
        ("base", vec!["--set", "blocks=3"], "do not divide 4 layers"),
    ] {
        let (stderr, code) = beside(&recipes.path(base), &out, &more);
        assert!(code == 2 && stderr.contains(says), "{base}, {more:?}: {stderr}");
        assert!(!out.exists());
    }
    let (stderr, code) = experiment(&out, &["--set", "base=anything"]);
    assert!(code == 2 && stderr.contains("give --scale gpu"), "{stderr}");
    for (arguments, says) in [
        (vec!["--scale", "gpu"], "--set base=FOLDER"),
        (vec!["--scale", "paper"], "add --dry-run"),
        (vec!["--scale", "paper", "--dry-run", "--set", "width=8"], "--set width"),
        (vec!["--scale", "paper", "--dry-run", "--set", "data.code=there"], "--set data"),
        (vec!["--json"], "--dry-run"),
    ] {
        let arguments: Vec<&str> = ["experiment", "table1"].into_iter().chain(arguments).collect();
        let (_, stderr, code) = run(&arguments);
        assert!(code == 2 && stderr.contains(says), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_dry_run_says_what_there_is_to_do_and_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("all");
    let dry = |more: &[&str]| {
        let arguments = arguments("table3", &out, &[&["--dry-run"], more].concat());
        let (stdout, stderr, code) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(code, 0, "{stderr}");
        stdout
    };
    let stdout = dry(&[]);
    // A base for each of two seeds and for tuning; of six shapes an expert and its composition, at five rates and for two seeds.
    assert!(stdout.contains("in all   87 runs of") && stdout.contains("left     87 runs of"), "{stdout}");
    assert!(!out.exists());
    let (stderr, code) = experiment(&out, &[]);
    assert_eq!(code, 0, "{stderr}");
    let found: Value = serde_json::from_str(&dry(&["--json"])).expect("JSON");
    // A rate that was tried beyond the grid took two runs more.
    let runs = found["runs"].as_u64().expect("a number");
    assert!(runs >= 87 && (runs - 87).is_multiple_of(2) && found["runs_left"] == 0, "{found}");
    let trained = |row: &Value| row["params_trained"].as_u64();
    assert_eq!(found["rows"].as_array().expect("rows").iter().filter_map(trained).count(), 7);
}

#[test]
fn the_paper_is_estimated_and_not_carried_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("paper");
    let hardware = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hardware/tpu-v5e.toml");
    let paper = |more: &[&str]| {
        let arguments = ["experiment", "table1", "--scale", "paper", "--dry-run", "--out", text(&out)];
        run(&[&arguments[..], more].concat())
    };
    let (stdout, stderr, code) = paper(&["--json", "--hardware", hardware]);
    assert_eq!(code, 0, "{stderr}");
    let found: Value = serde_json::from_str(&stdout).expect("JSON");
    let rows = found["rows"].as_array().expect("rows");
    let of = |row: &str, key: &str| {
        let row = rows.iter().find(|found| found["row"] == row).unwrap_or_else(|| panic!("no {row} in {rows:?}"));
        row[key].as_f64().expect("a number")
    };
    // The parameters of the paper's Table 1, in billions.
    for (row, billions) in [("full", "1.583"), ("lora", "1.585"), ("mode-1x-uninit", "1.979"), ("mode-2x", "2.376")] {
        assert_eq!(format!("{:.3}", of(row, "params_total") / 1e9), billions, "{row}");
    }
    assert!(of("mode-2x-frozen", "params_trained") < 2e4 && of("mode-2x", "seconds") > of("full", "seconds"));
    assert!(rows.iter().all(|row| row["row"] != "dense") && !out.exists());
    let (stdout, _, _) = paper(&["--hardware", hardware]);
    assert!(stdout.contains("does not fit") && stdout.contains("dense and dense-long are left out"), "{stdout}");
}

/// Starts it, interrupts it after some seconds of training, and takes it that it ends as one that is interrupted does.
#[cfg(unix)]
fn interrupt(out: &Path, arguments: &[String]) {
    let program = assert_cmd::cargo::cargo_bin("mode");
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .args(["--jobs", "1", "--device", "cpu"])
        .env("MODE_CACHE", "off")
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program");
    while !out.join("runs").is_dir() {
        assert!(child.try_wait().expect("a program").is_none(), "it ended before it trained");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    assert_eq!(child.wait().expect("an end").code(), Some(130));
}

#[cfg(unix)]
#[test]
fn interrupted_it_ends_soon_and_goes_on_from_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    // Long enough that no machine comes to the end of the first run.
    let arguments = arguments("table3", &out, &["--set", "pretrain_steps=900000"]);
    let last_step = || {
        let checkpoints = std::fs::read_dir(out.join("runs")).expect("runs").flatten();
        let steps = checkpoints
            .flat_map(|run| std::fs::read_dir(run.path().join("checkpoints")).into_iter().flatten().flatten())
            .filter_map(|file| file.file_name().to_string_lossy().get(5..13)?.parse::<u64>().ok());
        steps.max().expect("a checkpoint")
    };
    interrupt(&out, &arguments);
    let first = last_step();
    interrupt(&out, &arguments);
    assert!(last_step() > first);
}

#[cfg(unix)]
#[test]
fn interrupted_beside_a_base_that_is_moved_then_it_goes_on_all_the_same() {
    let recipes = Recipes::new();
    recipes.pretrain();
    let (base, moved, out) = (recipes.path("base"), recipes.path("moved"), recipes.path("out"));
    interrupt(&out, &beside_arguments(&base, &out, &["--set", "steps=900000"]));
    std::fs::rename(&base, &moved).expect("moved");
    interrupt(&out, &beside_arguments(&moved, &out, &["--set", "steps=900000"]));
}
