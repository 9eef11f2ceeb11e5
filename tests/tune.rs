//! Tuning: what is wrong is never chosen, what was found is read again, and what no longer holds is ignored aloud.

mod common;

use common::{gpu, refused, text};
use mode_kernels::fill_hash::fill;
use mode_kernels::shaders::Replacements;
use mode_kernels::tune::{Choice, KNOBS, Knob, texts, tune};
use mode_kernels::{Device, Epilogue, KernelError, Tuning, View, matmul};
use std::path::Path;
use std::time::{Duration, Instant};

fn knob(name: &str) -> &'static Knob {
    KNOBS.iter().find(|knob| knob.name == name).expect("a number")
}

/// Long enough to be tried to its end, of as few pairs as may be.
fn choose(device: &Device, knob: &Knob) -> Result<Choice, KernelError> {
    let now = Instant::now();
    Ok(tune(device, knob, 7, now, now + Duration::from_secs(600))?.expect("time enough"))
}

/// A shader that does nothing where `unless` does not hold.
fn lazy(file: &'static str, unless: &str) -> Replacements {
    let own = texts()[file];
    let start = own.find("fn main(").and_then(|at| Some(at + own[at..].find("{\n")? + 2)).expect("an entry point");
    let text = format!("{}    if {unless} {{\n        return;\n    }}\n{}", &own[..start], &own[start..]);
    let mut replacements = Replacements::default();
    replacements.insert(file, file.into(), text);
    replacements
}

#[test]
fn a_way_that_is_fast_and_wrong_is_not_chosen() -> Result<(), KernelError> {
    let Some(device) = gpu() else { return Ok(()) };
    let built_in = device.tuning();
    assert_eq!(built_in, Tuning::built_in(&device.capabilities()));
    let knob = knob("short_queries");
    let sound = choose(&device, knob)?;
    assert!(sound.trials.len() > 3 && sound.trials.iter().all(|trial| trial.refused.is_none()), "{sound:?}");
    // Nothing is faster than workgroups that do nothing; up to 8 queries it is built in that they work.
    // SAFETY: a return more ends every loop that ended before.
    unsafe { device.replace_shaders(lazy("attention_short.wgsl", "params.length > 8u")) };
    let choice = choose(&device, knob)?;
    assert!(choice.value <= 8, "{choice:?}");
    for trial in &choice.trials {
        let wrong = trial.refused.as_ref().is_some_and(|why| why.starts_with("disagrees with the reference by "));
        assert_eq!(wrong, trial.value > 8, "{trial:?}");
    }
    // Where what is built in is wrong itself, the way without that shader is left.
    // SAFETY: as above.
    unsafe { device.replace_shaders(lazy("attention_short.wgsl", "params.length > 0u")) };
    let choice = choose(&device, knob)?;
    assert_eq!(choice.value, 0, "{choice:?}");
    assert!(choice.reason.starts_with("8, which is built in, disagrees with the reference by "), "{}", choice.reason);
    assert_eq!(device.tuning(), built_in);
    Ok(())
}

#[test]
fn a_way_that_does_not_compile_is_not_chosen() -> Result<(), KernelError> {
    let Some(device) = gpu() else { return Ok(()) };
    let (file, knob) = ("attention.wgsl", knob("tall_forward"));
    // As a driver that has no room for tall tiles of heads as wide.
    let text = format!("{}\nconst ROOM: u32 = 1u / (u32(X != 8u) + u32(HEAD != 256u));\n", texts()[file]);
    let mut replacements = Replacements::default();
    replacements.insert(file, file.into(), text);
    // SAFETY: a constant more loops nowhere.
    unsafe { device.replace_shaders(replacements) };
    let choice = choose(&device, knob)?;
    assert!(choice.value < 256 && choice.trials.len() == 3, "{choice:?}");
    for trial in &choice.trials {
        let failed = trial.refused.as_ref().is_some_and(|why| why.starts_with("fails: kernel attention: "));
        assert_eq!(failed, trial.value == 256, "{trial:?}");
    }
    // Where what is built in does not compile, nothing can be said.
    let mut replacements = Replacements::default();
    replacements.insert(file, file.into(), format!("{}\nconst ROOM: u32 = 1u / 0u;\n", texts()[file]));
    // SAFETY: as above.
    unsafe { device.replace_shaders(replacements) };
    let error = choose(&device, knob).expect_err("no shader").to_string();
    assert!(error.contains("attention.wgsl"), "{error}");
    Ok(())
}

