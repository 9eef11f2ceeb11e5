//! Runs on meshes: what they leave is what a run on one device leaves, they go on where they stopped, and say what does not fit.

mod common;

use common::{Recipes, refused, run, text};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const EXPERT: &str = "method = 'expert'\n[expert]\nname = 'tales'\ndomain = 'tales'\nblocks = 2\nlayers_per_block = 1";

/// A base model and a recipe of twelve steps for an expert, saved every three of them, on the layout that `mesh` names.
struct Story {
    recipes: Recipes,
}

impl Story {
    fn new() -> Self {
        Self::with(1)
    }

    /// The same with so many heads for keys and values.
    fn with(kv_heads: usize) -> Self {
        let recipes = Recipes::new();
        recipes.vary();
        recipes.pretrain_with(kv_heads);
        Self { recipes }
    }

    fn recipe(&self, name: &str, mesh: Option<&str>) -> PathBuf {
        let mesh = mesh.map_or_else(String::new, |layout| format!("\n[mesh]\nlayout = '{layout}'"));
        let file = self.recipes.write(name, &format!("{EXPERT}\n[checkpoint]\nevery = 3\nvalidation = 2{mesh}"));
        let longer = std::fs::read_to_string(&file).expect("a file").replace("steps = 4", "steps = 12");
        std::fs::write(&file, longer).expect("a file");
        file
    }

    fn out(&self, name: &str) -> PathBuf {
        self.recipes.path(name)
    }
}

fn record(out: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(out.join("run.json")).expect("a file")).expect("JSON")
}

fn losses(out: &Path) -> Vec<f64> {
    record(out)["losses"].as_array().expect("losses").iter().map(|loss| loss.as_f64().expect("a number")).collect()
}

fn train(recipe: &Path, more: &[&str]) -> String {
    let arguments: Vec<&str> = ["train", text(recipe)].into_iter().chain(more.iter().copied()).collect();
    let (stdout, stderr, code) = run(&arguments);
    assert_eq!(code, 0, "{stderr}");
    stdout
}

#[test]
fn a_run_on_a_mesh_leaves_what_one_device_leaves() {
    let story = Story::with(2);
    train(&story.recipe("alone", None), &[]);
    assert!(record(&story.out("alone")).get("layout").is_none());
    let (wanted, weights) = (losses(&story.out("alone")), |name: &str| {
        let file = mode_tensor::SafeTensors::open(&[story.out(name).join("expert.safetensors")]).expect("a file");
        let read =
            |name: &str| (name.to_string(), file.read(name, &file.shape(name).expect("there")).expect("numbers"));
        file.names().map(read).collect::<Vec<_>>()
    });
    for (name, layout) in [("two", "1+1"), ("data", "2x1"), ("three", "2x1+1"), ("tensor", "spmd-2"), ("both", "2+2")] {
        let said = train(&story.recipe(name, Some(layout)), &[]);
        assert!(said.contains("bit-identical"), "{said}");
        let meshes = record(&story.out(name))["layout"].as_str().expect("a layout").to_string();
        assert!(meshes.starts_with(&format!("{layout}: ")), "{meshes}");
        let found = losses(&story.out(name));
        assert!(
            found.len() == 12 && found.iter().zip(&wanted).all(|(a, b)| ((a - b) / b).abs() <= 1e-5),
            "{found:?} {wanted:?}"
        );
        for ((name, found), (other, wanted)) in weights(name).into_iter().zip(weights("alone")) {
            assert_eq!(name, other);
            let apart = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart <= 2e-3, "{name} on {layout} is {apart} apart");
        }
    }
}

#[test]
fn a_run_that_was_killed_goes_on_to_the_same_bits() {
    let story = Story::new();
    let recipe = story.recipe("whole", Some("1+1"));
    let steps = ["--set", "train.steps=300"];
    train(&recipe, &steps);
    let broken = story.out("broken");
    let last = || {
        let names =
            std::fs::read_dir(broken.join("checkpoints")).into_iter().flatten().flatten().map(|file| file.file_name());
        names.filter(|name| name.to_string_lossy().starts_with("step-")).max()
    };
    for time in 0..3 {
        let before = last();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mode"));
        command.args(["train", text(&recipe), "--out", text(&broken), "--device", "cpu"]).args(steps);
        command.args((time > 0).then_some("--resume")).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program");
        while last() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("killed");
        child.wait().expect("an end");
        assert!(!broken.join("run.json").exists(), "it has ended before it was killed");
    }
    train(&recipe, &[&["--out", text(&broken), "--resume"][..], &steps].concat());
    for file in ["expert.safetensors", "expert.json"] {
        let bytes = |out: &Path| std::fs::read(out.join(file)).expect("a file");
        assert!(bytes(&broken) == bytes(&story.out("whole")), "{file} differs");
    }
    assert_eq!(losses(&broken), losses(&story.out("whole")));
}

