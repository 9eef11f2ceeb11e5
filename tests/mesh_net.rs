//! `mode worker` over gRPC: the same losses as in one process; who is refused; who is told when a process is gone.
#![cfg(all(feature = "net", target_os = "linux"))]

#[path = "common/certificates.rs"]
mod certificates;
mod common;
#[path = "common/workers.rs"]
mod workers;

use certificates::certificates;
use common::text;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;
use workers::{ENDLESS, Running, Scene, losses, process, signal};

/// A scene in which the main process, two workers and a stranger have certificates.
fn scene() -> Scene {
    let scene = Scene::new();
    certificates(scene.home(), &["main", "one", "two", "stranger"]);
    scene
}

/// `mode worker` as `name`, with more arguments.
fn start(scene: &Scene, name: &str, mesh: &str, layout: &str, arguments: &[&str]) -> Running {
    let path = |end: &str| text(&scene.recipes.path(&format!("{name}.{end}"))).to_string();
    let folder = if name == "main" { scene.home() } else { &scene.elsewhere };
    let mut command = process(folder);
    command.args(["worker", text(&scene.recipe), "--mesh", mesh, "--layout", layout]);
    command.args(["--certificate", &path("pem"), "--key", &path("key")]).args(arguments);
    // Without a folder to leave there are only losses to see.
    let leaves = arguments.iter().any(|argument| ["--out", LEAVES].contains(argument));
    command.args((!leaves).then_some("--measure"));
    Running::new(command)
}

/// What a worker is started with that does not measure.
const LEAVES: &str = "--quiet";

/// One that waits for the main process, and where it does.
fn worker(scene: &Scene, name: &str, mesh: &str, layout: &str, more: &[&str]) -> (Running, String) {
    let peer = scene.recipes.path("main.pem");
    let listen = ["--listen", "127.0.0.1:0", "--peer", text(&peer)];
    let mut worker = start(scene, name, mesh, layout, &[&listen, more].concat());
    let line = worker.says("waiting at ");
    let at = line.rsplit(' ').next().expect("an address").to_string();
    (worker, at)
}

/// The main process, which reaches each of `workers`: mesh, name and address.
fn main_process(scene: &Scene, layout: &str, workers: &[(&str, &str, &str)], more: &[&str]) -> Running {
    let reach = |(mesh, name, at): &(&str, &str, &str)| {
        let file = scene.recipes.path(&format!("{name}.pem"));
        ["--connect".into(), format!("{mesh}={at}"), "--peer".into(), format!("{mesh}={}", text(&file))]
    };
    let reach: Vec<String> = workers.iter().flat_map(reach).collect();
    let arguments: Vec<&str> = reach.iter().map(String::as_str).chain(more.iter().copied()).collect();
    start(scene, "main", "backbone", layout, &arguments)
}

#[test]
fn losses_are_those_of_one_process() {
    let scene = scene();
    for layout in ["1+1", "1+2", "1+1+1"] {
        let expected = scene.in_process(layout);
        let mut workers = vec![("experts-1", "one", worker(&scene, "one", "experts-1", layout, &[]))];
        if layout == "1+1+1" {
            workers.push(("experts-2", "two", worker(&scene, "two", "experts-2", layout, &[])));
        }
        let reach: Vec<_> = workers.iter().map(|(mesh, name, (_, at))| (*mesh, *name, at.as_str())).collect();
        let (code, stdout, stderr) = main_process(&scene, layout, &reach, &["--json"]).ends();
        assert_eq!(code, 0, "{layout}: {stderr}");
        assert_eq!(losses(&stdout), expected, "{layout}");
        for (_, _, (worker, _)) in workers {
            let (code, _, stderr) = worker.ends();
            assert!(code == 0 && stderr.contains("done after 20 steps"), "{layout}: {code}, {stderr}");
        }
    }
}

/// Windows one after the other, of which halves are computed again.
const PARTLY: [&str; 4] = ["--set", "train.accumulate=2", "--set", "train.recompute=true"];

