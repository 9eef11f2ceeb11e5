//! `mode experiment`.

use super::progress::{flow, stop_after_step};
use super::{DeviceArguments, print_json};
use crate::Error;
use crate::experiments::{Estimate, Experiment, Lab, Rerun, Row, Said, Scale, Settings, carry_out, estimate, rerun};
use crate::mesh::Hardware;
use crate::train::StepMemory;
use mode_tensor::Device;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// The paper's experiments.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// table1, one-rate, table2, table3, fig3, fig5, claims (and with them fourth and widths, or one of these), failures, open-questions (or
    /// one of them: q1 to q4) or all
    name: String,
    /// tiny: a model that is pre-trained here on the built-in texts; gpu: one that is given, --set base=FOLDER; paper: the paper's sizes,
    /// with --dry-run
    #[arg(long, default_value = "tiny")]
    scale: String,
    /// Folder of models and results, which may be there already [default: runs/experiments, or runs/experiments-gpu]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Change a setting, such as seeds=3 or data.code=FOLDER
    #[arg(long)]
    set: Vec<String>,
    /// Runs at once on the CPU, each with its share of the threads [default: one a core]
    #[arg(long)]
    jobs: Option<usize>,
    /// Measure a test text that was measured before with other settings
    #[arg(long)]
    again: bool,
    /// Make one cell that is there again from nothing, in OUT/rerun, and compare: the same figures to the bit, or exit code 1
    #[arg(long, value_name = "CELL", conflicts_with_all = ["again", "dry_run"])]
    rerun: Option<String>,
    /// Of which seed
    #[arg(long, requires = "rerun", default_value_t = 1)]
    seed: u64,
    /// Only say what it would take and what of it is left
    #[arg(long)]
    dry_run: bool,
    /// Devices whose time --dry-run estimates, a TOML file as `mode mesh plan` reads it
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    hardware: Option<PathBuf>,
    /// Print the estimate as one object of JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// Nothing on stderr but warnings
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let experiments = Experiment::named(&arguments.name)?;
    let scale = Scale::of(&arguments.scale)?;
    if scale == Scale::Paper && !arguments.dry_run {
        let what = "--scale paper is more than one machine can train; add --dry-run, which says what it would take";
        return Err(Error::Setting(what.into()));
    }
    let sizes = Settings::new(scale, &arguments.set)?;
    let root = arguments.out.unwrap_or_else(|| match scale {
        Scale::Tiny => "runs/experiments".into(),
        Scale::Gpu => "runs/experiments-gpu".into(),
        Scale::Paper => "runs/experiments-paper".into(),
    });
    if arguments.dry_run {
        let hardware = arguments.hardware.as_deref().map(Hardware::read).transpose()?;
        let lab = without_device(root);
        let found = estimate(&lab, &experiments, sizes, hardware.as_ref().map(|hardware| &hardware.device))?;
        return match arguments.json {
            true => print_json(&found),
            false => {
                print(&found, scale, hardware.as_ref());
                Ok(())
            }
        };
    }
    let device = arguments.device.open()?;
    let threads = rayon::current_num_threads();
    let jobs = match arguments.jobs {
        Some(jobs) if !(1..=threads).contains(&jobs) => {
            return Err(Error::Setting(format!("--jobs {jobs}: give 1 to {threads}, a thread each at the least")));
        }
        Some(jobs) => jobs,
        None if device.is_gpu() => 1,
        None => threads,
    };
    stop_after_step();
    let lab = Lab {
        root,
        device: &|| Ok(if device.is_gpu() { device.clone() } else { Device::cpu() }),
        jobs,
        threads: threads / jobs,
        listener: &|said| {
            match said {
                Said::Line(line) if !arguments.quiet => tell!("{line}"),
                Said::Warning(line) => tell!("{line}"),
                Said::Line(_) | Said::Nothing => {}
            }
            flow()
        },
    };
    let Some(cell) = arguments.rerun else { return carry_out(&lab, &experiments, sizes, arguments.again) };
    let Ok(experiment) = Experiment::of(&arguments.name) else {
        return Err(Error::Setting(format!("--rerun {cell}: name the one experiment that it is a cell of")));
    };
    let Rerun { runs, folder, accuracy } = rerun(&lab, experiment, sizes, (&cell, arguments.seed))?;
    let accuracy: Vec<String> =
        accuracy.iter().map(|(domain, share)| format!("{domain} {:.2} %", 100.0 * share)).collect();
    say!(
        "{} {cell}, seed {}: {runs} runs made again, the same to the bit: {}",
        experiment.name,
        arguments.seed,
        accuracy.join(", ")
    );
    say!("models   {}", folder.display());
    Ok(())
}

/// A lab in which nothing is computed.
fn without_device(root: PathBuf) -> Lab<'static> {
    Lab { root, device: &|| Ok(Device::dry()), jobs: 1, threads: 1, listener: &|_| ControlFlow::Continue(()) }
}

/// The estimate as a table.
fn print(found: &Estimate, scale: Scale, hardware: Option<&Hardware>) {
    let head = ["params", "trained", "weights", "grads", "moments", "activ.", "FLOP"];
    let head: String = head.map(|word| format!(" {word:>9}")).concat();
    say!("{:28} {:>7}{head}{}", "row", "steps", if hardware.is_some() { "      time" } else { "" });
    for row in &found.rows {
        let Row { params_total, params_trained, memory, .. } = *row;
        let StepMemory { weights, gradients, moments, activations } = memory;
        let numbers =
            [params_total, params_trained, weights, gradients, moments, activations].map(|count| count as f64);
        let numbers: String =
            numbers.iter().chain([&row.flop]).map(|&number| format!(" {:>9}", short(number))).collect();
        let time = row.seconds.map_or_else(String::new, |seconds| format!(" {:>9}", span(seconds)));
        let fits = hardware.is_none_or(|hardware| row.memory.bytes() as f64 <= hardware.device.memory_bytes);
        let note = if fits { "" } else { "  does not fit" };
        say!("{:28} {:>7}{numbers}{time}{note}", format!("{} {}", row.experiment, row.row), row.steps);
    }
    let Estimate { batch, length, runs, flop, runs_left, flop_left, .. } = *found;
    let ours = if scale == Scale::Paper { ", a length that is ours: the paper does not say it" } else { "" };
    say!("step     {batch} windows of {length} tokens{ours}");
    say!(
        "row      all runs that make its model, without the base and the tuning of its rate; bytes of one window at a time"
    );
    if let Some(hardware) = hardware {
        say!("time     of one device of {}", hardware.name);
    }
    found.left_out.iter().for_each(|what| say!("{what}"));
    say!("in all   {runs} runs of {}FLOP, of all seeds and of the tuning of rates", short(flop));
    say!("left     {runs_left} runs of {}FLOP", short(flop_left));
}

/// A number in three digits, by thousands.
fn short(number: f64) -> String {
    let units = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    let power = if number < 1.0 { 0 } else { (number.log10() / 3.0) as usize }.min(units.len() - 1);
    let scaled = number / 1e3_f64.powi(power as i32);
    let digits = if power == 0 || scaled >= 99.95 {
        0
    } else if scaled >= 9.995 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$} {}", units[power])
}

/// A time in its own unit.
fn span(seconds: f64) -> String {
    match seconds {
        day if day >= 86_400.0 => format!("{:.1} d", day / 86_400.0),
        hour if hour >= 3_600.0 => format!("{:.1} h", hour / 3_600.0),
        minute if minute >= 60.0 => format!("{:.1} min", minute / 60.0),
        seconds => format!("{seconds:.1} s"),
    }
}