#[test]
fn another_layout_goes_on_where_one_stopped() {
    let story = Story::new();
    let (alone, moved) = (story.recipe("alone", None), story.out("moved"));
    train(&alone, &[]);
    train(&alone, &["--out", text(&moved)]);
    // As if it had been stopped after its last checkpoint but one.
    std::fs::remove_file(moved.join("run.json")).expect("a file");
    let mut saved: Vec<PathBuf> = std::fs::read_dir(moved.join("checkpoints"))
        .expect("a folder")
        .map(|file| file.expect("a file").path())
        .collect();
    saved.sort();
    std::fs::remove_file(saved.last().expect("a checkpoint")).expect("a file");
    let mesh = story.recipe("moved", Some("1+1"));
    train(&mesh, &["--resume"]);
    let (found, wanted) = (losses(&moved), losses(&story.out("alone")));
    assert_eq!([found.len(), wanted.len()], [12, 12]);
    assert!(found.iter().zip(&wanted).all(|(a, b)| ((a - b) / b).abs() <= 1e-5), "{found:?} {wanted:?}");
}

#[test]
fn what_does_not_fit_is_said_in_one_line() {
    let story = Story::new();
    let recipe = |name: &str, layout: &str| story.recipe(name, Some(layout));
    refused(&["train", text(&recipe("a", "spmd-2"))], "1 key and value heads can't be shared out evenly to 2 devices");
    refused(&["train", text(&recipe("b", "1+1+1"))], "2 meshes for experts, of which there are 1");
    refused(&["train", text(&recipe("c", "lots"))], "is no layout; write spmd-4");
    refused(&["train", text(&recipe("d", "1+1")), "--dry-run"], "mode mesh plan");
    let set = |set: &'static str| ["--set", set];
    let fits = recipe("e", "1+1");
    refused(
        &[&["train", text(&fits)][..], &set("mesh.devices=['cpu','cpu','cpu']")].concat(),
        "2 devices are wanted and 3 named",
    );
    refused(&[&["train", text(&fits)][..], &set("mesh.devices=['abacus']")].concat(), "abacus");
    refused(&[&["train", text(&fits)][..], &set("mesh.threads=0")].concat(), "mesh.threads lies between");
    refused(&[&["train", text(&fits)][..], &set("train.precision=f16")].concat(), "meshes compute in f32");
    refused(&[&["train", text(&fits)][..], &set("mesh.layuot=1+1")].concat(), "did you mean 'layout'?");
    let file = |name: &str, body: &str| {
        let path = story.recipes.path(name);
        std::fs::write(&path, body).expect("a file");
        path
    };
    let home = "[[mesh]]\nname = 'home'\n";
    for (name, body, says) in [
        ("orphan.toml", home.to_string(), "expert 'tales' has no device"),
        ("idle.toml", format!("{home}experts = ['tales']\n[[mesh]]\nname = 'idle'\n"), "mesh 'idle' has no experts"),
        ("twice.toml", format!("{home}{home}"), "two meshes are called 'home'"),
        ("strange.toml", format!("{home}experts = ['tale']"), "the recipe has no expert 'tale'"),
        ("empty.toml", format!("{home}experts = ['tales']\ntensor = 0"), "has no devices"),
        ("typo.toml", format!("{home}expert = ['tales']"), "did you mean 'experts'?"),
    ] {
        let layout = file(name, &body);
        refused(&["train", text(&recipe("f", text(&layout)))], says);
    }
    train(&story.recipe("tales", None), &[]);
    let tales = text(&story.out("tales")).to_string();
    let unfrozen =
        format!("method = 'compose'\n[compose]\nexperts = ['{tales}']\ntrain = 'everything'\n[mesh]\nlayout = '1+1'");
    refused(&["compose", text(&story.recipes.write("h", &unfrozen))], "with compose.train = \"all\" or \"gates\"");
    let pretrain = story.recipes.write("g", "method = 'pretrain'\n[mesh]\nlayout = '1+1'\n[model]\ntokenizer = 'x'\nwidth = 16\nhidden = 24\nlayers = 4\nheads = 2\nkv_heads = 1\npositions = 32");
    refused(&["train", text(&pretrain)], "has no use for [mesh]");
}

