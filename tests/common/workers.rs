//! A recipe with two experts, for the tests of `mode worker`: who has the backbone runs where its text lies, all others where it does not.

#![allow(dead_code)] // Not every test file uses all of it.

use super::common::{Recipes, mode, text};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Steps that no test waits for the end of.
pub const ENDLESS: &str = "train.steps=20000";

/// How soon all processes have to end once one is gone.
const SOON: Duration = Duration::from_secs(10);

pub struct Scene {
    pub recipes: Recipes,
    pub recipe: PathBuf,
    /// A folder with nothing in it.
    pub elsewhere: PathBuf,
}

impl Scene {
    pub fn new() -> Self {
        let recipes = Recipes::new();
        recipes.pretrain_with(2);
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

/// A process and the lines that it tells.
pub struct Running {
    pub child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    pub fn new(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program");
        let stderr = BufReader::new(child.stderr.take().expect("stderr"));
        let (tell, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line with these words.
    pub fn says(&mut self, words: &str) -> String {
        let began = Instant::now();
        while let Ok(line) = self.lines.recv_timeout(2 * SOON) {
            self.seen.push(line.clone());
            if line.contains(words) {
                return line;
            }
            assert!(began.elapsed() < 2 * SOON, "{words:?} is not in {:?}", self.seen);
        }
        panic!("{words:?} is not in {:?}", self.seen);
    }

    /// Its exit code, stdout and stderr, which have to come in time.
    pub fn ends(mut self) -> (i32, String, String) {
        let began = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().expect("a process") {
                break status.code().unwrap_or(-1);
            }
            assert!(
                began.elapsed() < SOON,
                "it has not ended: {:?} {:?}",
                self.seen,
                self.lines.try_iter().collect::<Vec<_>>()
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        self.seen.extend(self.lines.iter());
        let mut stdout = String::new();
        self.child.stdout.take().expect("stdout").read_to_string(&mut stdout).expect("UTF-8");
        assert!(!self.seen.iter().any(|line| line.contains("panicked")), "{:?}", self.seen);
        (code, stdout, self.seen.join("\n"))
    }

    /// It has to end with this code and one line of error that has these words.
    pub fn fails(self, code: i32, words: &str) {
        let (found, stdout, stderr) = self.ends();
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(found == code && errors.len() == 1 && errors[0].contains(words), "{words}: {found}, {stderr}");
        assert!(stdout.is_empty(), "{stdout}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a process a signal.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().expect("kill");
    assert!(sent.success());
}
