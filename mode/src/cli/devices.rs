//! `mode devices`: the adapters that `--device gpu:N` can name.

use super::{print_json, tune};
use crate::{Error, memory};
use mode_kernels::AdapterSummary;
use mode_tensor::Device;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// List the GPUs of this machine and what they can do.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let adapters = Device::adapters();
    let free = memory::available();
    if arguments.json {
        let adapters = adapters.iter().enumerate().map(|(i, adapter)| as_json(i, adapter));
        let adapters = adapters.collect::<Result<Vec<Value>, Error>>()?;
        let cpu = json!({"threads": rayon::current_num_threads(), "free_bytes": free});
        return print_json(&json!({"cpu": cpu, "gpus": adapters}));
    }
    let free = free.map_or_else(String::new, |bytes| format!(", {:.1} GB of memory free", bytes as f64 / 1e9));
    say!("cpu    {} threads{free}", rayon::current_num_threads());
    for (i, adapter) in adapters.iter().enumerate() {
        print(i, adapter)?;
    }
    if adapters.is_empty() {
        say!("no GPU: no Vulkan, Metal or DX12 driver was found; everything runs on the CPU");
    }
    Ok(())
}

fn print(number: usize, a: &AdapterSummary) -> Result<(), Error> {
    let kind = if a.hardware { "" } else { ", software" };
    let [buffer, binding] = a.buffer_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20));
    let list = |words: &[String]| if words.is_empty() { "none".into() } else { words.join(", ") };
    say!("gpu:{number}  {} through {}{kind}; {}", a.name, a.backend, a.driver);
    say!("       buffers of {buffer:.0} MiB, {binding:.0} MiB of it bound at once");
    say!(
        "       workgroups of {} threads and {} bytes, {} a dimension; subgroups of {} to {}",
        a.workgroup_threads,
        a.workgroup_bytes,
        a.workgroups,
        a.subgroup[0],
        a.subgroup[1]
    );
    say!("       features: {}", list(&a.features.iter().map(ToString::to_string).collect::<Vec<_>>()));
    say!("       cooperative matrices: {}", list(&a.cooperative_matrices));
    say!("       tuning: {}", tuning(a)?);
    Ok(())
}

/// What `mode tune` found.
fn tuning(a: &AdapterSummary) -> Result<String, Error> {
    Ok(match tune::found(a)? {
        None => "none, as built in".into(),
        Some((path, Ok(cache))) => {
            format!("{}, by {}", cache.summary().unwrap_or("as built in".into()), path.display())
        }
        Some((path, Err(why))) => tune::ignored(&path, &why),
    })
}

fn as_json(number: usize, a: &AdapterSummary) -> Result<Value, Error> {
    let tuning = tune::found(a)?.map(|(path, cache)| match cache {
        Ok(cache) => json!({"file": path, "numbers": cache.changed().collect::<BTreeMap<_, _>>()}),
        Err(why) => json!({"file": path, "ignored": why}),
    });
    Ok(json!({
        "device": format!("gpu:{number}"),
        "name": a.name,
        "backend": a.backend,
        "hardware": a.hardware,
        "driver": a.driver,
        "max_buffer_bytes": a.buffer_bytes[0],
        "max_binding_bytes": a.buffer_bytes[1],
        "workgroup_bytes": a.workgroup_bytes,
        "workgroup_threads": a.workgroup_threads,
        "workgroups_per_dimension": a.workgroups,
        "subgroup_sizes": a.subgroup,
        "features": a.features,
        "cooperative_matrices": a.cooperative_matrices,
        "tuning": tuning,
    }))
}