#[test]
fn threads_that_cannot_be_had_are_refused_before_anything_is_written() {
    let story = Story::new();
    let recipe = story.recipe("crowd", Some("1+1"));
    let crowded = |more: &[&str]| {
        let arguments = ["train", text(&recipe), "--set", "mesh.threads=4096"];
        refused(&[&arguments[..], more].concat(), "4096 threads a device are 8192 in this process");
    };
    crowded(&[]);
    assert!(!story.out("crowd").exists());
    train(&recipe, &[]);
    crowded(&["--force"]);
    assert_eq!(losses(&story.out("crowd")).len(), 12);
    let (_, stderr, code) = mesh(&["run", text(&recipe), "--mesh", "2x1", "--threads", "4096"]);
    assert!(code == 2 && stderr.contains("4096 threads a device are 8192 in this process"), "{code}: {stderr}");
}

/// stdout, stderr and exit code of `mode mesh ..`.
fn mesh(arguments: &[&str]) -> (String, String, i32) {
    let output = common::mode().arg("mesh").args(arguments).output().expect("the program");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
}

#[test]
fn layouts_are_compared_planned_and_drawn() {
    let story = Story::new();
    let recipe = story.recipe("expert", None);
    let (stdout, stderr, code) = mesh(&["run", text(&recipe), "--mesh", "1+1", "--compare", "2x1", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let found: serde_json::Value = serde_json::from_str(stdout.trim()).expect("one line of JSON");
    assert_eq!([&found[0]["layout"], &found[1]["layout"]], ["1+1", "2x1"]);
    assert!(found[0]["bytes_between"].as_u64() > Some(0) && found[1]["bytes_between"] == 0, "{found}");
    let hardware = story.recipes.path("hardware.toml");
    let (_, stderr, code) = mesh(&["calibrate", text(&recipe), "--out", text(&hardware)]);
    // The base's one key head can't be shared out, and a machine is measured by halves too.
    assert!(code == 2 && stderr.contains("layout spmd-2"), "{code}: {stderr}");
    let rates = "name = 'x'\n[device]\nmatmul_flop_per_second = 1e9\nattention_flop_per_second = 1e9\nbytes_per_second = 1e9\n\
                 launch_seconds = 1e-6\nmemory_bytes = 1e9\ncount = 2\n";
    std::fs::write(&hardware, rates).expect("a file");
    let plan = |more: &[&str]| mesh(&[&["plan", text(&recipe), "--hardware", text(&hardware)][..], more].concat());
    let (stdout, stderr, code) = plan(&[]);
    let best = ["best     2x1", "best     spmd-2x1"].iter().any(|best| stdout.contains(best));
    assert!(code == 0 && best, "{code}: {stdout}{stderr}");
    assert!(!stdout.contains("2+1"), "there are two devices: {stdout}");
    // A recipe's own mesh is what both go by.
    let own = story.recipe("own", Some("1+1"));
    let picture = story.recipes.path("own.svg");
    let own = |more: &[&str]| mesh(&[&["show", text(&own), "--out", text(&picture)][..], more].concat());
    let (stdout, stderr, code) = own(&["--set", "mesh.threads=2"]);
    assert!(code == 0 && stdout.contains("layout 1+1") && stdout.contains("of 2 threads each"), "{stdout}{stderr}");
    let (stdout, stderr, code) = own(&["--force", "--mesh", "2x1", "--threads", "1", "--set", "mesh.threads=2"]);
    assert!(code == 0 && stdout.contains("layout 2x1") && stdout.contains("of one thread each"), "{stdout}{stderr}");
    let drawn = story.recipes.path("step.svg");
    let show = |out: &Path, more: &[&str]| {
        mesh(
            &[&["show", text(&recipe), "--mesh", "1+1", "--out", text(out), "--hardware", text(&hardware)][..], more]
                .concat(),
        )
    };
    assert_eq!(show(&drawn, &[]).2, 0);
    let svg = std::fs::read_to_string(&drawn).expect("a file");
    assert!(svg.starts_with("<svg") && svg.contains("backbone 0") && svg.contains("tales, backward"), "{svg}");
    let refused = |(stdout, stderr, code): (String, String, i32), says: &str| {
        assert!(
            code == 2 && stdout.is_empty() && stderr.lines().count() == 1 && stderr.contains(says),
            "{says}: {code}, {stderr}"
        );
    };
    refused(show(&drawn, &[]), "exists already");
    refused(own(&["--force", "--set", "mesh.devices=['abacus']"]), "abacus");
    refused(own(&["--force", "--hardware", text(&hardware), "--threads", "2"]), "cannot be used with");
    refused(mesh(&["show", text(&recipe)]), "has no [mesh] with a layout");
    refused(mesh(&["run", text(&recipe), "--mesh", "1+1", "--link", "1"]), "layout 1+1: a device sends ");
    refused(show(&story.recipes.path("nowhere/step.svg"), &[]), "is no folder");
    refused(show(story.recipes.folder.path(), &["--force"]), "is no file that could be replaced");
    refused(plan(&["--mesh", "2x1+1"]), "does not have so many devices");
    for (was, is, says) in [
        ("launch_seconds = 1e-6", "launch_seconds = nan", "give 0 or more"),
        ("bytes_per_second = 1e9", "bytes_per_second = 0.0", "device.bytes_per_second is 0"),
        ("count = 2", "count = 0", "count is 0"),
        ("count = 2", "cuont = 2", "did you mean 'count'?"),
    ] {
        std::fs::write(&hardware, rates.replace(was, is)).expect("a file");
        refused(plan(&[]), says);
    }
    let (stdout, _, code) = mesh(&["simulate", "fig4", "--json"]);
    let figure: serde_json::Value = serde_json::from_str(stdout.trim()).expect("one line of JSON");
    assert!(code == 0 && figure["points"].as_array().map(Vec::len) == Some(24), "{figure}");
}

#[test]
fn gpus_of_a_mesh_are_opened_as_one_alone_is() {
    let Some(gpu) = common::gpu() else { return };
    let (story, cache) = (Story::new(), tempfile::tempdir().expect("a folder"));
    let recipe = story.recipe("expert", None);
    let run = |shaders: &Path| {
        let mut program = common::mode();
        program.args([
            "mesh",
            "run",
            text(&recipe),
            "--mesh",
            "2x1",
            "--device",
            "gpu",
            "--set",
            "train.steps=3",
            "--json",
        ]);
        let output =
            program.env("MODE_CACHE", cache.path()).env("MODE_SHADERS", shaders).output().expect("the program");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(output.stdout), text(output.stderr), output.status.code())
    };
    // What `mode tune` would have left.
    let adapter = gpu.adapter().map(|adapter| format!("{} through {}", adapter.name, adapter.backend));
    let adapter = adapter.expect("a GPU").to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let words: Vec<&str> = adapter.split('-').filter(|word| !word.is_empty()).collect();
    let tuned = cache.path().join(format!("tune/{:.80}.toml", words.join("-")));
    std::fs::create_dir_all(tuned.parent().expect("a folder")).expect("a folder");
    std::fs::write(&tuned, "program = 'another'").expect("a file");
    let (stdout, stderr, code) = run(Path::new(""));
    assert_eq!(code, Some(0), "{stderr}");
    // Timed at their launch, entries would leave half of a step to waiting for them.
    let found: serde_json::Value = serde_json::from_str(stdout.trim()).expect("one line of JSON");
    let busy = found[0]["busy"].as_array().expect("shares").iter().map(|share| share.as_f64().expect("a number"));
    let busy = busy.sum::<f64>() / 2.0;
    assert!((0.6..=1.0).contains(&busy) || gpu.is_hardware_gpu(), "{busy}");
    // Of the two there is as much to say as of one.
    let lines = |word: &str| stderr.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!([lines("device: "), lines("tuning: ")], [1, 1], "{stderr}");
    assert!(stderr.contains(&format!("tuning: {} is ignored", tuned.display())), "{stderr}");
    let kept = || {
        let files = std::fs::read_dir(cache.path().join("pipelines")).into_iter().flatten().flatten();
        let stamp =
            |file: std::fs::DirEntry| (file.file_name(), file.metadata().and_then(|about| about.modified()).ok());
        files.map(stamp).collect::<std::collections::BTreeMap<_, _>>()
    };
    if gpu.pipeline_cache_key().is_some() {
        let before = kept();
        assert_eq!(before.len(), 2, "a file for each device: {before:?}");
        assert_eq!(run(Path::new("")).2, Some(0));
        assert_eq!(kept(), before, "both had all that they need");
    }
    let shaders = story.recipes.path("shaders");
    std::fs::create_dir(&shaders).expect("a folder");
    std::fs::write(shaders.join("gate_merge.wgsl"), "not a shader").expect("a file");
    let (_, stderr, code) = run(&shaders);
    assert!(code == Some(2) && stderr.contains(text(&shaders.join("gate_merge.wgsl"))), "{code:?}: {stderr}");
}
