//! A run that is stopped, killed or damaged goes on to the same bits.

mod common;

use common::{Recipes, devices, gpu, refused, run, text};
use mode::Error;
use mode::train::{Event, Existing, Finished, Recipe};
use mode_kernels::Device;
use mode_kernels::fill_hash::hash;
use mode_tensor::{SafeTensors, Tensor, write_safetensors};
use std::ops::ControlFlow;
#[cfg(target_os = "linux")]
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Runs killed at random moments; ten times as many with `MODE_CAMPAIGN=1`.
const KILLS: u64 = 5;

/// Files of an expert trained without a break, and the recipe.
struct Story {
    recipes: Recipes,
    recipe: PathBuf,
    whole: PathBuf,
}

impl Story {
    fn new() -> Self {
        let recipes = Recipes::new();
        // Varied enough that most of it stays once near-duplicates are dropped, and each split has some.
        let word = |i: u32| format!("w{}", hash(1, i) >> 23);
        let english = |i: u32| word(i) + if i.is_multiple_of(40) { ".\n\n" } else { " " };
        let tales: String = (0..60_000).map(english).collect();
        std::fs::write(recipes.path("english.txt"), tales).expect("a file");
        recipes.pretrain();
        let body = "method = 'expert'\n[expert]\nname = 'tales'\ndomain = 'tales'\nblocks = 2\nlayers_per_block = 1\n\
                    [checkpoint]\nevery = 4\nvalidation = 2";
        let recipe = recipes.write("expert", body);
        let longer = std::fs::read_to_string(&recipe).expect("a file").replace("steps = 4", "steps = 30");
        std::fs::write(&recipe, longer).expect("a file");
        let whole = recipes.path("whole");
        let (_, stderr, code) = run(&["train", text(&recipe), "--out", text(&whole)]);
        assert_eq!(code, 0, "{stderr}");
        Self { recipes, recipe, whole }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.recipes.path(name)
    }

    fn arguments<'a>(&'a self, out: &'a Path) -> Vec<&'a str> {
        vec!["train", text(&self.recipe), "--out", text(out), "--device", "cpu"]
    }