#[test]
fn a_budget_that_is_over_leaves_all_as_it_was() -> Result<(), KernelError> {
    let Some(device) = gpu() else { return Ok(()) };
    let (now, before) = (Instant::now(), Tuning { merge_lanes: 64, ..device.tuning() });
    device.set_tuning(before);
    assert!(tune(&device, knob("merge_pieces"), 7, now, now)?.is_none());
    assert_eq!(device.tuning(), before);
    Ok(())
}

#[test]
fn launches_go_by_the_tuning_and_come_to_the_same() -> Result<(), KernelError> {
    let Some(device) = gpu() else { return Ok(()) };
    let built_in = device.tuning();
    let other = Tuning { matmul_broadcast: 0, large_tiles: 1, four_lines: 1, ..built_in };
    for [m, n, k] in [[128, 256, 40], [3, 500, 70]] {
        let run = |device: &Device| {
            let [a, b, c] = [m * k, k * n, m * n].map(|len| device.alloc(len).map(View::whole));
            let (a, b, c) = (a?, b?, c?);
            device.write(&a, &fill(1, m * k, 1.0))?;
            device.write(&b, &fill(2, k * n, 1.0))?;
            let params = matmul::Params::new(1, m, n, k, false, true);
            matmul::matmul(device, params, [&a, &b], &Epilogue::default(), &c)?;
            device.read(&c)
        };
        let want = run(&Device::reference())?;
        let mut made = Vec::new();
        for tuning in [built_in, other] {
            device.set_tuning(tuning);
            let before = device.counters().pipelines;
            let got = run(&device)?;
            made.push(device.counters().pipelines - before);
            assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-3), "{m} x {n} x {k}, {tuning:?}");
        }
        // Pipelines of its own say that it went another way.
        assert!(made.iter().all(|&count| count > 0), "{m} x {n} x {k}: {made:?}");
    }
    Ok(())
}

