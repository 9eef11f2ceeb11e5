//! `mode bench`.

use super::{DeviceArguments, nearest, print_json};
use crate::Error;
use crate::bench::{ALL, CEILINGS, Ceilings, Cooperative, LARGE, MIXED, Overhead, UNFROZEN, bench, unknown};
use std::process::{Command, Stdio};

/// Time standard workloads, each in a process of its own.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// W1 W1b W2 W2b W3 W3b W4 W5 W5f W6; larger: W1-4096[-f16] W1-8192[-f16] W2-4096[-half] W2b-4096 W3-32768 W3b-32768
    /// W4-135M; training steps in mixed precision: W4-f16 W6-f16 W4-135M-f16
    /// [default: the first ten, on a GPU all]; or `ceilings`: the most arithmetic and bandwidth that the device reaches
    workloads: Vec<String>,
    /// One JSON object a workload on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let asked: Vec<&str> = arguments.workloads.iter().map(String::as_str).collect();
    if asked == [CEILINGS] {
        let ceilings = Ceilings::measure(&arguments.device.open()?)?;
        return if arguments.json { print_json(&ceilings) } else { print_ceilings(&ceilings) };
    }
    if asked.contains(&CEILINGS) {
        return Err(Error::Setting("ceilings are measured alone: `mode bench ceilings`".into()));
    }
    let known = || ALL.into_iter().chain(LARGE).chain(MIXED).chain([UNFROZEN]);
    if let Some(name) = asked.iter().find(|name| known().all(|known| known != **name)) {
        let known = known().chain([CEILINGS]);
        return Err(Error::Setting(format!("{}; did you mean '{}'?", unknown(name), nearest(name, known))));
    }
    if let ([one], Some(_)) = (asked.as_slice(), &arguments.device.device) {
        return alone(one, &arguments);
    }
    // What can't be is refused here, once. The device is named to the others: looking for one loads the drivers of all.
    let gpu = arguments.device.check()?.is_hardware_gpu();
    let device = arguments.device.device.as_deref().unwrap_or(if gpu { "gpu" } else { "cpu" });
    let names = match asked.as_slice() {
        [] if gpu => [&ALL[..], &LARGE[..]].concat(),
        [] => ALL.to_vec(),
        some => some.to_vec(),
    };
    names.iter().try_for_each(|name| apart(name, device, &arguments))
}

/// Ceilings, what was measured of what, and what to know of them.
fn print_ceilings(ceilings: &Ceilings) -> Result<(), Error> {
    let Ceilings { gflops, gbytes, copied, timer, overhead: Overhead { launch_us, chain_us }, .. } = ceilings;
    say!("arithmetic  {gflops:>9.1} GFLOP/s  f32 multiply-adds in registers, by {timer}");
    if let Some(gflops) = ceilings.half_gflops {
        say!("            {gflops:>9.1} GFLOP/s  f16 multiply-adds in registers");
    }
    for Cooperative { size, gflops } in &ceilings.cooperative {
        say!("cooperative {gflops:>9.1} GFLOP/s  matrices of {size} x {size} in registers, f16 added up in f32");
    }
    say!("bandwidth   {gbytes:>9.1} GB/s     a copy of {} MB, read and written", copied / 1_000_000);
    say!("launch      {launch_us:>9.2} us       of the host; {chain_us:.2} us each of a chain of tiny ones, by clocks");
    if let Some(card) = ceilings.data_sheet {
        let tflops = card.tflops.map_or_else(|| "no word of f32".into(), |t| format!("{t} TFLOP/s of f32"));
        let matrix = card.matrix_tflops.map_or_else(String::new, |t| format!("{t} of f16 matrices, "));
        say!("data sheet  {}: {tflops}, {matrix}{} GB/s", card.name, card.gbytes);
    }
    ceilings.warnings.iter().for_each(|warning| tell!("warning: {warning}"));
    Ok(())
}

/// One workload, in this process.
fn alone(name: &str, arguments: &Arguments) -> Result<(), Error> {
    let result = bench(name, &arguments.device.open()?)?;
    if arguments.json {
        return print_json(&result);
    }
    say!(
        "{:11} {:>9.2} ms median, {:>9.2} best, {:>9.2} of CPU, {:>8.1} GFLOP/s, check {:.6}",
        result.workload,
        result.median_ms,
        result.min_ms,
        result.cpu_ms,
        result.gflops,
        result.check
    );
    Ok(())
}

/// One workload in a process of its own: the memory and the warmth of one must not count for the next.
fn apart(name: &str, device: &str, arguments: &Arguments) -> Result<(), Error> {
    let mut command = this_program()?;
    command.args(["bench", name, "--device", device]).args(arguments.json.then_some("--json"));
    if let Some(threads) = arguments.device.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    // Its line is printed from here, so that a reader who has gone away ends all of them.
    let output = command.stderr(Stdio::inherit()).output().map_err(Error::file(command.get_program().as_ref()))?;
    if output.status.success() {
        say!("{}", String::from_utf8_lossy(&output.stdout).trim_end());
        return Ok(());
    }
    Err(Error::CheckFailed(format!("bench {name} failed; its own message stands above")))
}

/// This program, to be started once more. `MODE_RUNNER` names what started it where that was not the system's loader (see
/// `ci/lavapipe-new`): a loader that is called itself is what the system takes for the program.
fn this_program() -> Result<Command, Error> {
    if let (Some(runner), Some(program)) = (std::env::var_os("MODE_RUNNER"), std::env::args_os().next()) {
        let mut command = Command::new(runner);
        command.arg(program);
        return Ok(command);
    }
    Ok(Command::new(std::env::current_exe().map_err(Error::file("mode".as_ref()))?))
}
