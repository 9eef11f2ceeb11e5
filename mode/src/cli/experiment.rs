//! `mode experiment`.

use super::DeviceArguments;
use super::progress::{flow, stop_after_step};
use crate::Error;
use crate::experiments::{ALL, Experiment, Lab, Settings, carry_out};
use mode_tensor::Device;
use std::path::PathBuf;

/// The paper's experiments.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// table1, table2, table3, fig3, fig5, claims, failures or all
    name: String,
    /// tiny: a model that is pre-trained here on the built-in texts
    #[arg(long, default_value = "tiny")]
    scale: String,
    /// Folder of models and results, which may be there already
    #[arg(long, default_value = "runs/experiments")]
    out: PathBuf,
    /// Change a setting, such as seeds=3 or data.code=FOLDER
    #[arg(long)]
    set: Vec<String>,
    /// Runs at once on the CPU, each with its share of the threads [default: one a core]
    #[arg(long)]
    jobs: Option<usize>,
    /// Measure a test text that was measured before with other settings
    #[arg(long)]
    again: bool,
    /// Nothing on stderr but warnings
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let experiments = match arguments.name.as_str() {
        "all" => ALL.iter().collect(),
        name => vec![Experiment::of(name)?],
    };
    if arguments.scale != "tiny" {
        return Err(Error::Setting(format!("--scale {}: there is tiny", arguments.scale)));
    }
    let settings = Settings::tiny(&arguments.set)?;
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
        root: arguments.out,
        device: &|| Ok(if device.is_gpu() { device.clone() } else { Device::cpu() }),
        jobs,
        threads: threads / jobs,
        listener: &|line| {
            if let Some(line) = line.filter(|_| !arguments.quiet) {
                tell!("{line}");
            }
            flow()
        },
    };
    carry_out(&lab, &experiments, settings, arguments.again)
}