/// Runs on the GPU with this cache folder; stdout, stderr, exit code.
fn on_gpu(cache: &Path, arguments: &[&str]) -> (String, String, Option<i32>) {
    let mut command = common::mode();
    let output = command.args(arguments).env("MODE_CACHE", cache).output().expect("the program");
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
    let (stdout, stderr, code) = on_gpu(cache, &["tune", "--dry-run", "--device", "gpu"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(KNOBS.iter().all(|knob| stdout.contains(knob.name)) && !cache.join("tune").exists(), "{stdout}");
    let (_, stderr, code) = on_gpu(Path::new("off"), &["tune", "gate_merge", "--device", "gpu"]);
    assert!(code == Some(2) && stderr.contains("MODE_CACHE is off"), "{stderr}");
    let tune = ["tune", "attention_backward", "--budget", "5m", "--json", "--device", "gpu"];
    let (stdout, stderr, code) = on_gpu(cache, &tune);
    assert_eq!(code, Some(0), "{stderr}");
    let found: serde_json::Value = serde_json::from_str(stdout.trim()).expect("JSON");
    let tried = found["choices"].as_array().expect("choices").iter().map(|choice| &choice["name"]);
    let names: Vec<_> = tried.chain(found["not_tried"].as_array().expect("names")).collect();
    assert_eq!(names, ["tall_backward"]);
    let file = Path::new(found["file"].as_str().expect("a file"));
    assert!(file.starts_with(cache), "{}", file.display());
    let written = std::fs::read_to_string(file).expect("a file");
    // One choice that is not what is built in, whatever was found here.
    let head: String =
        written.lines().take_while(|line| *line != "[[choice]]").map(|line| format!("{line}\n")).collect();
    let choice = |name: &str, value: u32, built_in: u32| {
        format!("{head}[[choice]]\nname = \"{name}\"\nvalue = {value}\nbuilt_in = {built_in}\nreason = \"a test\"\n")
    };
    let check = || on_gpu(cache, &["check", "gate_merge", "--draws", "2", "--seed", "3", "--device", "gpu"]);
    std::fs::write(file, choice("merge_lanes", 64, 32)).expect("written");
    let (_, stderr, code) = check();
    let says = format!("tuning: merge_lanes 64, by {}\n", file.display());
    assert!(!file.with_extension("trial").exists());
    assert!(code == Some(0) && stderr.contains(&says), "{stderr}");
    let (stdout, _, _) = on_gpu(cache, &["devices"]);
    assert!(stdout.contains(&says), "{stdout}");
    // Another run keeps what it did not try.
    let (_, stderr, code) = on_gpu(cache, &["tune", "attention", "--budget", "1s", "--device", "gpu"]);
    let kept = std::fs::read_to_string(file).expect("a file");
    assert!(
        code == Some(0) || code == Some(2) && stderr.contains("--budget 1s: nothing was tried to its end"),
        "{stderr}"
    );
    assert!(kept.contains("name = \"merge_lanes\"\nvalue = 64"), "{kept}");
    // Of another driver or text, cut off, or no text at all, it is ignored, and that is said.
    let altered = |contents: &[u8], says: &str| {
        std::fs::write(file, contents).expect("written");
        let (_, stderr, code) = check();
        let line = stderr.lines().find(|line| line.starts_with("tuning: ")).expect("a line").to_string();
        assert!(code == Some(0) && line.contains(" is ignored: ") && line.contains(says), "{stderr}");
        assert!(line.contains(text(file)) && line.ends_with("; mode tune writes it anew"), "{line}");
        let (stdout, _, _) = on_gpu(cache, &["devices"]);
        assert!(stdout.contains(&line), "{stdout}");
    };
    let key = |key: &str| written.lines().find(|line| line.starts_with(key)).expect("a key").to_string();
    altered(written.replace(&key("driver = "), "driver = \"another 1.0\"").as_bytes(), "its driver is 'another 1.0'");
    altered(written.replace(&key("shaders = "), "shaders = \"0123\"").as_bytes(), "the shaders' texts are others now");
    altered(choice("merge_lanes", 7, 32).as_bytes(), "merge_lanes can't be 7");
    altered(choice("merge_lanes", 64, 16).as_bytes(), "merge_lanes is built in as 32, not 16");
    altered(choice("attention_cooperative", 16, 0).as_bytes(), "attention_cooperative");
    altered(&written.as_bytes()[..written.find("driver").expect("a key") + 3], "");
    altered(b"\xff\xfe\x00", "it is no text");
    // Other texts of shaders are another tuning's, which has a file of its own.
    std::fs::write(file, choice("merge_lanes", 64, 32)).expect("written");
    let shaders = folder.path().join("shaders");
    std::fs::create_dir(&shaders).expect("a folder");
    std::fs::write(shaders.join("gate_merge.wgsl"), format!("{}\n", texts()["gate_merge.wgsl"])).expect("written");
    let mut program = common::mode();
    let output =
        program.args(["check", "add", "--device", "gpu"]).env("MODE_CACHE", cache).env("MODE_SHADERS", &shaders);
    let stderr = String::from_utf8_lossy(&output.output().expect("the program").stderr).into_owned();
    assert!(!stderr.contains("tuning: "), "{stderr}");
    std::fs::remove_file(file).expect("removed");
    assert!(!check().1.contains("tuning"));
}

#[test]
fn bad_input_is_refused_and_so_is_a_cpu() {
    refused(&["tune", "atention"], "did you mean 'attention'");
    refused(&["tune", "matmul", "add"], "'add' has nothing to choose; attention, ");
    for budget in ["0", "0s", "-5s", "soon", "1h", "nan", "inf", "1e9s"] {
        refused(&["tune", &format!("--budget={budget}")], "such as 60s or 5m");
    }
    refused(&["tune"], "there is nothing to tune on CPU, ");
    refused(&["tune", "--json"], "there is nothing to tune on CPU, ");
}
