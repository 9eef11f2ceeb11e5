//! `mode profile`, and what `--profile` prints of a run.

use super::{DeviceArguments, nearest, print_json};
use crate::bench::{AXES, Ceilings, Fusion, Gain, Launch, Operation, Profile, Profiles, Rates, STEPS, csv, svg, trace};
use crate::train::Recipe;
use crate::{Error, files};
use std::path::{Path, PathBuf};

/// Where the time goes, launch by launch, against what the device can do.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// step (of a recipe or a workload), gate, attention or matmul
    #[arg(value_parser = what)]
    what: What,
    /// The recipe whose steps are profiled, or one of `mode bench`'s: W4, W6, W6-unfrozen; W4-f16, W6-f16; W4-135M, W4-135M-f16
    #[arg(required_if_eq("what", "step"))]
    recipe: Option<PathBuf>,
    /// Change a setting of the recipe: key=value or table.key=value
    #[arg(long)]
    set: Vec<String>,
    /// Branches of the gate, the backbone's included; several sizes, as in 2,3,5, are profiled one after the other [default: 3]
    #[arg(long, value_delimiter = ',')]
    branches: Vec<usize>,
    /// Tokens: of the gate [default: 4096], of each of attention's 4 windows [256], rows of matmul's left matrix [1024]
    #[arg(long, value_delimiter = ',')]
    tokens: Vec<usize>,
    /// Width: of the gate's stream [default: 512], of each of attention's 4 heads [64], of matmul's rows [1024]
    #[arg(long, value_delimiter = ',')]
    width: Vec<usize>,
    /// Columns of matmul's right matrix [default: 1024]
    #[arg(long, value_delimiter = ',')]
    columns: Vec<usize>,
    /// Operands of matmul and attention may be rounded to f16, which cooperative matrices multiply; matmul's right one is stored so
    #[arg(long)]
    half: bool,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
    /// Write a row for each launch to a file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw rates over FLOP a byte, under the ceilings, into a file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the launches in time to a file for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArguments,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Step,
    Operation(Operation),
}

fn what(word: &str) -> Result<What, String> {
    let operations = [Operation::Gate, Operation::Matmul, Operation::Attention];
    match operations.iter().find(|operation| operation.name() == word) {
        Some(operation) => Ok(What::Operation(*operation)),
        None if word == "step" => Ok(What::Step),
        None => {
            let known = operations.iter().map(|operation| operation.name()).chain(["step"]);
            Err(format!("did you mean '{}'?", nearest(word, known)))
        }
    }
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let workload = STEPS.into_iter().find(|name| arguments.recipe.as_deref() == Some(Path::new(name)));
    let recipe = match (arguments.what, &arguments.recipe) {
        (What::Step, Some(_)) if workload.is_some() && arguments.set.is_empty() => None,
        (What::Step, Some(_)) if workload.is_some() => {
            return Err(Error::Setting("--set changes a recipe; a workload is the same everywhere".into()));
        }
        (What::Step, Some(path)) => Some(Recipe::read(path, &arguments.set)?),
        (_, None) if !arguments.set.is_empty() => {
            return Err(Error::Setting("--set changes a recipe; only `mode profile step` takes one".into()));
        }
        (_, None) => None,
        (_, Some(path)) => return Err(Error::content(path, "only `mode profile step` takes a recipe")),
    };
    if arguments.half && matches!(arguments.what, What::Step | What::Operation(Operation::Gate)) {
        return Err(Error::Setting("--half: only matmul and attention have operands that may be rounded".into()));
    }
    let files = [&arguments.csv, &arguments.svg, &arguments.trace];
    let files: Vec<&Path> = files.into_iter().flatten().map(PathBuf::as_path).collect();
    for (i, file) in files.iter().enumerate() {
        files::refuse_existing_file(file)?;
        if files[..i].contains(file) {
            return Err(Error::content(file, "is named twice; give each output a file of its own"));
        }
    }
    let Arguments { branches, tokens, width, columns, .. } = &arguments;
    let asked: Vec<(&str, Vec<usize>)> =
        AXES.into_iter().zip([branches, tokens, width, columns].map(Clone::clone)).collect();
    let device = arguments.device.check()?;
    let sweep = match arguments.what {
        What::Operation(operation) => operation.sweep(&asked, &device)?,
        What::Step => match asked.iter().find(|(_, sizes)| !sizes.is_empty()) {
            Some((name, _)) => return Err(Error::Setting(format!("--{name}: a step has the sizes of its recipe"))),
            None => Vec::new(),
        },
    };
    drop(device);
    let device = arguments.device.open()?;
    let mut found = Profiles::new(&device)?;
    for sizes in &sweep {
        if let What::Operation(operation) = arguments.what {
            found.add(&device, operation, sizes, arguments.half)?;
        }
    }
    if let (What::Step, Some(name)) = (arguments.what, workload) {
        found.add_workload(&device, name)?;
    }
    if let Some(recipe) = &recipe {
        found.add_step(&device, recipe)?;
    }
    let write = |file: &Path, text: String| files::create(file, |partial| files::write(partial, text));
    if let Some(file) = &arguments.csv {
        write(file, csv(&found))?;
    }
    if let Some(file) = &arguments.svg {
        write(file, svg(&found)?)?;
    }
    if let Some(file) = &arguments.trace {
        write(file, trace(&found).to_string())?;
    }
    if arguments.json {
        return print_json(&found);
    }
    print(&found);
    files.iter().for_each(|file| say!("{} written", file.display()));
    Ok(())
}

