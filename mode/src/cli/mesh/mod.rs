//! `mode mesh`: one file a command, and where two of them step.

mod calibrate;
mod places;
mod plan;
mod run;
mod show;
mod simulate;

use crate::Error;
use crate::bench::MeasuredLayout;

/// What to do with meshes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Take a recipe's steps on one or several layouts, and compare losses, times, bytes and idle shares
    Run(run::Arguments),
    /// Draw one step of a layout: who does what when, who waits, and the bytes on each link
    Show(show::Arguments),
    /// Predict time and memory of layouts that fit (SPMD of every grid; a backbone's mesh of every grid beside meshes of experts, of one size or as large as these ask for), and name the best
    Plan(plan::Arguments),
    /// Measure this machine's CPU by a recipe's steps, into a hardware file for `plan`
    Calibrate(calibrate::Arguments),
    /// Predict a figure of the paper with the planner and the simulator
    Simulate(simulate::Arguments),
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    match arguments.command {
        Command::Run(arguments) => run::main(arguments),
        Command::Show(arguments) => show::main(arguments),
        Command::Plan(arguments) => plan::main(arguments),
        Command::Calibrate(arguments) => calibrate::main(arguments),
        Command::Simulate(arguments) => simulate::main(arguments),
    }
}

/// One line a layout, against the first.
pub(super) fn print(found: &[MeasuredLayout]) {
    let first = &found[0];
    say!(
        "{:14} {:>7} {:>10} {:>8} {:>11} {:>11} {:>6} {:>10} {:>9}",
        "layout",
        "devices",
        "ms a step",
        "spread",
        "MB within",
        "MB between",
        "idle",
        "loss",
        "apart"
    );
    for measured in found {
        let apart = measured.losses.iter().zip(&first.losses).map(|(a, b)| ((a - b) / b).abs()).fold(0.0, f32::max);
        say!(
            "{:14} {:>7} {:>10.2} {:>7.1}% {:>11.2} {:>11.2} {:>5.1}% {:>10.5} {:>9.1e}",
            measured.layout,
            measured.devices,
            1e3 * measured.seconds(),
            100.0 * measured.spread(),
            measured.bytes_within as f64 / 1e6,
            measured.bytes_between as f64 / 1e6,
            100.0 * measured.idle(),
            measured.losses.last().copied().unwrap_or(f32::NAN),
            apart
        );
    }
}
