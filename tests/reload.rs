//! Shaders from a folder (`MODE_SHADERS`), and checks that are repeated as they are saved.

mod common;

use assert_cmd::prelude::CommandCargoExt;
use common::{gpu, mode, text};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A built-in file.
fn shader(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(file)).expect("a shader")
}

fn changed(file: &str, from: &str, to: &str) -> String {
    let text = shader(file);
    assert_eq!(text.matches(from).count(), 1, "{from:?} in {file}");
    text.replace(from, to)
}

/// Stdout, stderr and exit code with the shaders of a folder.
fn run(folder: &Path, arguments: &[&str]) -> (String, String, i32) {
    let output = mode().args(arguments).env("MODE_SHADERS", folder).output().expect("the program");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
}

#[test]
fn a_folder_that_replaces_nothing_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |folder: &Path, arguments: &[&str], says: &str| {
        let (stdout, stderr, code) = run(folder, arguments);
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(code == 2 && stdout.is_empty() && errors.len() == 1 && errors[0].contains(says), "{says:?}: {stderr}");
    };
    let check = ["check", "fill", "--device", "cpu"];
    refused(&folder.path().join("none"), &check, "none: ");
    refused(folder.path(), &check, "a folder without .wgsl files");
    std::fs::write(folder.path().join("gate_merg.wgsl"), "").expect("written");
    refused(folder.path(), &check, "no kernel has a shader 'gate_merg.wgsl'; did you mean 'gate_merge.wgsl'?");
    // A folder that is sound is of no use to a processor, and that is said.
    std::fs::rename(folder.path().join("gate_merg.wgsl"), folder.path().join("gate_merge.wgsl")).expect("moved");
    let (_, stderr, code) = run(folder.path(), &check);
    assert!(code == 0 && stderr.contains("only a GPU runs any"), "{stderr}");
    refused(folder.path(), &["check", "gate", "--watch", "--device", "cpu"], "add --device gpu");
    refused(Path::new(""), &["check", "gate", "--watch", "--device", "cpu"], "--watch needs MODE_SHADERS=DIR");
}

#[test]
fn a_shader_of_the_folder_runs_and_its_errors_have_a_place() {
    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    std::fs::create_dir(path.join("shared")).expect("a folder");
    let write = |file: &str, text: &str| std::fs::write(path.join(file), text).expect("written");
    let check = ["check", "fill", "embedding", "--device", "gpu"];

    // Right, though other than the built-in one: with the shared file of another kernel.
    write("fill.wgsl", &(shader("fill.wgsl") + "// mine"));
    write("shared/weight.wgsl", &shader("shared/weight.wgsl"));
    let (stdout, stderr, code) = run(path, &check);
    assert!(code == 0 && stdout.contains("ok     fill") && stdout.contains("ok     embedding"), "{stdout}{stderr}");
    let said = format!(" from {}", text(path));
    assert!(stderr.lines().any(|line| line.starts_with("shaders: 2 of ") && line.ends_with(&said)), "{stderr}");

    // Wrong numbers.
    write("fill.wgsl", &changed("fill.wgsl", "Stored(params.value)", "Stored(1.001 * params.value)"));
    let (stdout, stderr, code) = run(path, &check);
    assert!(
        code == 1
            && stdout.contains("WRONG  fill")
            && stderr.contains("fill disagrees")
            && stderr.contains("puts in place"),
        "{stdout}{stderr}"
    );

    // No shader, in a file that others share.
    let shared = shader("shared/weight.wgsl") + "fn broken() -> u32 {\n    return nothing + 1u;\n}\n";
    write("shared/weight.wgsl", &shared);
    let (stdout, stderr, code) = run(path, &check);
    let number = shared.lines().count() - 1;
    let place = format!("{}:{number}:12: no definition in scope", text(&path.join("shared/weight.wgsl")));
    assert!(code == 1 && stdout.contains(&place) && stderr.contains("embedding could not be run"), "{stdout}{stderr}");
    let (below, blank) = (format!("\n{number} |     return nothing + 1u;\n"), " ".repeat(number.to_string().len()));
    assert!(stdout.contains(&below) && stdout.contains(&format!("\n{blank} |            ^^^^^^^ ")), "{stdout}");

    // A command that stops there: one line, and the excerpt below it.
    write("shared/weight.wgsl", &shader("shared/weight.wgsl"));
    write("gate_merge.wgsl", &(shader("gate_merge.wgsl") + "fn broken() -> u32 { return 1.5; }\n"));
    let (stdout, stderr, code) = run(path, &["bench", "W3", "--device", "gpu"]);
    assert!(code == 2 && stdout.is_empty(), "{stdout}{stderr}");
    let lines: Vec<&str> = stderr.lines().skip_while(|line| !line.starts_with("error: ")).collect();
    let place = format!("error: kernel gate_merge: {}:", text(&path.join("gate_merge.wgsl")));
    assert!(lines.len() >= 4 && lines[0].starts_with(&place), "{stderr}");
    assert!(lines[2].ends_with(" | fn broken() -> u32 { return 1.5; }") && lines[3].contains("^"), "{stderr}");

    // What only a look at the kernel, or the device, can find.
    for (from, to, says) in [
        ("fn main(", "fn other(", "fill.wgsl: there is no entry point 'fn main'"),
        ("@binding(1)", "@binding(9)", "the kernel has no buffer 9 in group 0"),
        ("@workgroup_size(256)", "@workgroup_size(100000)", "fill.wgsl: "),
    ] {
        write("fill.wgsl", &changed("fill.wgsl", from, to));
        let (stdout, stderr, code) = run(path, &["check", "fill", "--device", "gpu"]);
        assert!(code == 1 && stdout.contains(says) && stdout.contains("kernel fill: "), "{to}: {stdout}{stderr}");
    }
    let stored = "var<workgroup> much: array<f32, 1000000>;\n@compute";
    let used =
        changed("fill.wgsl", "@compute", stored).replacen("Stored(params.value)", "Stored(params.value + much[i])", 1);
    write("fill.wgsl", &used);
    let (stdout, stderr, code) = run(path, &["check", "fill", "--device", "gpu"]);
    assert!(
        code == 1 && stdout.contains("fill.wgsl: main takes 4000000 bytes of workgroup memory"),
        "{stdout}{stderr}"
    );
}

