//! `mode worker` under mpirun: the same losses as in one process, and what is told of processes that do not fit or are killed.
#![cfg(all(feature = "mpi", target_os = "linux"))]

mod common;
#[path = "common/workers.rs"]
mod workers;

use common::text;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use workers::{ENDLESS, Running, Scene, losses, signal};

/// True if there is an mpirun; CI installs one.
fn has_mpirun() -> bool {
    let there = Command::new("mpirun").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "mpirun is missing");
    if !there {
        eprintln!("skipped: there is no mpirun");
    }
    there
}

/// Processes by the words of their meshes, `count` of each, with arguments of their own.
fn mpirun(scene: &Scene, meshes: &[(usize, &str, &[&str])], arguments: &[&str]) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe"]).env("MODE_CACHE", "off");
    for (number, (count, mesh, own)) in meshes.iter().enumerate() {
        let first = meshes[0].1 == *mesh;
        let folder = if first { scene.home() } else { &scene.elsewhere };
        command.args((number > 0).then_some(":")).args(["-n", &count.to_string(), "-wdir", text(folder)]);
        command.args([env!("CARGO_BIN_EXE_mode"), "worker", "--mesh", mesh, text(&scene.recipe)]);
        command.args(arguments).args(*own);
        // Without a folder to leave there are only losses to see.
        command.args((!arguments.contains(&"--out")).then_some("--measure"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(mut command: Command) -> (String, String, i32) {
    let output = command.output().expect("mpirun");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
}

#[test]
fn losses_are_those_of_one_process() {
    if !has_mpirun() {
        return;
    }
    let scene = Scene::new();
    for (layout, meshes) in [
        ("1+1", &[(1, "backbone", &[][..]), (1, "experts", &[])][..]),
        ("1+2", &[(1, "backbone", &[]), (2, "experts", &[])]),
        ("1+1+1", &[(1, "backbone", &[]), (1, "code", &[]), (1, "math", &[])]),
        ("spmd-2", &[(2, "all", &[])]),
    ] {
        let (stdout, stderr, code) = output(mpirun(&scene, meshes, &["--json"]));
        assert_eq!(code, 0, "{layout}: {stderr}");
        assert_eq!(losses(&stdout), scene.in_process(layout), "{layout}");
        let others: usize = meshes.iter().map(|(count, ..)| count).sum::<usize>() - 1;
        assert_eq!(stderr.matches("done after 20 steps").count(), others, "{stderr}");
    }
}

#[test]
fn a_run_leaves_what_one_process_leaves_also_when_it_was_killed() {
    if !has_mpirun() {
        return;
    }
    let scene = Scene::new();
    let out = |name: &str| text(&scene.recipes.path(name)).to_string();
    let steps = ["--set", "train.steps=200", "--set", "checkpoint.every=10"];
    let mut alone = workers::process(scene.home());
    alone.args(["compose", text(&scene.recipe), "--out", &out("alone"), "--set", "mesh.layout=1+2"]).args(steps);
    assert!(alone.output().expect("the program").status.success());
    let meshes: &[(usize, &str, &[&str])] = &[(1, "backbone", &[]), (2, "experts", &[])];
    let run = |name: &str, more: &[&str]| {
        mpirun(&scene, meshes, &[&steps[..], &["--out", &out(name), "--quiet"], more].concat())
    };
    let broken = Running::new(run("broken", &[]));
    let saved = scene.recipes.path("broken").join("checkpoints");
    while !std::fs::read_dir(&saved).is_ok_and(|files| files.count() > 0) {
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(experts(&broken), "KILL");
    assert_ne!(broken.ends().0, 0);
    for (name, more) in [("whole", &[][..]), ("broken", &["--resume"])] {
        let (_, stderr, code) = output(run(name, more));
        assert_eq!(code, 0, "{stderr}");
        for file in ["gates.safetensors", "experts/code/expert.safetensors", "experts/math/expert.safetensors"] {
            let bytes = |name: &str| std::fs::read(scene.recipes.path(name).join(file)).expect("a file");
            assert!(bytes("alone") == bytes(name), "{file} of {name} differs");
        }
    }
}

/// Copies the files of a folder into a new one.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a folder");
    for file in std::fs::read_dir(from).expect("a folder").flatten().filter(|file| file.path().is_file()) {
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a file");
    }
}

#[test]
fn a_private_expert_of_a_composition_stays_with_its_owner() {
    if !has_mpirun() {
        return;
    }
    let scene = Scene::new();
    let (home, elsewhere) = (scene.home(), &scene.elsewhere);
    let done = |arguments: &[&str]| {
        let output = workers::process(home).args(arguments).output().expect("the program");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap_or(-1), stderr)
    };
    let alone = ["compose", text(&scene.recipe), "--out", "alone", "--set", "mesh.layout='1+1+1'"];
    assert_eq!(done(&alone).0, 0);

    for expert in ["code", "math"] {
        copy(&home.join(expert), &elsewhere.join(expert));
    }
    std::fs::remove_dir_all(home.join("math")).expect("removed");
    let (whole, public) = (elsewhere.join("math"), home.join("math"));
    assert_eq!(done(&["expert", "private", text(&whole), "--public", text(&public)]).0, 0);
    let (code, stderr) = done(&["expert", "private", text(&public), "--public", "again"]);
    assert!(code == 2 && stderr.contains("holds no layers"), "{stderr}");
    let own = |recipe: String| recipe.replace(&format!("{}/", text(home)), "");
    let relative = own(std::fs::read_to_string(&scene.recipe).expect("a file"));
    let base = format!("base = '{}'", text(&home.join("base")));
    std::fs::write(&scene.recipe, relative.replace("base = 'base'", &base)).expect("a file");
    let (code, stderr) = done(&alone);
    assert!(code == 2 && stderr.contains("expert 'math' is private"), "{stderr}");

    let mpirun = |meshes: &[(usize, &str, &[&str])]| output(mpirun(&scene, meshes, &["--out", "composed", "--quiet"]));
    for (meshes, says) in [
        (&[(1, "backbone", &[][..]), (2, "experts", &[])][..], "has 2 devices in as many processes"),
        (&[(2, "all", &[])], "puts it beside the backbone"),
    ] {
        let (_, stderr, code) = mpirun(meshes);
        assert!(code == 2 && stderr.contains("expert 'math' is private") && stderr.contains(says), "{stderr}");
    }
    let (_, stderr, code) = mpirun(&[(1, "backbone", &[]), (1, "code", &[]), (1, "math", &[])]);
    assert_eq!(code, 0, "{stderr}");
    let same = |file: &str, folder: &Path| {
        let bytes = |folder: &Path| std::fs::read(folder.join(file)).expect("a file");
        assert!(bytes(&home.join("alone")) == bytes(folder), "{file} differs");
    };
    let [main, owner] = [home, elsewhere].map(|folder| folder.join("composed"));
    same("gates.safetensors", &main);
    same("experts/code/expert.safetensors", &main);
    same("experts/math/expert.safetensors", &owner);
    assert!(main.join("experts/math/expert.json").exists() && !main.join("experts/math/expert.safetensors").exists());
    assert!(!owner.join("gates.safetensors").exists() && !owner.join("experts/code").exists());
    let (code, stderr) = done(&["generate", "--model", "composed", "--prompt", "a"]);
    assert!(code == 2 && stderr.contains("holds no layers"), "{stderr}");
}

#[test]
fn processes_that_do_not_fit_are_told_in_one_line() {
    if !has_mpirun() {
        return;
    }
    let scene = Scene::new();
    let none: &[&str] = &[];
    for (meshes, arguments, says) in [
        (&[(1, "a", none), (1, "b", none), (1, "a", none)][..], none, "mesh 'a' is there twice"),
        (&[(1, "a", none), (1, "code", none)], none, "expert 'math' has no device"),
        (&[(1, "a", none), (1, "b", none)], &["--layout", "1+1"], "process 0 says --mesh a"),
        (&[(1, "a", none), (1, "b", none)], &["--layout", "1+2"], "mpirun has started 2 processes"),
        (&[(1, "a", none), (3, "b", none)], none, "can't be shared out evenly to 3 devices"),
        (&[(1, "a", none), (1, "b", &["--set", "train.decay=0.5"])], none, "device 1 of mesh 'b' has another recipe"),
    ] {
        let (stdout, stderr, code) = output(mpirun(&scene, meshes, arguments));
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(code == 2 && errors.len() == 1 && errors[0].contains(says), "{says}: {code}, {stderr}");
        assert!(!stderr.contains("panicked") && !stdout.contains("layout"), "{stdout}{stderr}");
    }
}

/// A run of two processes in the midst of its steps, and the process of the experts.
fn stepping(scene: &Scene, patience: &str) -> (Running, u32) {
    let meshes: &[(usize, &str, &[&str])] = &[(1, "backbone", &[]), (1, "experts", &[])];
    let mut running = Running::new(mpirun(scene, meshes, &["--set", ENDLESS, "--patience", patience]));
    running.says("stepping");
    std::thread::sleep(Duration::from_millis(500));
    let experts = experts(&running);
    (running, experts)
}

/// The process of the experts, or one of them.
fn experts(running: &Running) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.child.id()));
    let is_experts = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).any(|word| word == b"experts")
    };
    let children = children.expect("a list of processes");
    let experts = children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_experts);
    experts.expect("the process of the experts")
}

#[test]
fn all_end_with_one_that_is_killed_or_silent() {
    if !has_mpirun() {
        return;
    }
    let scene = Scene::new();
    let (running, experts) = stepping(&scene, "60");
    signal(experts, "KILL");
    // Here the launcher has the word.
    let (code, _, stderr) = running.ends();
    assert!(code != 0 && stderr.contains("exited on signal 9"), "{code}: {stderr}");
    let (running, experts) = stepping(&scene, "2");
    signal(experts, "STOP");
    running.fails(1, "device 1 of mesh 'experts' has sent nothing for 2 s");
    // The launcher ends what stands still as well; nothing of it is to stay.
    if std::path::Path::new(&format!("/proc/{experts}")).exists() {
        signal(experts, "KILL");
    }
}
