//! Inference with a private expert, whose owner answers by `mode expert serve`: what one process would have said, to the bit; who is refused;
//! who is told when a process is gone.
#![cfg(all(feature = "net", target_os = "linux"))]

#[path = "common/certificates.rs"]
mod certificates;
mod common;
#[path = "common/workers.rs"]
mod workers;

use certificates::certificates;
use common::{Recipes, text};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use workers::{Running, process, signal};

/// A composed model, whole and without the layers of its expert `math`, which are elsewhere beside no more of the base than config.json.
struct Scene {
    recipes: Recipes,
    elsewhere: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let recipes = Recipes::new();
        recipes.vary();
        recipes.pretrain();
        for name in ["code", "math"] {
            let expert = format!("[expert]\nname = '{name}'\ndomain = '{name}'\nblocks = 2\nlayers_per_block = 1");
            recipes.run("train", name, &format!("method = 'expert'\n{expert}"));
        }
        let experts = format!("['{}', '{}']", text(&recipes.path("code")), text(&recipes.path("math")));
        recipes.run("compose", "whole", &format!("method = 'compose'\n[compose]\nexperts = {experts}"));
        let scene = Self { elsewhere: recipes.path("elsewhere"), recipes };
        let (whole, part) = (scene.path("whole"), scene.path("part"));
        for file in ["mode.json", "gates.safetensors", "experts/code/expert.json", "experts/code/expert.safetensors"] {
            copy(&whole.join(file), &part.join(file));
        }
        let (info, weights) = ("experts/math/expert.json", "experts/math/expert.safetensors");
        copy(&whole.join(info), &part.join(info));
        set(&part.join(info), "private", Value::Bool(true));
        copy(&whole.join(info), &scene.elsewhere.join("math/expert.json"));
        copy(&whole.join(weights), &scene.elsewhere.join("math/expert.safetensors"));
        copy(&scene.path("base/config.json"), &scene.elsewhere.join("base/config.json"));
        certificates(scene.recipes.folder.path(), &["caller", "owner", "stranger"]);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.recipes.path(name)
    }

    /// The owner of an expert in a folder elsewhere, and where it waits.
    fn owner(&self, folder: &str) -> (Running, String) {
        let mut command = process(&self.elsewhere);
        command.args(["expert", "serve", folder, "--base", "base", "--listen", "127.0.0.1:0", "--device", "cpu"]);
        command.args(["--peer", text(&self.path("caller.pem"))]).args(self.identity("owner"));
        let mut owner = Running::new(command);
        let line = owner.says("waiting at ");
        let at = line.rsplit(' ').next().expect("an address").to_string();
        (owner, at)
    }

    fn identity(&self, name: &str) -> Vec<String> {
        let path = |end: &str| text(&self.path(&format!("{name}.{end}"))).to_string();
        vec!["--certificate".into(), path("pem"), "--key".into(), path("key")]
    }

    /// How `name` reaches the owner of `math`, which has to have the certificate of `peer`.
    fn reach(&self, name: &str, peer: &str, at: &str) -> Vec<String> {
        let peer = format!("math={}", text(&self.path(&format!("{peer}.pem"))));
        let reach = ["--connect".into(), format!("math={at}"), "--peer".into(), peer];
        reach.into_iter().chain(self.identity(name)).collect()
    }

    /// A command about a model.
    fn start(&self, command: &str, model: &str, arguments: &[&str], reach: &[String]) -> Running {
        let mut program = process(self.recipes.folder.path());
        program.args([command, "--model", model, "--device", "cpu"]).args(arguments).args(reach);
        Running::new(program)
    }

    /// What it finds out.
    fn finds(&self, command: &str, model: &str, arguments: &[&str], reach: &[String]) -> Value {
        let (code, stdout, stderr) = self.start(command, model, &[arguments, &["--json"]].concat(), reach).ends();
        assert_eq!(code, 0, "{command} {model}: {stderr}");
        let mut found: Value = serde_json::from_str(stdout.trim()).expect("JSON");
        for seconds in ["load_seconds", "prompt_seconds", "new_seconds", "tokens_per_second"] {
            found.as_object_mut().expect("an object").remove(seconds);
        }
        found
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    std::fs::copy(from, to).expect("a file");
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).expect("a file")).expect("JSON")
}

