//! `mode mesh`: run, plan, simulate, show.

use super::open::Fleet;
use super::print_json;
use crate::Error;
use crate::bench::{CALIBRATED_ON, MeasuredLayout, MeshBench};
use crate::files;
use crate::mesh::{
    Assumed, Hardware, Layout, Link, Options, Prediction, Priced, bytes_by_link, fig4, layouts, predict,
    scale, timeline,
};
use crate::train::Recipe;
use mode_tensor::Device;
use std::path::PathBuf;

/// What to do with meshes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Take a recipe's steps on one or several layouts, and compare losses, times, bytes and idle shares
    Run(Run),
    /// Draw one step of a layout: who does what when, who waits, and the bytes on each link
    Show(Show),
    /// Predict time and memory of layouts that fit (SPMD of every grid, and equal meshes for experts), and name the best
    Plan(Plan),
    /// Measure this machine's CPU by a recipe's steps, into a hardware file for `plan`
    Calibrate(Calibrate),
    /// Predict a figure of the paper with the planner and the simulator
    Simulate(Simulate),
}

/// A link's rate.
fn rate(text: &str) -> Result<f64, String> {
    let wrong = || "give bytes a second, a positive number such as 1e9".to_string();
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 1.0).ok_or_else(wrong)
}

/// A step to draw.
#[derive(clap::Args)]
struct Show {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// The layout
    #[arg(long)]
    mesh: String,
    /// Simulate the step on this hardware, a TOML file, in place of taking it
    #[arg(long, conflicts_with = "link")]
    hardware: Option<PathBuf>,
    /// The file to make
    #[arg(long, default_value = "step.svg")]
    out: PathBuf,
    /// Replace a file that exists
    #[arg(long)]
    force: bool,
    /// Emulate a link on which a device sends, and receives, so many bytes a second
    #[arg(long, value_name = "BYTES_PER_SECOND", value_parser = rate)]
    link: Option<f64>,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
}