/// A run of 200 steps, saved every ten of them, over three processes, the main one's with `more`; `meanwhile` is shown the second worker.
fn run(scene: &Scene, more: &[&str], meanwhile: impl FnOnce(&mut Running)) -> [Running; 3] {
    let steps = [&PARTLY[..], &["--set", "train.steps=200", "--set", "checkpoint.every=10", LEAVES]].concat();
    let (one, at_one) = worker(scene, "one", "experts-1", "1+1+1", &steps);
    let (mut two, at_two) = worker(scene, "two", "experts-2", "1+1+1", &steps);
    let reach = [("experts-1", "one", at_one.as_str()), ("experts-2", "two", &at_two)];
    let main = main_process(scene, "1+1+1", &reach, &[&steps, more].concat());
    two.says("stepping");
    meanwhile(&mut two);
    [main, one, two]
}

#[test]
fn a_run_leaves_what_one_process_leaves_also_when_a_worker_was_killed() {
    let scene = scene();
    let out = |name: &str| text(&scene.recipes.path(name)).to_string();
    let mut alone = process(scene.home());
    alone.args(["compose", text(&scene.recipe), "--out", &out("alone"), "--set", "mesh.layout=1+1+1"]);
    alone.args(["--set", "train.steps=200", "--set", "checkpoint.every=10"]).args(PARTLY);
    assert!(alone.output().expect("the program").status.success());
    let same = |name: &str| {
        for file in ["gates.safetensors", "experts/code/expert.safetensors", "experts/math/expert.safetensors"] {
            let bytes = |name: &str| std::fs::read(scene.recipes.path(name).join(file)).expect("a file");
            assert!(bytes("alone") == bytes(name), "{file} of {name} differs");
        }
    };
    for process in run(&scene, &["--out", &out("whole")], |_| {}) {
        let (code, _, stderr) = process.ends();
        assert_eq!(code, 0, "{stderr}");
    }
    same("whole");
    let saved = scene.recipes.path("broken").join("checkpoints");
    let [main, one, _] = run(&scene, &["--out", &out("broken")], |two| {
        while !std::fs::read_dir(&saved).is_ok_and(|files| files.count() > 0) {
            std::thread::sleep(Duration::from_millis(5));
        }
        two.child.kill().expect("killed");
    });
    main.fails(1, "device 2 of mesh 'experts-2' is gone");
    one.fails(1, "device 2 of mesh 'experts-2' is gone");
    assert!(!scene.recipes.path("broken").join("run.json").exists(), "it had not ended");
    for process in run(&scene, &["--out", &out("broken"), "--resume"], |_| {}) {
        let (code, _, stderr) = process.ends();
        assert_eq!(code, 0, "{stderr}");
    }
    same("broken");
}

/// The processes of a private expert's backbone and of its owner, in the folders and with the arguments of each.
fn private(
    scene: &Scene,
    recipe: &Path,
    main: &[&str],
    owner: &[&str],
    meanwhile: impl FnOnce(&mut Running),
) -> [Running; 2] {
    let with = |name: &str, mesh: &str, folder: &Path, more: &[&str]| {
        let path = |end: &str| text(&scene.recipes.path(&format!("{name}.{end}"))).to_string();
        let mut command = process(folder);
        command.args(["worker", text(recipe), "--mesh", mesh, "--quiet"]);
        command.args(["--certificate", &path("pem"), "--key", &path("key")]).args(more);
        Running::new(command)
    };
    let certificate = |name: &str| text(&scene.recipes.path(&format!("{name}.pem"))).to_string();
    let listen = ["--layout", "1+2", "--listen", "127.0.0.1:0", "--peer", &certificate("main")];
    let mut worker = with("one", "experts-1", &scene.elsewhere, &[&listen[..], owner].concat());
    let line = worker.says("waiting at ");
    let at = format!("experts-1={}", line.rsplit(' ').next().expect("an address"));
    let peer = format!("experts-1={}", certificate("one"));
    let connect = ["--layout", "1+2", "--connect", &at, "--peer", &peer];
    let main = with("main", "backbone", scene.home(), &[&connect[..], main].concat());
    meanwhile(&mut worker);
    [main, worker]
}

