//! Tuning: what is wrong is never chosen, what was found is read again, and what no longer holds is ignored aloud.

mod common;

use common::{gpu, refused, text};
use mode_kernels::shaders::{Replacements, texts};
use mode_kernels::tune::{KNOBS, tune};
use mode_kernels::{KernelError, Tuning};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn a_way_that_is_fast_and_wrong_is_not_chosen() -> Result<(), KernelError> {
    let Some(device) = gpu() else { return Ok(()) };
    let built_in = device.tuning();
    assert_eq!(built_in, Tuning::built_in(&device.capabilities()));
    let knob = KNOBS.iter().find(|knob| knob.name == "short_queries").expect("a number");
    let choose = || tune(&device, knob, 7, Instant::now() + Duration::from_secs(8), &|| false);
    let sound = choose()?;
    assert!(sound.trials.iter().all(|trial| trial.refused.is_none()), "{sound:?}");
    assert!(knob.takes(sound.value) && !sound.trials.is_empty());
    // Nothing is faster than a workgroup that does nothing.
    let (file, own) = ("attention_short.wgsl", texts()["attention_short.wgsl"]);
    let start = own.find("fn main(").and_then(|at| Some(at + own[at..].find("{\n")? + 2)).expect("an entry point");
    let mut replacements = Replacements::default();
    let lazy = format!("{}    if params.length > 0u {{\n        return;\n    }}\n{}", &own[..start], &own[start..]);
    replacements.insert(file, file.into(), lazy);
    // SAFETY: a return more ends every loop that ended before.
    unsafe { device.replace_shaders(replacements) };
    let lazy = choose()?;
    assert_eq!(lazy.value, 0, "{lazy:?}");
    for trial in &lazy.trials {
        assert_eq!(trial.refused.is_some(), trial.value > 0, "{trial:?}");
    }
    assert!(lazy.reason.contains("which is built in, disagrees with the reference"), "{}", lazy.reason);
    assert_eq!(device.tuning(), built_in);
    Ok(())
}

/// Runs on the GPU with this cache folder; stdout, stderr, exit code.
fn on_gpu(cache: &Path, arguments: &[&str]) -> (String, String, Option<i32>) {
    let mut command = common::mode();
    let output =
        command.args(arguments).args(["--device", "gpu"]).env("MODE_CACHE", cache).output().expect("the program");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn what_was_found_counts_until_something_else_is_there() {
    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path();
    let (stdout, stderr, code) = on_gpu(cache, &["tune", "--dry-run"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(KNOBS.iter().all(|knob| stdout.contains(knob.name)) && !cache.join("tune").exists(), "{stdout}");
    let (stdout, stderr, code) = on_gpu(cache, &["tune", "gate_merge", "--budget", "12s", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let found: serde_json::Value = serde_json::from_str(stdout.trim()).expect("JSON");
    let names: Vec<_> =
        found["choices"].as_array().expect("choices").iter().map(|choice| choice["name"].clone()).collect();
    assert_eq!(names, ["merge_pieces", "merge_lanes"]);
    let file = Path::new(found["file"].as_str().expect("a file"));
    assert!(file.starts_with(cache), "{}", file.display());
    let written = std::fs::read_to_string(file).expect("a file");
    // Later runs say that they go by it.
    let check = || on_gpu(cache, &["check", "gate_merge", "--draws", "2", "--seed", "3"]);
    let (_, stderr, code) = check();
    assert!(code == Some(0) && stderr.contains(&format!(" of {} numbers are not as built in, by ", KNOBS.len())), "{stderr}");
    // Of another driver, cut off, or no text at all, it is ignored, and says why.
    let altered = |contents: &[u8], says: &str| {
        std::fs::write(file, contents).expect("written");
        let (_, stderr, code) = check();
        let line = stderr.lines().find(|line| line.starts_with("tuning: ")).expect("a line").to_string();
        assert!(code == Some(0) && line.contains(" is ignored: ") && line.contains(says), "{stderr}");
        assert!(line.contains(text(file)) && line.contains("mode tune"), "{line}");
    };
    let head = |key: &str| written.lines().find(|line| line.starts_with(key)).expect("a key").to_string();
    altered(written.replace(&head("driver = "), "driver = \"another 1.0\"").as_bytes(), "its driver is another 1.0");
    altered(written.replace(&head("shaders = "), "shaders = \"0123\"").as_bytes(), "its shaders is 0123");
    altered(&written.as_bytes()[..written.len() / 2], "");
    altered(b"\xff\xfe\x00", "no UTF-8");
    // Another run replaces it.
    let (_, stderr, code) = on_gpu(cache, &["tune", "gate_merge", "--budget", "6s"]);
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn bad_input_is_refused_and_a_cpu_has_nothing_to_choose() {
    refused(&["tune", "atention"], "did you mean 'attention'");
    refused(&["tune", "add"], "has nothing to choose; attention, ");
    for budget in ["0", "0s", "-5s", "soon", "1h", "nan", "inf", "1e9s"] {
        refused(&["tune", &format!("--budget={budget}")], "such as 60s or 5m");
    }
    let (stdout, stderr, code) = common::run(&["tune"]);
    assert!(code == 0 && stdout.starts_with("there is nothing to tune on CPU, "), "{stdout}{stderr}");
    let (stdout, _, code) = common::run(&["tune", "--json"]);
    assert!(code == 0 && stdout.contains("\"choices\":[]"), "{stdout}");
}
