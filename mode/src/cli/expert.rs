//! `mode expert list|show|verify|switch|private|serve`.

mod serve;

use super::inspect::show;
use super::{DeviceArguments, print_json};
use crate::model::{ExpertInfo, Model, make_private, open_with_experts, weight_bytes};
use crate::train::gate_rule;
use crate::{Error, inspect};
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Experts in their folders.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// The experts in some folders, and in the folders inside those
    List(List),
    /// What an expert's folder holds
    Show(Show),
    /// Check that an expert is whole, finite and fits a base model
    Verify(Verify),
    /// Put experts beside a base one after the other, and say what each switch reads and takes
    Switch(Switch),
    /// Keep an expert's weights to yourself: mark it, and make the folder that others compose with
    Private(Private),
    /// Answer for an expert whose weights stay here: callers have everything else
    Serve(serve::Serve),
}

#[derive(clap::Args)]
struct List {
    /// Folders [default: the current one]
    folders: Vec<PathBuf>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Show {
    /// The expert's folder
    folder: PathBuf,
    /// List every tensor with its shape; --json always does
    #[arg(long)]
    tensors: bool,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Verify {
    /// The expert's folder
    folder: PathBuf,
    /// The base model's folder
    #[arg(long)]
    model: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
}

#[derive(clap::Args)]
struct Switch {
    /// The base model's folder
    #[arg(long)]
    model: PathBuf,
    /// An expert's folder; several are put there one after the other
    #[arg(long, required = true)]
    expert: Vec<PathBuf>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

#[derive(clap::Args)]
struct Private {
    /// The expert's folder, which stays as it is but for a mark in its expert.json
    folder: PathBuf,
    /// The folder to make: what the expert is and its gates, without its layers
    #[arg(long)]
    public: PathBuf,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    match arguments.command {
        Command::List(arguments) => list(arguments),
        Command::Show(arguments) => {
            ExpertInfo::read(&arguments.folder)?;
            show(&inspect::inspect(&arguments.folder)?, arguments.tensors, arguments.json)
        }
        Command::Verify(arguments) => verify(&arguments),
        Command::Switch(arguments) => switch(&arguments),
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::Private(Private { folder, public }) => {
            let ExpertInfo { name, .. } = make_private(&folder, &public)?;
            say!("private  {name}: its layers stay in {}", folder.display());
            say!("written  {}, for others to compose with", public.display());
            Ok(())
        }
    }
}

/// Folders below the given ones that are looked into: a composed model's experts lie two deep, a demo's one more.
const DEPTH: usize = 4;

fn list(arguments: List) -> Result<(), Error> {
    let mut folders = arguments.folders;
    if folders.is_empty() {
        folders.push(".".into());
    }
    let mut found = Vec::new();
    for folder in &folders {
        find(folder, DEPTH, &mut found)?;
    }
    let mut experts = Vec::new();
    for folder in found {
        match ExpertInfo::read(&folder) {
            Ok(info) => experts.push((folder, info)),
            Err(error) => tell!("left out: {error}"),
        }
    }
    if arguments.json {
        let experts = experts.iter().map(|(folder, info)| json!({"folder": folder, "expert": info}));
        return print_json(&json!({"experts": experts.collect::<Vec<_>>()}));
    }
    if experts.is_empty() {
        tell!("no expert in {}", folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", "));
    }
    for (folder, info) in experts {
        let private = if info.is_private() { "private  " } else { "" };
        let ExpertInfo { name, domain, blocks, layers_per_block, base_sha256, .. } = info;
        let size = format!("{blocks} x {layers_per_block} layers");
        say!("{name:16} {domain:16} {size:16} base {base_sha256:.12}..  {private}{}", folder.display());
    }
    Ok(())
}

/// The folders with an expert.json, `depth` deep, in the order of their names.
fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    if folder.join("expert.json").exists() {
        found.push(folder.to_path_buf());
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(Error::file(folder))?;
    let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    inside.retain(|path| depth > 0 && !path.is_symlink());
    inside.sort();
    // A folder inside that can't be read is no reason to say nothing of the others.
    inside.iter().for_each(|path| {
        let _ = find(path, depth - 1, found);
    });
    Ok(())
}

fn verify(arguments: &Verify) -> Result<(), Error> {
    let device = arguments.device.open()?;
    let model = open_with_experts(&arguments.model, std::slice::from_ref(&arguments.folder), gate_rule(), &device)?;
    let mut count = 0;
    let gates = model.gates.iter().flat_map(|gate| gate.params());
    for param in model.experts.iter().flat_map(|expert| expert.params()).chain(gates) {
        let values = param.value().to_vec()?;
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::content(&arguments.folder, format!("{} holds {value}; train it again", param.name())));
        }
        count += values.len();
    }
    let info = &model.experts[0].info;
    say!("ok       {} ({}): {count} parameters, all finite", info.name, info.domain);
    say!("base     {}: {:.12}.., as the expert says", arguments.model.display(), info.base_sha256);
    Ok(())
}

/// What an opening read and took.
#[derive(Serialize)]
struct Taken {
    what: String,
    milliseconds: f64,
    bytes: u64,
}

fn switch(arguments: &Switch) -> Result<(), Error> {
    let device = arguments.device.open()?;
    let timed = |what: String, open: &mut dyn FnMut() -> Result<u64, Error>| -> Result<Taken, Error> {
        let start = Instant::now();
        let bytes = open()?;
        device.synchronize()?;
        Ok(Taken { what, milliseconds: 1e3 * start.elapsed().as_secs_f64(), bytes })
    };
    let mut model: Option<Model> = None;
    let mut all = vec![timed(format!("the base model, {}", arguments.model.display()), &mut || {
        model = Some(open_with_experts(&arguments.model, &[], gate_rule(), &device)?);
        weight_bytes(&arguments.model)
    })?];
    let Some(mut model) = model else { return Ok(()) };
    // Its hash is asked for once; that is no part of a switch.
    model.switch(&arguments.expert[..1], gate_rule())?;
    for folder in &arguments.expert {
        let what = format!("expert {}", folder.display());
        all.push(timed(what, &mut || model.switch(std::slice::from_ref(folder), gate_rule()))?);
    }
    if arguments.json {
        return print_json(&json!({"opened": all}));
    }
    for Taken { what, milliseconds, bytes } in all {
        say!("{milliseconds:9.1} ms  {:9.2} MB  {what}", bytes as f64 / 1e6);
    }
    Ok(())
}