    /// Starts a run and kills it after `delay`, at whatever it is doing.
    fn kill(&self, out: &Path, resume: bool, delay: Duration) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mode"));
        command.args(self.arguments(out)).args(resume.then_some("--resume"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program");
        std::thread::sleep(delay);
        // It may have ended already.
        let _ = child.kill();
        child.wait().expect("the program's end");
    }

    fn resume(&self, out: &Path) -> String {
        let (_, stderr, code) = run(&["train", text(&self.recipe), "--out", text(out), "--resume"]);
        assert_eq!(code, 0, "{stderr}");
        stderr
    }

    /// The files that a run makes, which are the same whether it was stopped or not.
    fn assert_same(&self, out: &Path) {
        for folder in [out.to_path_buf(), out.join("checkpoints")] {
            for file in std::fs::read_dir(&folder).expect("a folder") {
                let name = file.expect("a file").file_name();
                assert!(!name.to_string_lossy().starts_with('.'), "{name:?} is left in {}", folder.display());
            }
        }
        for file in ["expert.safetensors", "expert.json"] {
            let read = |folder: &Path| std::fs::read(folder.join(file)).expect("a file");
            assert!(read(out) == read(&self.whole), "{file} differs");
        }
        let losses = |folder: &Path| {
            let text = std::fs::read_to_string(folder.join("metrics.jsonl")).expect("a file");
            let number = |line: &str| {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                (line["step"].as_u64(), line["loss"].to_string(), line["validation_loss"].to_string())
            };
            text.lines().map(number).collect::<Vec<_>>()
        };
        assert_eq!(losses(out), losses(&self.whole));
    }

    fn checkpoints(&self, out: &Path) -> Vec<PathBuf> {
        let files = std::fs::read_dir(out.join("checkpoints")).expect("a folder");
        let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
        files.sort();
        files
    }
}

#[test]
fn killed_at_any_moment_a_run_resumes_to_the_same_bits() {
    let story = Story::new();
    let kills = if std::env::var_os("MODE_CAMPAIGN").is_some() { 10 * KILLS } else { KILLS };
    for i in 0..kills {
        let out = story.out(&format!("killed-{i}"));
        // Moments all over a run's time, the same ones each time the test runs.
        story.kill(&out, false, Duration::from_millis(20 + i * 7919 % 480));
        story.kill(&out, true, Duration::from_millis(15 + i * 104_729 % 350));
        story.resume(&out);
        story.assert_same(&out);
    }
    eprintln!("killed and resumed {kills} times: the same bits each time");
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let story = Story::new();
    let out = story.out("damaged");
    let (_, _, code) = run(&["train", text(&story.recipe), "--out", text(&out)]);
    assert_eq!(code, 0);
    std::fs::remove_file(out.join("run.json")).expect("a file");
    let files = story.checkpoints(&out);
    assert_eq!(files.len(), 2, "the last two are kept: {files:?}");
    let last = files.last().expect("a checkpoint");
    let mut bytes = std::fs::read(last).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(last, &bytes).expect("a file");
    let said = story.resume(&out);
    assert!(said.contains("damaged") && said.contains("going on after step 24"), "{said}");
    assert!(last.with_extension("damaged").exists(), "it is set aside, not lost");
    std::fs::remove_file(last.with_extension("damaged")).expect("a file");
    story.assert_same(&out);
    // Half of each: the run begins anew, and still ends the same.
    std::fs::remove_file(out.join("run.json")).expect("a file");
    for file in story.checkpoints(&out) {
        let bytes = std::fs::read(&file).expect("a file");
        std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("a file");
    }
    let arguments = ["train", text(&story.recipe), "--out", text(&out), "--resume", "--quiet"];
    let (_, said, code) = run(&arguments);
    assert!(code == 0 && !said.contains("going on"), "{said}");
    assert_eq!(said.matches("damaged checkpoint").count(), 2, "said aloud, though quiet: {said}");
    story.assert_same(&out);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_resume_goes_on() {
    let story = Story::new();
    let recipe = std::fs::read_to_string(&story.recipe).expect("a file");
    // Long enough that the signal comes while it steps.
    std::fs::write(&story.recipe, recipe.replace("steps = 30", "steps = 100000").replace("every = 4", "every = 0"))
        .expect("a file");
    let out = story.out("stopped");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mode"));
    let mut child = command.args(story.arguments(&out)).stderr(Stdio::piped()).spawn().expect("the program");
    let metrics = out.join("metrics.jsonl");
    while !std::fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() > 3) {
        assert!(child.try_wait().expect("a process").is_none(), "it has ended already");
        std::thread::sleep(Duration::from_millis(5));
    }
    let twice = story.arguments(&out);
    let second: Vec<&str> = twice[..4].iter().copied().chain(["--force"]).collect();
    refused(&second, "another run is writing");
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(kill.success());
    let status = child.wait().expect("the program's end");
    assert_eq!(status.code(), Some(130));
    let [checkpoint] = story.checkpoints(&out).try_into().expect("one checkpoint");
    assert!(checkpoint.to_string_lossy().contains("step-"));
    let set = ["train", text(&story.recipe), "--out", text(&out), "--resume", "--set", "train.learning_rate=1e-5"];
    refused(&set, "train.learning_rate is 0.003 there and 0.00001 now");
}

#[test]
fn a_run_that_has_ended_is_not_resumed_by_another_recipe() {
    let story = Story::new();
    let recipe = story.whole.join("recipe.toml");
    let written = std::fs::read_to_string(&recipe).expect("a file");
    let commented = format!("# mine\n{written}");
    std::fs::write(&recipe, &commented).expect("a file");
    let arguments = ["train", text(&recipe), "--resume"];
    assert_eq!(run(&arguments).2, 0);
    refused(&[&arguments[..], &["--set", "train.steps=31"]].concat(), "train.steps is 30 there and 31 now");
    refused(&["train", text(&recipe), "--force"], "is itself a file that --force would replace");
    assert_eq!(std::fs::read_to_string(&recipe).expect("a file"), commented, "it is as its author left it");
}

#[test]
fn windows_as_long_as_the_positions_can_be_validated() {
    let story = Story::new();
    let out = story.out("long");
    let (_, stderr, code) = run(&["train", text(&story.recipe), "--out", text(&out), "--set", "train.length=32"]);
    assert_eq!(code, 0, "{stderr}");
    refused(
        &["train", text(&story.recipe), "--out", text(&story.out("longer")), "--set", "train.length=33"],
        "32 positions",
    );
    assert!(!story.out("longer").exists());
}

#[test]
fn a_folder_of_something_else_is_not_resumed() {
    let story = Story::new();
    let out = story.out("else");
    std::fs::create_dir(&out).expect("a folder");
    std::fs::write(out.join("diary.txt"), "dear diary").expect("a file");
    refused(&["train", text(&story.recipe), "--out", text(&out), "--resume"], "holds no run");
    assert_eq!(std::fs::read_dir(&out).expect("a folder").count(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_can_not_be_written_to_is_refused() {
    let story = Story::new();
    let folder = story.out("sealed");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o555)).expect("permissions");
    // Root writes wherever it likes, but not there.
    let root = std::fs::write(folder.join("probe"), "").is_ok();
    let out = if root { PathBuf::from("/proc/mode-run") } else { folder.join("run") };
    refused(&["train", text(&story.recipe), "--out", text(&out)], text(&out));
    assert!(!out.exists());
}

/// What a run on `device` tells of its steps: the number of each that begins, and negative that of each that is read; and the run's
/// end. The listener breaks where it is told `at`.
fn told(recipe: &Recipe, device: &Device, existing: Existing, at: &[i64]) -> (Vec<i64>, Result<Finished, Error>) {
    let mut told = Vec::new();
    let end = mode::train::run(recipe, device, existing, &mut |event| {
        let step = match event {
            Event::Begin(step) => step as i64,
            Event::Step(report) => -(report.step as i64),
            Event::Say(_) | Event::Warn(_) => return ControlFlow::Continue(()),
        };
        told.push(step);
        if at.contains(&step) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (told, end)
}

#[test]
fn two_steps_are_in_flight_on_a_gpu_and_one_on_the_cpu() {
    let story = Story::new();
    let mut recipe = Recipe::read(&story.recipe, &["train.steps=10".into()]).expect("a recipe");
    for device in devices().into_iter().filter(|device| !device.name().starts_with("reference")) {
        recipe.out = story.out(if device.is_gpu() { "flights-gpu" } else { "flights-cpu" });
        // A checkpoint is due after step 4, step 7 is to have the device for itself, and at step 9 somebody stops the run.
        let (events, end) = told(&recipe, &device, Existing::Refuse, &[7, -9]);
        assert!(matches!(end, Ok(Finished { steps: 10, .. })) == device.is_gpu(), "{end:?}");
        let expected: &[i64] = match device.is_gpu() {
            true => &[1, 2, -1, 3, -2, 4, -3, -4, 5, 6, -5, 7, -6, -7, 8, -8, 9, 10, -9, -10],
            false => &[1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7, 8, -8, 9, -9],
        };
        assert_eq!(events, expected, "{}", device.name());
    }
}

/// The recipe's run on `device`, and one that is stopped twice and goes on, leave the same files; how many of the steps were skipped.
fn assert_goes_on(story: &Story, recipe: &mut Recipe, device: &Device, name: &str) -> Option<u64> {
    let whole = story.out(&format!("whole-{name}"));
    recipe.out.clone_from(&whole);
    told(recipe, device, Existing::Refuse, &[]).1.expect("a run");
    recipe.out = story.out(&format!("stopped-{name}"));
    // On a GPU a step is under way then, which is saved too.
    let more = if device.is_gpu() { 1 } else { 0 };
    for (stop, existing) in [(5, Existing::Refuse), (10, Existing::Resume)] {
        let end = told(recipe, device, existing, &[-stop]).1;
        assert!(matches!(end, Err(Error::Interrupted { step, .. }) if step as i64 == stop + more), "{end:?}");
    }
    told(recipe, device, Existing::Resume, &[]).1.expect("a run");
    let files = |folder: &Path| {
        let lines = std::fs::read_to_string(folder.join("metrics.jsonl")).expect("a file");
        let steps = lines.lines().filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let facts = ["step", "loss", "loss_scale", "skipped_steps"].map(|name| line[name].to_string());
            line.get("loss").map(|_| facts)
        });
        let record = std::fs::read_to_string(folder.join("run.json")).expect("a file");
        let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
        let weights =
            ["expert.safetensors", "experts/tales/expert.safetensors", "gates.safetensors", "base/model.safetensors"]
                .map(|file| std::fs::read(folder.join(file)).unwrap_or_default());
        assert!(weights.iter().any(|weights| !weights.is_empty()), "{name}: no weights");
        (steps.collect::<Vec<_>>(), record["scaling"].clone(), weights)
    };
    let (ours, theirs) = (files(&whole), files(&recipe.out));
    assert_eq!((&ours.0, &ours.1), (&theirs.0, &theirs.1), "{name}");
    assert!(theirs.2 == ours.2, "{name}: the weights differ");
    ours.1["skipped"].as_u64()
}

#[test]
fn so_does_one_that_trains_the_backbone_too() {
    let story = Story::new();
    let body = format!(
        "method = 'compose'\n[compose]\nexperts = ['{}']\ntrain = 'everything'\n[checkpoint]\nevery = 4",
        text(&story.whole)
    );
    let file = story.recipes.write("unfrozen", &body);
    let mut recipe = Recipe::read(&file, &["train.steps=14".into()]).expect("a recipe");
    assert_eq!(assert_goes_on(&story, &mut recipe, &Device::cpu(), "unfrozen"), None);
    let said = |name: &str| std::fs::read_to_string(story.out(name).join("run.json")).expect("a file");
    assert!(said("whole-unfrozen").contains("\"trained\": \"the base model, expert tales and its gates\""));
}

#[test]
fn a_run_that_is_stopped_on_a_gpu_goes_on_to_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let story = Story::new();
    let mut recipe = Recipe::read(&story.recipe, &["train.steps=14".into()]).expect("a recipe");
    assert_eq!(assert_goes_on(&story, &mut recipe, &gpu, "gpu"), None);
}

#[test]
fn so_does_one_in_mixed_precision_and_what_it_knows_of_its_scale() {
    let story = Story::new();
    let mut recipe =
        Recipe::read(&story.recipe, &["train.steps=14".into(), "train.precision=f16".into()]).expect("a recipe");
    // So great a gradient of the stream that the first scales are too great: steps are skipped before each stop.
    let file = story.out("base").join("model.safetensors");
    let (cpu, tensors) = (Device::cpu(), SafeTensors::open(std::slice::from_ref(&file)).expect("a file"));
    let changed = |name: &str| {
        let shape = tensors.shape(name).expect("a tensor");
        let factor = if name == "model.norm.weight" { 3_000.0 } else { 1.0 };
        let values: Vec<f32> = tensors.read(name, &shape).expect("a tensor").iter().map(|v| v * factor).collect();
        (name.to_string(), Tensor::from_slice(&cpu, &values, &shape).expect("fits"))
    };
    let changed = tensors.names().map(changed).collect();
    drop(tensors);
    write_safetensors(&file, &changed, |_| false, &[]).expect("written");
    for device in [cpu].into_iter().chain(gpu().filter(|gpu| gpu.capabilities().f16)) {
        let name = if device.is_gpu() { "mixed-gpu" } else { "mixed-cpu" };
        let skipped = assert_goes_on(&story, &mut recipe, &device, name);
        assert!(skipped.is_some_and(|skipped| (6..13).contains(&skipped)), "{skipped:?}");
    }
}

#[test]
fn a_lost_gpu_ends_the_run_which_goes_on_elsewhere() {
    let Some(gpu) = gpu() else { return };
    let story = Story::new();
    let out = story.out("lost");
    let mut recipe = Recipe::read(&story.recipe, &[]).expect("a recipe");
    recipe.out.clone_from(&out);
    let mut steps = 0;
    let lost = mode::train::run(&recipe, &gpu, Existing::Refuse, &mut |event| {
        if let Event::Step(_) = event {
            steps += 1;
            if steps == 10 {
                gpu.lose();
            }
        }
        ControlFlow::Continue(())
    });
    let error = lost.expect_err("a lost device").to_string();
    assert!(error.contains("lost") && steps == 10, "after {steps} steps: {error}");
    let said = story.resume(&out);
    assert!(said.contains("going on after step 8"), "{said}");
    // Not the bits of a run on one device: the first eight steps were a GPU's.
    assert!(out.join("expert.safetensors").exists());
}

#[test]
fn a_full_disk_is_an_error_that_loses_nothing() {
    // A file of the size limit stands for the disk: the shell's ulimit counts blocks of 512 or 1024 bytes.
    if cfg!(not(target_os = "linux")) {
        return;
    }
    let story = Story::new();
    let out = story.out("full");
    story.kill(&out, false, Duration::from_millis(1));
    let script = format!(
        "trap '' XFSZ; ulimit -f 40; exec {} train {} --out {} --resume --device cpu",
        env!("CARGO_BIN_EXE_mode"),
        text(&story.recipe),
        text(&out)
    );
    let output = std::process::Command::new("bash").args(["-c", &script]).output().expect("bash");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("error: ") && stderr.contains("free space"), "{stderr}");
    let partial = |path: &PathBuf| path.to_string_lossy().ends_with(".mode-partial");
    assert!(!out.join("checkpoints").exists() || !story.checkpoints(&out).iter().any(partial));
    story.resume(&out);
    story.assert_same(&out);
}