/// The program while it watches; ended with the test.
struct Watching {
    program: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn new(folder: &Path, kernel: &str) -> Self {
        let mut command = Command::cargo_bin("mode").expect("the program");
        command.args(["check", kernel, "--watch", "--device", "gpu"]).env("MODE_SHADERS", folder);
        let mut program = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program");
        let (send, lines) = channel();
        let stdout = program.stdout.take().expect("a pipe");
        std::thread::spawn(move || {
            let read = std::io::BufRead::lines(std::io::BufReader::new(stdout));
            read.map_while(Result::ok).take_while(|line| send.send(line.clone()).is_ok()).for_each(drop);
        });
        Self { program, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(120)).expect("a line")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[cfg(unix)]
#[test]
fn a_save_checks_and_times_again() {
    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gate_merge.wgsl");
    let save = |text: &str| std::fs::write(&file, text).expect("written");
    save(&shader("gate_merge.wgsl"));
    let mut watching = Watching::new(folder.path(), "gate");
    for kernel in ["gate_merge ", "gate_merge_backward "] {
        let line = watching.line();
        let first = line.contains(" ms, ") && line.contains(" % of a copy), ") && !line.contains(" %), ");
        assert!(line.starts_with(&format!("ok     {kernel}")) && first, "{line}");
    }
    // Each save is answered by one line, of the kernel that has the file.
    save(&changed("gate_merge.wgsl", "y[start + i] = merged[j];", "y[start + i] = 1.001 * merged[j];"));
    let line = watching.line();
    assert!(line.starts_with("WRONG  gate_merge ") && line.contains(" cases, worst error "), "{line}");
    save(&changed("gate_merge.wgsl", "y[start + i] = merged[j];", "y[start + i] = mergd[j];"));
    let lines: Vec<String> = (0..4).map(|_| watching.line()).collect();
    assert!(lines[0].starts_with("WRONG  gate_merge ") && lines[0].contains(text(&file)), "{lines:?}");
    assert!(lines[2].ends_with(" |             y[start + i] = mergd[j];") && lines[3].contains("^^^^^"), "{lines:?}");
    // An editor that puts another file in its place; the time is compared with the last that was right.
    let beside = folder.path().join(".gate_merge.wgsl.new");
    std::fs::write(&beside, shader("gate_merge.wgsl") + "// mine\n").expect("written");
    std::fs::rename(&beside, &file).expect("moved");
    let line = watching.line();
    assert!(line.starts_with("ok     gate_merge ") && line.contains(" %), "), "{line}");
    let interrupt = Command::new("kill").args(["-INT", &watching.program.id().to_string()]).status().expect("kill");
    assert!(interrupt.success());
    assert_eq!(watching.program.wait().expect("an end").code(), Some(0));
    assert!(watching.lines.recv().is_err(), "no line was left over");
}