/// Ceilings and profiles; a single one with all its kernels and, if they are few, launches.
pub(super) fn print(found: &Profiles) {
    let ceilings = &found.ceilings;
    let cooperative = ceilings.cooperative_gflops();
    let cooperative = cooperative.map_or_else(String::new, |gflops| format!(", {gflops:.1} of cooperative ones"));
    let Ceilings { gflops, gbytes, .. } = ceilings;
    say!("ceilings  {gflops:.1} GFLOP/s of multiply-adds{cooperative}, {gbytes:.1} GB/s of a copy");
    ceilings.warnings.iter().for_each(|warning| tell!("warning: {warning}"));
    match found.profiles.as_slice() {
        [one] => print_one(one),
        several => print_rows(several),
    }
    say!("{} tick in {:.0} ns; to time a launch takes {:.2} us", ceilings.timer, found.tick_ns, found.timing_us);
}

/// A launch's row of a table is worth its place up to here; more are in the files.
const FEW: usize = 16;

fn print_one(profile: &Profile) {
    say!("{:24} {:>8} {:>9} {:>6} {:>9} {:>8}  of its ceiling", "kernel", "launches", "ms", "%", "GFLOP/s", "GB/s");
    let share = |ms: f64| 100.0 * ms / profile.ms.max(1e-12);
    for k in &profile.kernels {
        say!("{:24} {:8} {:9.3} {:6.1} {}", k.kernel, k.launches, k.ms, share(k.ms), rates(&k.rates));
    }
    say!("{:24} {:8} {:9.3} {:6} {}", "all", profile.launches.len(), profile.ms, "", rates(&profile.rates));
    if let Some(plain) = profile.plain_ms {
        say!("by the wall clock {plain:.3} ms, with every launch timed {:.3} ms", profile.profiled_ms);
    }
    if profile.launches.len() <= FEW && profile.launches.len() > profile.kernels.len() {
        say!("launch by launch");
        for Launch { kernel, entry, settings, ms, rates: r, .. } in &profile.launches {
            let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
            let entry = entry.unwrap_or_default();
            say!("{kernel:24} {entry:8} {ms:9.3} {:6.1} {}  {}", share(*ms), rates(r), settings.join(", "));
        }
    }
    if let Some(fusion) = &profile.fusion {
        print_fusion(fusion);
    }
}

fn print_rows(profiles: &[Profile]) {
    say!("{:44} {:>9} {:>9} {:>8}  of its ceiling", "", "ms", "GFLOP/s", "GB/s");
    for profile in profiles {
        let gain = |gain: &Gain| format!("{:.2} times ({:.0} % of ideal)", gain.gain, gain.percent_of_ideal);
        let fusion = profile.fusion.as_ref().map_or_else(String::new, |fusion| {
            format!("  fused {} forward, {} backward", gain(&fusion.forward), gain(&fusion.backward))
        });
        say!("{:44} {:9.3} {}{fusion}", profile.title(), profile.ms, rates(&profile.rates));
    }
    let unfair = profiles.iter().filter_map(|profile| profile.fusion.as_ref());
    if unfair.flat_map(|fusion| [&fusion.forward, &fusion.backward]).any(|gain| !gain.fair) {
        tell!("warning: not all launches apart reach 85 % of a copy's rate; profile one size alone to see which");
    }
}

fn rates(rates: &Rates) -> String {
    // More than a copy of what no cache holds reaches: the data were in one.
    let cached = if rates.percent > Some(100.0) && rates.bound == "bandwidth" { ", from cache" } else { "" };
    let percent = rates.percent.map_or_else(|| "  ?".into(), |percent| format!("{percent:3.0}"));
    format!("{:9.1} {:8.1}  {percent} % of {}{cached}", rates.gflops, rates.gbytes, rates.bound)
}

fn print_fusion(fusion: &Fusion) {
    say!("fused against the same in launches apart");
    for (name, gain) in [("forward", &fusion.forward), ("backward", &fusion.backward)] {
        let Gain { fused_ms, unfused_ms, unfused_launches, units: [fused, unfused], gain: times, .. } = gain;
        let apart = format!("{unfused_ms:9.3} ms in {unfused_launches} launches of {unfused} units");
        say!(
            "{name:9} {fused_ms:9.3} ms for {fused} units, apart {apart}: {times:.2} times as fast, {:.0} % of the ideal {:.2}",
            gain.percent_of_ideal,
            gain.ideal
        );
        match gain.unfused_percent_of_copy {
            Some(percent) if !gain.fair => {
                say!(
                    "          not a fair gain: the launches apart move their units at {percent:.0} % of a copy's rate"
                );
            }
            Some(percent) if percent > 100.0 => {
                say!(
                    "          the caches hold it: the launches apart move their units at {percent:.0} % of a copy's rate"
                );
            }
            Some(percent) => say!("          the launches apart move their units at {percent:.0} % of a copy's rate"),
            None => {
                say!("          nobody knows how near to a copy the launches apart are: the ceilings are not believed")
            }
        }
    }
}
