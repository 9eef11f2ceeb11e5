//! Under `mpirun`: a device a process.

use super::Arguments;
use super::process::Process;
use crate::Error;
use crate::mesh::mpi::World;
use crate::mesh::{Hello, Here, Layout};
use std::time::Duration;

/// How long other processes than the first keep an error to themselves: the launcher ends them as soon as the first has failed, and
/// where all fail of the same, one line is enough.
const MODESTY: Duration = Duration::from_secs(5);

pub(super) fn main(arguments: Arguments) -> Result<(), Error> {
    let world = World::join()?;
    let done = run(&world, &arguments);
    if done.is_err() && world.device() > 0 {
        std::thread::sleep(MODESTY);
    }
    world.leave(done.is_ok());
    done
}

fn run(world: &World, arguments: &Arguments) -> Result<(), Error> {
    let words = world.gather(&arguments.mesh);
    let number = world.device();
    let process = Process::open(arguments, |experts, layout| match layout {
        None => Layout::of_processes(&words, experts).map_err(|what| Error::Setting(format!("--mesh: {what}"))),
        Some(text) => {
            let layout = Layout::read(text, experts)?;
            check(&layout, &words)?;
            Ok(layout)
        }
    })?;
    process.check(arguments, &[number])?;
    let (hello, names) = (&process.hello, process.layout.device_names());
    let own = serde_json::to_string(hello).map_err(|source| Error::Json { path: "MPI".into(), source })?;
    for (other, text) in world.gather(&own).iter().enumerate() {
        let there: Hello = serde_json::from_str(text).map_err(|source| Error::Json { path: "MPI".into(), source })?;
        if let Some(what) = hello.difference(&there) {
            let name = names.get(other).map_or("another process", String::as_str);
            return Err(Error::Setting(format!("{name} {what}")));
        }
    }
    let transport = world.transport(names, Duration::from_secs(arguments.calls.own.patience));
    let here = vec![Here { number, device: Process::device(arguments)?, transport: Box::new(transport) }];
    let others = (0..process.layout.devices()).filter(|&other| other != number).collect();
    process.run(arguments, here, others)
}

/// An error unless the processes' words are the names of a layout's meshes.
fn check(layout: &Layout, words: &[String]) -> Result<(), Error> {
    let (devices, processes) = (layout.devices(), words.len());
    if devices != processes {
        let what =
            format!("{devices} devices, but mpirun has started {processes} processes; start one for each device");
        return Err(Error::Setting(format!("layout {} has {what}", layout.name)));
    }
    match (0..devices).find(|&device| layout.mesh_of(device).name != words[device]) {
        None => Ok(()),
        Some(device) => Err(Error::Setting(format!(
            "process {device} says --mesh {}, but in layout {} it belongs to mesh '{}'",
            words[device],
            layout.name,
            layout.mesh_of(device).name
        ))),
    }
}