#[test]
fn a_private_expert_stays_with_its_owner() {
    let scene = scene();
    scene.recipes.vary();
    let body = "method = 'expert'\n[checkpoint]\nevery = 10\nvalidation = 2\n[expert]\nname = 'law'\ndomain = 'law'\n\
                blocks = 2\nlayers_per_block = 1\nprivate = true";
    let recipe = scene.recipes.write("law", body);
    let english = text(&scene.recipes.path("english.txt")).to_string();
    let written = std::fs::read_to_string(&recipe).expect("a file").replace("steps = 4", "steps = 200");
    std::fs::write(&recipe, written.replace(&english, "english.txt")).expect("a file");
    let there = |folder: &Path, file: &str| std::fs::read(folder.join(file)).expect("a file");
    let home = |name: &str| scene.home().join(name);
    let owners = |name: &str| scene.elsewhere.join(name);

    // In one process it is refused; made public it is what the owner has to have in the end.
    let one = |more: &[&str]| {
        let mut command = process(scene.home());
        command.args(["train", text(&recipe), "--out", "alone", "--set", "mesh.layout='1+2'"]).args(more);
        let output = command.output().expect("the program");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, stderr) = one(&[]);
    assert!(code == Some(2) && stderr.contains("expert 'law' is private"), "{stderr}");
    assert!(!home("alone").exists());
    let (code, stderr) = one(&["--set", "expert.private=false"]);
    assert_eq!(code, Some(0), "{stderr}");

    let both = |main: &[&str], owner: &[&str], meanwhile: &dyn Fn(&mut Running)| {
        private(&scene, &recipe, main, owner, meanwhile)
    };
    for process in both(&["--out", "whole"], &["--out", "whole"], &|_| {}) {
        let (code, _, stderr) = process.ends();
        assert_eq!(code, 0, "{stderr}");
    }
    assert!(there(&home("alone"), "expert.safetensors") == there(&owners("whole"), "expert.safetensors"));
    let names = |folder: &Path| {
        let file = mode_tensor::SafeTensors::open(&[folder.join("expert.safetensors")]).expect("a file");
        file.names().map(str::to_string).collect::<Vec<_>>()
    };
    let gates = names(&home("whole"));
    assert!(!gates.is_empty() && gates.iter().all(|name| name.contains("gate")), "{gates:?}");
    let (_, stderr, code) =
        common::run(&["generate", "--model", text(&home("base")), "--expert", text(&home("whole")), "--prompt", "a"]);
    assert!(code == 2 && stderr.contains("holds no layers"), "{stderr}");

    // Killed, both go on to the same bits.
    let saved = owners("broken").join("checkpoints");
    let [main, owner] = both(&["--out", "broken"], &["--out", "broken"], &|owner| {
        while !std::fs::read_dir(&saved).is_ok_and(|files| files.count() > 2) {
            std::thread::sleep(Duration::from_millis(5));
        }
        owner.child.kill().expect("killed");
    });
    main.fails(1, "is gone");
    assert_ne!(owner.ends().0, 0);
    for process in both(&["--out", "broken", "--resume"], &["--out", "broken", "--resume"], &|_| {}) {
        let (code, _, stderr) = process.ends();
        assert_eq!(code, 0, "{stderr}");
    }
    for file in ["expert.safetensors", "expert.json"] {
        assert!(there(&owners("whole"), file) == there(&owners("broken"), file), "{file}");
        assert!(there(&home("whole"), file) == there(&home("broken"), file), "{file}");
    }
    let record =
        |name: &str| serde_json::from_slice::<serde_json::Value>(&there(&home(name), "run.json")).expect("JSON");
    assert_eq!(record("whole")["losses"], record("broken")["losses"]);
    // What has ended stays so, and all processes say so.
    let resume = ["--out", "broken", "--resume"];
    let [main, owner] = both(&resume, &resume, &|_| {}).map(Running::ends);
    assert!(main.0 == 0 && owner.0 == 0 && owner.2.contains("the run has ended already"), "{main:?} {owner:?}");
    // One that is told so and has nothing says what to do; and that is how it gets it, though there is no step left.
    std::fs::remove_file(owners("broken").join("expert.safetensors")).expect("removed");
    let [main, owner] = both(&resume, &resume, &|_| {}).map(Running::ends);
    assert!(main.0 == 0 && owner.0 == 2 && owner.2.contains("lacks expert 'law'"), "{main:?} {owner:?}");
    std::fs::remove_file(home("broken").join("run.json")).expect("removed");
    // An owner that can't go on says why, to the main process too.
    let [saved, away] = ["checkpoints", "away"].map(|name| owners("broken").join(name));
    std::fs::rename(&saved, &away).expect("moved");
    let [main, owner] = both(&resume, &resume, &|_| {});
    main.fails(1, "holds no checkpoint of step 200");
    owner.fails(2, "holds no checkpoint of step 200");
    let _ = std::fs::remove_dir_all(&saved);
    std::fs::rename(&away, &saved).expect("moved back");
    for process in both(&resume, &resume, &|_| {}) {
        let (code, _, stderr) = process.ends();
        assert_eq!(code, 0, "{stderr}");
    }
    assert!(there(&owners("whole"), "expert.safetensors") == there(&owners("broken"), "expert.safetensors"));
    // Also of no steps at all something is left.
    let none = ["--out", "none", "--set", "train.steps=0"];
    for process in both(&none, &none, &|_| {}) {
        let (code, _, stderr) = process.ends();
        assert_eq!(code, 0, "{stderr}");
    }
    assert_eq!(names(&owners("none")), names(&owners("whole")));
    let [main, owner] = both(&resume, &["--out", "other"], &|_| {});
    main.fails(2, "has another use of --resume (not given; here given)");
    drop(owner);
}

