//! The program: one file a command, which parses, calls one function and prints.
//!
//! Exit codes: 0 done, 1 a check or a run failed, 2 bad input, which is told in one line; an error in a shader shows its line below.
//! `--json` prints one object on the last line of stdout; all else goes to stderr.

/// Prints a line on stdout, as `println!` does; a reader that has gone away, such as `head`, ends the program quietly.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::print_line(&format!($($text)*)) };
}

/// Prints a line on stderr, as `eprintln!` does; one that nobody can read is no reason to stop.
macro_rules! tell {
    ($($text:tt)*) => { $crate::cli::print_note(&format!($($text)*)) };
}

mod bench;
mod check;
mod data;
mod demo;
mod devices;
mod eval;
mod experiment;
mod expert;
mod export;
mod fetch;
mod generate;
mod init;
mod inspect;
mod mesh;
mod open;
mod peers;
mod pipelines;
mod profile;
mod progress;
mod recipe;
#[cfg(feature = "net")]
mod remote;
mod report;
mod run;
mod shaders;
mod shell;
mod tune;
mod watch;
mod worker;

use crate::Error;
use clap::{Args, Parser, Subcommand};
use mode_tensor::Device;
use open::open;
use std::io::Write;
use std::process::ExitCode;

/// Modular Domain Experts: adapt a frozen language model to several domains, and keep what it knew.
#[derive(Parser)]
#[command(name = "mode", version, max_term_width = 100)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Pre-train a small model, adapt it to Code and Math with every method, and compare
    Demo(demo::Arguments),
    /// Carry out a recipe: pretrain, full, lora or expert (stage 1)
    Train(run::Arguments),
    /// Carry out a recipe that composes experts (stage 2)
    Compose(run::Arguments),
    /// Loss, next-token accuracy, gate weights and gradient norms on text or tokens
    Eval(eval::Arguments),
    /// Continue a prompt, or many at once
    Generate(generate::Arguments),
    /// What a model, an expert, a checkpoint or a run holds, and where gates open on a text
    Inspect(inspect::Arguments),
    /// The paper's experiments, each at a scale: tables, figures, verdicts
    Experiment(experiment::Arguments),
    /// Experts in their folders: list, show, verify, switch; private ones: mark, serve
    Expert(expert::Arguments),
    /// One page on several runs, or on demos of several seeds
    Report(report::Arguments),
    /// What a text holds, and files of tokens made of it
    Data(data::Arguments),
    /// Make a checkpoint into what its run would have made
    Export(export::Arguments),
    /// Fetch a model from the Hugging Face hub
    Fetch(fetch::Arguments),
    /// Write a commented recipe to begin with
    Init(init::Arguments),
    /// Train over several devices: run layouts side by side, plan, simulate, show a step
    Mesh(mesh::Arguments),
    /// Be one of several processes that train together by one recipe, under mpirun or over gRPC; the first device's makes its folder
    Worker(worker::Arguments),
    /// Compare every kernel of a device with its f64 reference
    Check(check::Arguments),
    /// Time the standard workloads
    Bench(bench::Arguments),
    /// Where the time goes, kernel by kernel, against what the device can do
    Profile(profile::Arguments),
    /// Find the fastest tiers and tiles of this GPU, and keep them for later runs
    Tune(tune::Arguments),
    /// List the GPUs of this machine and what they can do
    Devices(devices::Arguments),
    /// Print completions for a shell
    Completions(shell::Completions),
    /// Print the manual page
    Man(shell::Man),
}

/// Where to compute.
#[derive(Args, Clone)]
pub(crate) struct DeviceArguments {
    /// cpu, gpu, gpu:N or reference [default: a hardware GPU if there is one, else the CPU]
    #[arg(long)]
    device: Option<String>,
    /// Threads of the CPU [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
}

impl DeviceArguments {
    /// The device, of which nothing is said yet; an error for threads or a device that can't be.
    fn check(&self) -> Result<Device, Error> {
        self.check_threads()?;
        Ok(Device::choose(self.device.as_deref())?)
    }