/// A recipe to plan for.
#[derive(clap::Args)]
struct Plan {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// The hardware, a TOML file
    #[arg(long)]
    hardware: PathBuf,
    /// Devices at the most [default: device.count of the hardware file, or 8]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=MOST_DEVICES as u64))]
    devices: Option<u64>,
    /// Only these layouts; may be repeated
    #[arg(long)]
    mesh: Vec<String>,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

/// A recipe to measure by.
#[derive(clap::Args)]
struct Calibrate {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// The file to make
    #[arg(long, default_value = "hardware.toml")]
    out: PathBuf,
    /// Replace a file that exists
    #[arg(long)]
    force: bool,
    /// What the machine is called
    #[arg(long, default_value = "this machine")]
    name: String,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
}

/// A figure.
#[derive(clap::Args)]
struct Simulate {
    /// fig4, the paper's figure; or scale: the paper's model on 64 to 4,096 chips, on paper
    #[arg(value_parser = ["fig4", "scale"])]
    figure: String,
    /// Draw it into this file as well, an SVG
    #[arg(long)]
    out: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(long)]
    force: bool,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

/// A recipe and the layouts that it is run on.
#[derive(clap::Args)]
struct Run {
    /// The recipe, a TOML file; what it says of `out` is not made
    recipe: PathBuf,
    /// The layout: spmd-4, spmd-2x2, 4+2+2, .. or a .toml file [default: the recipe's mesh.layout]
    #[arg(long)]
    mesh: Option<String>,
    /// Another layout to run beside it, in turns; may be repeated
    #[arg(long)]
    compare: Vec<String>,
    /// Times that all are run; of each the fastest step counts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rounds: u64,
    /// Where each device computes: cpu, gpu or gpu:N; one for all, or each of them [default: the recipe's mesh.devices, or cpu]
    #[arg(long)]
    device: Vec<String>,
    /// Threads of each CPU device [default: the recipe's mesh.threads, or 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    threads: Option<u64>,
    /// Emulate a link on which a device sends, and receives, so many bytes a second
    #[arg(long, value_name = "BYTES_PER_SECOND", value_parser = rate)]
    link: Option<f64>,
    /// Compute gradients of frozen weights as well, as a program does that does not know of freezing
    #[arg(long)]
    unfrozen: bool,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    match arguments.command {
        Command::Run(arguments) => run(arguments),
        Command::Show(arguments) => show(arguments),
        Command::Plan(arguments) => plan(&arguments),
        Command::Calibrate(arguments) => calibrate(&arguments),
        Command::Simulate(arguments) => simulate(&arguments),
    }
}

fn run(arguments: Run) -> Result<(), Error> {
    let recipe = Recipe::read(&arguments.recipe, &arguments.set)?;
    let bench = MeshBench::new(&recipe).map_err(|error| error.in_file(&arguments.recipe))?;
    let bench = if arguments.unfrozen { bench.unfrozen() } else { bench };
    let own = recipe.mesh.as_ref();
    let Some(first) = arguments.mesh.clone().or_else(|| own.map(|mesh| mesh.layout.clone())) else {
        return Err(Error::content(&arguments.recipe, "has no [mesh] with a layout; give one as --mesh"));
    };
    let names = std::iter::once(&first).chain(&arguments.compare);
    let layouts = names.map(|name| Layout::read(name, bench.experts())).collect::<Result<Vec<_>, _>>()?;
    let link = arguments.link.map(|bytes_per_second| Link { bytes_per_second, latency: 0.0 });
    let threads = arguments.threads.map_or_else(|| own.map_or(1, |mesh| mesh.threads), |threads| threads as usize);
    let options = Options { threads, link };
    let named = match (arguments.device.is_empty(), own) {
        (true, Some(mesh)) => mesh.devices.clone(),
        (true, None) => vec!["cpu".into()],
        (false, _) => arguments.device,
    };
    let fleet = Fleet::default();
    let devices = |count: usize| fleet.devices(&named, count);
    let found = bench.measure(&layouts, arguments.rounds as usize, &devices, &options)?;
    if arguments.json {
        return print_json(&found);
    }
    if let Some(link) = arguments.link {
        say!("over an emulated link of {:.4} GB/s a device", link / 1e9);
    }
    if arguments.unfrozen {
        say!("gradients of frozen weights are computed, and dropped");
    }
    print(&found);
    Ok(())
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

/// Devices at the most where nobody says how many there are.
const DEVICES: usize = 8;
/// Devices of the layouts that are searched, at the most.
const MOST_DEVICES: usize = 64;

fn plan(arguments: &Plan) -> Result<(), Error> {
    let recipe = Recipe::read(&arguments.recipe, &arguments.set)?;
    let hardware = Hardware::read(&arguments.hardware)?;
    let bench = MeshBench::new(&recipe).map_err(|error| error.in_file(&arguments.recipe))?;
    let problem = bench.problem();
    let most =
        arguments.devices.map_or(hardware.count().unwrap_or(DEVICES).min(MOST_DEVICES), |devices| devices as usize);
    let layouts = match arguments.mesh.as_slice() {
        [] => layouts(problem, most).into_iter().filter(|layout| hardware.has(layout)).collect(),
        named => {
            let read = |name: &String| {
                let layout = Layout::read(name, bench.experts())?;
                problem.check(&layout).map_err(|what| Error::Setting(format!("--mesh {name}: {what}")))?;
                if !hardware.has(&layout) {
                    return Err(Error::Setting(format!(
                        "--mesh {name}: {} does not have so many devices",
                        hardware.name
                    )));
                }
                Ok(layout)
            };
            named.iter().map(read).collect::<Result<Vec<_>, Error>>()?
        }
    };
    let predict = |layout: &Layout| predict(problem, layout, &hardware, bench.weight_bytes());
    let mut found: Vec<Prediction> = layouts.iter().map(predict).collect();
    found.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    if arguments.json {
        return print_json(&found);
    }
    say!("predicted for {}", hardware.name);
    say!("{:16} {:>7} {:>10} {:>14} {:>6}", "layout", "devices", "ms a step", "MB, fullest", "idle");
    for prediction in &found {
        let idle = 1.0 - prediction.busy.iter().sum::<f64>() / prediction.busy.len() as f64;
        let note = if prediction.fits { "" } else { "  does not fit" };
        say!(
            "{:16} {:>7} {:>10.2} {:>14.1} {:>5.1}%{note}",
            prediction.layout,
            prediction.devices,
            1e3 * prediction.seconds,
            prediction.bytes / 1e6,
            100.0 * idle
        );
    }
    match found.iter().find(|prediction| prediction.fits) {
        Some(best) => say!("best     {}, {:.2} ms a step on {} devices", best.layout, 1e3 * best.seconds, best.devices),
        None => say!("best     none fits; give more devices, a smaller train.batch, or train.recompute = true"),
    }
    Ok(())
}

fn calibrate(arguments: &Calibrate) -> Result<(), Error> {
    files::check_output(&arguments.out, arguments.force)?;
    let recipe = Recipe::read(&arguments.recipe, &arguments.set)?;
    let bench = MeshBench::new(&recipe).map_err(|error| error.in_file(&arguments.recipe))?;
    let hardware = crate::bench::calibrate(&bench, &arguments.name)?;
    hardware.write(&arguments.out)?;
    say!("measured on layouts {}", CALIBRATED_ON.join(" and "));
    say!("written  {}", arguments.out.display());
    Ok(())
}

/// Steps of which the fastest is drawn.
const DRAWN: u64 = 5;

fn show(arguments: Show) -> Result<(), Error> {
    files::check_output(&arguments.out, arguments.force)?;
    let mut recipe = Recipe::read(&arguments.recipe, &arguments.set)?;
    recipe.train.steps = recipe.train.steps.clamp(1, DRAWN);
    let bench = MeshBench::new(&recipe).map_err(|error| error.in_file(&arguments.recipe))?;
    let layout = Layout::read(&arguments.mesh, bench.experts())?;
    bench.problem().check(&layout).map_err(|what| Error::Setting(format!("--mesh {}: {what}", layout.name)))?;
    let link = arguments.link.map(|bytes_per_second| Link { bytes_per_second, latency: 0.0 });
    let (traced, how) = match &arguments.hardware {
        Some(file) => {
            let hardware = Hardware::read(file)?;
            let traced = Priced::new(bench.problem(), &layout, Assumed::default()).simulate(&hardware);
            (traced, format!("simulated on {}", hardware.name))
        }
        None => {
            let options = Options { link, ..Options::default() };
            let devices = |count: usize| Ok((0..count).map(|_| Device::cpu()).collect());
            let found = bench.measure(std::slice::from_ref(&layout), 1, &devices, &options)?;
            let traced = found.into_iter().next().and_then(|measured| measured.fastest);
            let traced = traced.ok_or_else(|| Error::Setting("no step was taken".into()))?;
            let over = link.map_or_else(String::new, |link| {
                format!(" over an emulated link of {:.3} GB/s", link.bytes_per_second / 1e9)
            });
            (traced, format!("measured on CPU devices of one thread each{over}"))
        }
    };
    let title = format!("One step of layout {}: {:.1} ms, {how}", layout.name, 1e3 * traced.seconds);
    files::write(&arguments.out, timeline(&traced, &layout, bench.experts(), &title))?;
    say!("{title}");
    for (device, busy) in traced.busy().into_iter().enumerate() {
        let mesh = layout.mesh_of(device);
        say!("{:14} device {device}  idle {:.1} %", mesh.name, 100.0 * (1.0 - busy));
    }
    for (from, to, bytes) in bytes_by_link(&traced, &layout) {
        say!("{from} to {to}: {:.3} MB", bytes as f64 / 1e6);
    }
    say!("written  {}", arguments.out.display());
    Ok(())
}

/// A table of the best layouts for many chips.
fn scale(arguments: &Simulate) -> Result<(), Error> {
    if arguments.out.is_some() {
        return Err(Error::Setting("--out: scale is a table and draws nothing; leave it out".into()));
    }
    let found = scale::scale();
    if arguments.json {
        return print_json(&found);
    }
    say!(
        "On paper: the paper's model on TPUv5e, a window of 2,048 tokens a chip, the best SPMD and MPMD layouts by this project's schedule."
    );
    say!(
        "{:>7} {:>6} {:24} {:>8} {:>10} {:>9} {:>8} | {:>8} {:>6} {:>8} {:>6} | {:>8} {:>8} {:>6} | {:>9}",
        "experts",
        "chips",
        "layout of a replica",
        "replicas",
        "ms a step",
        "Mtokens/s",
        "GB chip",
        "backbone",
        "merges",
        "collect.",
        "idle",
        "expert",
        "collect.",
        "idle",
        "gradients"
    );
    for of in &found {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        say!(
            "{:>7} {:>6} {:24} {:>8} {:>10.0} {:>9.3} {:>8} | {:>8} {:>6} {:>8} {:>6} | {:>8} {:>8} {:>6} | {:>9}",
            of.experts,
            of.chips,
            of.layout,
            of.replicas,
            of.milliseconds,
            of.tokens_per_second / 1e6,
            format!("{:.1}{}", of.bytes / 1e9, if of.fits { "" } else { "!" }),
            percent(of.backbone.computing),
            percent(of.backbone.merging),
            percent(of.backbone.collectives),
            percent(of.backbone.idle),
            percent(of.expert.computing),
            percent(of.expert.collectives),
            percent(of.expert.idle),
            percent(of.gradients)
        );
    }
    say!(
        "!: more than a chip of 16 GB holds, with activations of f32 and halves of layers computed again; none of that kind fits"
    );
    Ok(())
}

fn simulate(arguments: &Simulate) -> Result<(), Error> {
    if arguments.figure == "scale" {
        return scale(arguments);
    }
    if let Some(out) = &arguments.out {
        files::check_output(out, arguments.force)?;
    }
    let figure = fig4::figure().map_err(Error::Setting)?;
    if let Some(out) = &arguments.out {
        files::write(out, fig4::plot(&figure).map_err(|what| Error::content(out, what))?)?;
    }
    if arguments.json {
        return print_json(&figure);
    }
    say!("{}", fig4::words(&figure));
    if let Some(out) = &arguments.out {
        say!("written  {}", out.display());
    }
    Ok(())
}