/// Sets a key of a JSON file.
fn set(file: &Path, key: &str, value: Value) {
    let mut found = json(file);
    found[key] = value;
    std::fs::write(file, found.to_string()).expect("a file");
}

const EVAL: [&str; 4] = ["--text", "english.txt", "--limit", "500"];
const ONE: [&str; 4] = ["--prompt", "w1 w2", "--max-new", "20"];

#[test]
fn answers_are_those_of_one_process() {
    let scene = Scene::new();
    let lines = [r#"{"ids": [1, 2, 3]}"#, r#"{"ids": [4], "experts": ["math"]}"#, r#"{"ids": [5, 6], "experts": []}"#];
    std::fs::write(scene.path("prompts.jsonl"), [lines.join("\n"), lines[0].into()].join("\n")).expect("a file");
    let many = ["--prompts", "prompts.jsonl", "--max-new", "9", "--batch", "3", "--temperature", "2"];
    let (mut owner, at) = scene.owner("math");
    let reach = scene.reach("caller", "owner", &at);
    for (command, arguments) in [("eval", &EVAL[..]), ("generate", &ONE), ("generate", &many)] {
        let whole = scene.finds(command, "whole", arguments, &[]);
        assert_eq!(scene.finds(command, "part", arguments, &reach), whole, "{command} {arguments:?}");
        owner.says("the caller has ended after");
        owner.says("waiting at ");
    }
    // Experts of stage 1, one of them as the half that others get.
    let public =
        ["expert", "private", text(&scene.path("math")), "--public", text(&scene.path("half"))].map(String::from);
    assert!(process(&scene.elsewhere).args(public).status().expect("the program").success());
    std::fs::rename(scene.path("math"), scene.elsewhere.join("stage-1")).expect("moved");
    let (_owner, at) = scene.owner("stage-1");
    let reach = scene.reach("caller", "owner", &at);
    let with =
        |expert: &str| ["--expert", "code", "--expert", expert, "--prompt", "w1", "--max-new", "20"].map(String::from);
    let find = |expert: &str, reach: &[String]| {
        scene.finds("generate", "base", &with(expert).each_ref().map(String::as_str), reach)
    };
    assert_eq!(find("half", &reach), find("elsewhere/stage-1", &[]));
}

#[test]
fn others_are_refused() {
    let scene = Scene::new();
    let (mut owner, at) = scene.owner("math");
    let eval = |reach: &[String]| scene.start("eval", "part", &EVAL, reach);
    eval(&scene.reach("stranger", "owner", &at)).fails(2, "does not take this process's certificate");
    owner.says("which is not the process with the certificate of --peer");
    eval(&scene.reach("caller", "stranger", &at)).fails(2, "shows another certificate than that of --peer");
    owner.says("refused");
    // Owners of other experts than the model's.
    let other = |folder: &str, file: &str, key: &str, value: Value| {
        for file in ["expert.json", "expert.safetensors"] {
            copy(&scene.elsewhere.join("math").join(file), &scene.elsewhere.join(folder).join(file));
        }
        set(&scene.elsewhere.join(file), key, value);
        scene.owner(folder)
    };
    for (folder, key, value, says) in [
        ("law", "name", "law".into(), "expert 'math' at 127.0.0.1:"),
        ("law-2", "name", "law".into(), "has another expert (law; here math)"),
        ("based", "base_sha256", "ab".repeat(32).into(), "has another base (abababababab; here "),
    ] {
        let (mut owner, at) = other(folder, &format!("{folder}/expert.json"), key, value);
        eval(&scene.reach("caller", "owner", &at)).fails(2, says);
        owner.says("refused");
    }
    let base = json(&scene.path("base/config.json"));
    let epsilon = Value::from(2.0 * base["rms_norm_eps"].as_f64().expect("a number"));
    set(&scene.elsewhere.join("base/config.json"), "rms_norm_eps", epsilon.clone());
    let info = json(&scene.path("math/expert.json"));
    let mut config = info["base_config"].clone();
    config["rms_norm_eps"] = epsilon;
    let (mut bent, at) = other("bent", "bent/expert.json", "base_config", config);
    eval(&scene.reach("caller", "owner", &at)).fails(2, "has another configuration of the base");
    bent.says("refused");
    // A base that is there as a whole has to be the expert's.
    copy(&scene.path("base/config.json"), &scene.elsewhere.join("base/config.json"));
    copy(&scene.path("whole/gates.safetensors"), &scene.elsewhere.join("base/model.safetensors"));
    let mut command = process(&scene.elsewhere);
    command.args(["expert", "serve", "math", "--base", "base", "--listen", "127.0.0.1:0", "--device", "cpu"]);
    command.args(["--peer", text(&scene.path("caller.pem"))]).args(scene.identity("owner"));
    Running::new(command).fails(2, "made for the base model with hash");
}

#[test]
fn what_can_t_be_asked_for_is_told() {
    let scene = Scene::new();
    let (_owner, at) = scene.owner("math");
    let reach = scene.reach("caller", "owner", &at);
    let eval = |more: &[&str], reach: &[String]| scene.start("eval", "part", &[&EVAL, more].concat(), reach);
    eval(&[], &[]).fails(2, "where `mode expert serve` answers for them, give --connect math=HOST:PORT");
    eval(&["--grad-norms"], &reach).fails(2, "through which no gradients go");
    let named = |name: &str| reach.iter().map(|word| word.replace("math=", name)).collect::<Vec<_>>();
    eval(&["--without", "math"], &named("meth="))
        .fails(2, "--peer meth: there is no such expert; did you mean 'code'?");
    scene.start("eval", "whole", &EVAL, &named("meth=")).fails(2, "did you mean 'math'?");
    scene.start("eval", "whole", &EVAL, &named("")).fails(2, "write NAME=");
    scene.start("eval", "base", &EVAL, &reach).fails(2, "there is none");
    eval(&["--patience", "1"], &scene.reach("caller", "owner", "127.0.0.1:9")).fails(2, "can't be reached");
    // An owner whose base has fewer positions says so to who asks for more.
    let base = scene.elsewhere.join("base/config.json");
    set(&base, "max_position_embeddings", 4.into());
    let (mut owner, at) = scene.owner("math");
    eval(&[], &scene.reach("caller", "owner", &at)).fails(1, "has given up: asked for ");
    owner.says("given up: asked for ");
    owner.says("waiting at ");
    let without = |model: &str| scene.finds("eval", model, &[&EVAL[..], &["--without", "math"]].concat(), &[]);
    assert_eq!(without("part"), without("whole"), "who is left out need not be there");
}

#[test]
fn who_is_killed_is_named_and_an_owner_goes_on() {
    let scene = Scene::new();
    let (mut owner, at) = scene.owner("math");
    let reach = scene.reach("caller", "owner", &at);
    let long = ["--text", "english.txt"];
    let eval = |owner: &mut Running| {
        let caller = scene.start("eval", "part", &long, &reach);
        owner.says("answering");
        caller
    };
    let mut caller = eval(&mut owner);
    signal(caller.child.id(), "STOP");
    scene.start("eval", "part", &EVAL, &reach).fails(2, "has a caller already");
    caller.child.kill().expect("killed");
    owner.says("the caller is gone");
    owner.says("waiting at ");
    assert_eq!(scene.finds("generate", "part", &ONE, &reach), scene.finds("generate", "whole", &ONE, &[]));
    owner.says("the caller has ended after");
    // One that stands still is a broken connection; one that is killed is so at once.
    for kills in [true, false] {
        let (mut owner, at) = scene.owner("math");
        let caller = scene.start("eval", "part", &long, &scene.reach("caller", "owner", &at));
        owner.says("answering");
        signal(owner.child.id(), "STOP");
        std::thread::sleep(Duration::from_millis(200));
        if kills {
            owner.child.kill().expect("killed");
        }
        caller.fails(1, &format!("expert 'math' at {at} is gone"));
    }
}