    fn check_threads(&self) -> Result<(), Error> {
        match self.threads.filter(|threads| !(1..=4_096).contains(threads)) {
            None => Ok(()),
            Some(threads) => Err(Error::Setting(format!("--threads {threads}: give 1 to 4096"))),
        }
    }

    /// Opens the device and says which in one line on stderr.
    fn open(&self) -> Result<Device, Error> {
        self.check_threads()?;
        // This thread is one of the pool's, or each small kernel would wait for another to wake up.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads.unwrap_or(0)).use_current_thread();
        pool.build_global().map_err(|e| Error::Setting(format!("--threads: {e}; give fewer")))?;
        let device = open(self.device.as_deref())?;
        if !device.is_gpu() {
            tell!("device: {}", device.name());
            if let Some(folder) = shaders::Folder::from_environment()? {
                tell!("shaders: none from {}, for only a GPU runs any", folder.path().display());
            }
        }
        Ok(device)
    }
}

/// The word of `known` that is nearest to one that is not among them.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> &'a str {
    let near = |known: &str| strsim::jaro_winkler(word, known);
    known.max_by(|a, b| near(a).total_cmp(&near(b))).unwrap_or_default()
}

/// Runs the program.
pub fn main() -> ExitCode {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !crate::data::is_calling_library() && !fetch::is_calling_library() {
            print(panic);
        }
    }));
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(error) if error.use_stderr() => {
            // The usage that follows the first paragraph is what --help is for.
            let text = error.to_string();
            let line: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
            tell!("{}; see --help", line.join(" "));
            return ExitCode::from(2);
        }
        Err(help) => help.exit(),
    };
    let result = match program.command {
        Command::Demo(arguments) => demo::main(arguments),
        Command::Train(arguments) => run::main(arguments, false),
        Command::Compose(arguments) => run::main(arguments, true),
        Command::Eval(arguments) => eval::main(arguments),
        Command::Generate(arguments) => generate::main(arguments),
        Command::Mesh(arguments) => mesh::main(arguments),
        Command::Worker(arguments) => worker::main(arguments),
        Command::Check(arguments) => check::main(arguments),
        Command::Bench(arguments) => bench::main(arguments),
        Command::Profile(arguments) => profile::main(arguments),
        Command::Tune(arguments) => tune::main(arguments),
        Command::Devices(arguments) => devices::main(arguments),
        Command::Inspect(arguments) => inspect::main(arguments),
        Command::Experiment(arguments) => experiment::main(arguments),
        Command::Expert(arguments) => expert::main(arguments),
        Command::Report(arguments) => report::main(arguments),
        Command::Data(arguments) => data::main(arguments),
        Command::Export(arguments) => export::main(arguments),
        Command::Fetch(arguments) => fetch::main(arguments),
        Command::Init(arguments) => init::main(arguments),
        Command::Completions(arguments) => shell::completions(arguments),
        Command::Man(arguments) => shell::man(arguments),
    };
    // Of a command that failed there is one line to read.
    pipelines::save(result.is_ok());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string();
            let line: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            tell!("error: {}", printable(&line.join(" ")));
            error.excerpt().iter().for_each(|line| tell!("{}", printable(line)));
            ExitCode::from(error.exit_code())
        }
    }
}

/// A line without what a terminal would take for commands, which files and other processes may say and errors repeat.
fn printable(line: &str) -> String {
    line.replace(|c: char| c.is_control(), "?")
}

/// See `tell!`.
fn print_note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// See `say!`.
fn print_line(line: &str) {
    print_text(&format!("{line}\n"));
}

/// Prints a piece of text on stdout.
fn print_text(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        tell!("error: stdout: {error}");
        std::process::exit(1);
    }
}

/// Prints a value as one line of JSON on stdout.
fn print_json(value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string(value).map_err(|source| Error::Json { path: "stdout".into(), source })?;
    say!("{text}");
    Ok(())
}