#[test]
fn meshes_without_a_process_are_the_main_process_s() {
    let scene = scene();
    let expected = scene.in_process("1+1+1");
    let (worker, at) = worker(&scene, "two", "experts-2", "1+1+1", &[]);
    let (code, stdout, stderr) = main_process(&scene, "1+1+1", &[("experts-2", "two", &at)], &["--json"]).ends();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(losses(&stdout), expected);
    assert_eq!(worker.ends().0, 0);
}

#[test]
fn processes_start_in_any_order() {
    let scene = scene();
    let (mut one, at_one) = worker(&scene, "one", "experts-1", "1+1+1", &["--patience", "1"]);
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let reach = [("experts-1", "one", at_one.as_str()), ("experts-2", "two", &free)];
    // A main process that gives up takes no worker with it.
    main_process(&scene, "1+1+1", &reach, &["--patience", "2"]).fails(2, "mesh 'experts-2'");
    one.says("has gone before it began");
    one.says("waiting at ");
    let mut main = main_process(&scene, "1+1+1", &reach, &["--json"]);
    main.says("waiting for mesh 'experts-2'");
    main_process(&scene, "1+1+1", &reach, &[]).fails(2, "has a caller already");
    // Longer than the first worker's patience, which is for those who have begun.
    std::thread::sleep(Duration::from_millis(1_500));
    let certificate = text(&scene.recipes.path("main.pem")).to_string();
    let two = start(&scene, "two", "experts-2", "1+1+1", &["--listen", &free, "--peer", &certificate]);
    let (code, stdout, stderr) = main.ends();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(losses(&stdout), scene.in_process("1+1+1"));
    assert_eq!([one.ends().0, two.ends().0], [0, 0]);
}

#[test]
fn strangers_and_other_recipes_are_refused_and_the_right_one_is_taken_after_all() {
    let scene = scene();
    let (mut worker, at) = worker(&scene, "one", "experts-1", "1+1", &[]);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 300], b"\x16\x03\x01\xff\xff\x01", b""] {
        let mut stream = TcpStream::connect(&at).expect("a connection");
        stream.write_all(bytes).expect("sent");
        drop(stream);
        worker.says("which is not the process with the certificate of --peer");
    }
    let main = |reach: (&str, &str), more: &[&str]| main_process(&scene, "1+1", &[(reach.0, reach.1, &at)], more);
    main(("experts-1", "two"), &[]).fails(2, "shows another certificate than that of --peer");
    worker.says("refused");
    let certificate = |end: &str| text(&scene.recipes.path(&format!("stranger.{end}"))).to_string();
    let peer = format!("experts-1={}", text(&scene.recipes.path("one.pem")));
    let mut stranger = process(scene.home());
    stranger.args(["worker", text(&scene.recipe), "--mesh", "backbone", "--layout", "1+1", "--peer", &peer]);
    stranger.args(["--connect", &format!("experts-1={at}")]);
    stranger.args(["--certificate", &certificate("pem"), "--key", &certificate("key")]);
    let output = stranger.output().expect("the program");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && stderr.contains("does not take this process's certificate"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    worker.says("which is not the process with the certificate of --peer");
    main(("experts-1", "one"), &["--set", "train.decay=0.5"]).fails(2, "has another recipe");
    worker.says("which has another recipe");
    main_process(&scene, "1+1+1", &[("experts-1", "one", &at)], &[]).fails(2, "has another layout");
    // What is saved where is each process's own affair.
    let (code, stdout, stderr) = main(("experts-1", "one"), &["--json", "--set", "out='elsewhere'"]).ends();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(losses(&stdout), scene.in_process("1+1"));
    assert_eq!(worker.ends().0, 0);
}

