//! A recipe with two experts, for the tests of `mode worker`: who has the backbone runs where its text lies, all others where it does not.

#![allow(dead_code)] // Not every test file uses all of it.

use super::common::{Recipes, mode, text};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Steps that no test waits for the end of.
pub const ENDLESS: &str = "train.steps=20000";

pub struct Scene {
    pub recipes: Recipes,
    pub recipe: PathBuf,
    /// A folder with nothing in it.
    pub elsewhere: PathBuf,
}

impl Scene {
    pub fn new() -> Self {
        let recipes = Recipes::new();
        let model = format!(
            "method = 'pretrain'\n[model]\ntokenizer = '{}'\nwidth = 16\nhidden = 24\nlayers = 4\nheads = 2\n\
             kv_heads = 2\npositions = 32",
            text(&recipes.path("tokenizer.json"))
        );
        recipes.run("train", "base", &model);
        for name in ["code", "math"] {
            let expert = format!("[expert]\nname = '{name}'\ndomain = '{name}'\nblocks = 2\nlayers_per_block = 1");
            recipes.run("train", name, &format!("method = 'expert'\n{expert}"));
        }
        let experts = format!("['{}', '{}']", text(&recipes.path("code")), text(&recipes.path("math")));
        let recipe = recipes.write("both", &format!("method = 'compose'\n[compose]\nexperts = {experts}"));
        let written = std::fs::read_to_string(&recipe).expect("a file");
        let relative = written.replace(text(&recipes.path("english.txt")), "english.txt");
        std::fs::write(&recipe, relative.replace("steps = 4", "steps = 20")).expect("a file");
        let elsewhere = recipes.path("elsewhere");
        std::fs::create_dir(&elsewhere).expect("a folder");
        Self { recipes, recipe, elsewhere }
    }

    /// Where the text lies.
    pub fn home(&self) -> &Path {
        self.recipes.folder.path()
    }

    /// The losses of 20 steps on a layout in one process.
    pub fn in_process(&self, layout: &str) -> Vec<f64> {
        let mut program = mode();
        program.current_dir(self.home()).args(["mesh", "run", text(&self.recipe), "--mesh", layout, "--json"]);
        let output = program.output().expect("the program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        losses(&String::from_utf8_lossy(&output.stdout))
    }
}

/// The losses on the last line of stdout.
pub fn losses(stdout: &str) -> Vec<f64> {
    let found: serde_json::Value = serde_json::from_str(stdout.lines().last().expect("a line")).expect("JSON");
    let losses: Vec<f64> =
        found[0]["losses"].as_array().expect("losses").iter().filter_map(serde_json::Value::as_f64).collect();
    assert_eq!(losses.len(), 20, "{found}");
    let busy: Vec<f64> =
        found[0]["busy"].as_array().expect("shares").iter().filter_map(serde_json::Value::as_f64).collect();
    assert_eq!(Some(busy.len() as u64), found[0]["devices"].as_u64(), "{found}");
    assert!(busy.iter().all(|share| (0.0..=1.0).contains(share) && *share > 0.0), "{found}");
    losses
}

/// The program as a process of its own, with all that it says.
pub fn process(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mode"));
    command.env("MODE_CACHE", "off").current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit code, or -1 after a signal; panics where a process does not end in time.
pub fn ends(child: &mut Child, within: Duration) -> i32 {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a process") {
            return status.code().unwrap_or(-1);
        }
        if began.elapsed() > within {
            let _ = child.kill();
            panic!("a process has not ended within {} s", within.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a process a signal.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().expect("kill");
    assert!(sent.success());
}