#[test]
fn what_can_t_be_reached_or_is_asked_for_twice_is_told() {
    let scene = scene();
    let main = |workers: &[(&str, &str, &str)], more: &[&str]| main_process(&scene, "1+1+1", workers, more);
    let two = [("experts-1", "one", "127.0.0.1:9"), ("experts-1", "one", "127.0.0.1:10")];
    main(&two, &[]).fails(2, "mesh 'experts-1' is reached twice");
    main(&[("backbone", "one", "127.0.0.1:9")], &[]).fails(2, "is this process's own");
    main(&[("expert-1", "one", "127.0.0.1:9")], &[]).fails(2, "did you mean 'experts-1'?");
    main(&[("experts-1", "one", "127.0.0.1:9")], &["--patience", "1"]).fails(2, "can't be reached");
    main(&[("experts-1", "one", "nowhere")], &[]).fails(2, "can't be reached");
    // A port where somebody says something else, or nothing for too long.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            // Who is called may be gone.
            let _ = stream.write_all(b"220 mail\r\n");
        }
    });
    main(&[("experts-1", "one", &at)], &[]).fails(2, "does not talk as it should");
    // A worker of another mesh.
    let (mut worker, at) = worker(&scene, "two", "experts-2", "1+1+1", &[]);
    main(&[("experts-1", "two", &at)], &[]).fails(2, "is mesh 'experts-2'");
    worker.says("which takes this for mesh 'experts-1'");
    let key = text(&scene.recipes.path("two.key")).to_string();
    let arguments = ["--connect", "experts-1=127.0.0.1:9", "--peer", "x", "--key", &key];
    let mut other = process(scene.home());
    other.args(["worker", text(&scene.recipe), "--mesh", "backbone", "--layout", "1+1", "--certificate"]);
    let output = other.arg(scene.recipes.path("one.pem")).args(arguments).output().expect("the program");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no key to"), "{output:?}");
}

/// The main process and two workers in the midst of their steps.
fn stepping(scene: &Scene, patience: &str) -> [Running; 3] {
    let endless = ["--set", ENDLESS, "--patience", patience];
    let (mut one, at_one) = worker(scene, "one", "experts-1", "1+1+1", &endless);
    let (mut two, at_two) = worker(scene, "two", "experts-2", "1+1+1", &endless);
    let reach = [("experts-1", "one", at_one.as_str()), ("experts-2", "two", &at_two)];
    let main = main_process(scene, "1+1+1", &reach, &endless);
    one.says("stepping");
    two.says("stepping");
    std::thread::sleep(Duration::from_millis(500));
    [main, one, two]
}

#[test]
fn all_end_with_one_that_is_killed_or_silent() {
    let scene = scene();
    let [main, mut one, two] = stepping(&scene, "60");
    one.child.kill().expect("killed");
    main.fails(1, "device 1 of mesh 'experts-1' is gone");
    two.fails(1, "device 1 of mesh 'experts-1' is gone");
    let [mut main, one, two] = stepping(&scene, "60");
    main.child.kill().expect("killed");
    one.fails(1, "device 0 of mesh 'backbone' is gone");
    two.fails(1, "device 0 of mesh 'backbone' is gone");
    // One that stands still is given up, and finds itself alone when it goes on.
    let [main, one, two] = stepping(&scene, "4");
    signal(two.child.id(), "STOP");
    main.fails(1, "device 2 of mesh 'experts-2' has sent nothing for 4 s");
    signal(two.child.id(), "CONT");
    one.fails(1, "mesh '");
    two.fails(1, "mesh '");
    // Without a ping's answer a connection is broken, however patient its devices are.
    let [main, one, two] = stepping(&scene, "60");
    signal(two.child.id(), "STOP");
    main.fails(1, "device 2 of mesh 'experts-2' is gone");
    one.fails(1, "device 2 of mesh 'experts-2' is gone");
}
