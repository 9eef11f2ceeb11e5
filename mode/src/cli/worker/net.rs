//! Over gRPC: the process of one mesh, which waits, or the main process, which has all others and calls.

use super::Arguments;
use super::process::Process;
use crate::Error;
use crate::cli::peers::{Called, Calls, number_of};
use crate::mesh::net::{Peer, Routed, Session, connect, listen};
use crate::mesh::{Here, Layout};

pub(super) fn main(arguments: Arguments) -> Result<(), Error> {
    let identity = arguments.calls.own.identity()?;
    if arguments.layout.is_none() {
        return Err(Error::Setting("--layout: over gRPC it is given, the same in all processes".into()));
    }
    // Who has the backbone is known by the call; a layout needs the experts' names, which are known once the recipe is open.
    let process = Process::open(&arguments, |experts, layout| Layout::read(layout.unwrap_or_default(), experts))?;
    let own = mesh(&process.layout, &arguments.mesh)?;
    let setting =
        |here| arguments.calls.own.setting(identity, process.hello.clone(), process.layout.device_names(), here);
    let devices = |mesh: usize| process.layout.meshes[mesh].devices();
    let mut others = Vec::new();
    let (session, transports) = match &arguments.listen {
        Some(address) => {
            if own == 0 {
                let what =
                    format!("--mesh {}: the backbone's mesh is the main process's; give it --connect", arguments.mesh);
                return Err(Error::Setting(what));
            }
            let peer = arguments.calls.own.caller()?;
            let here: Vec<usize> = devices(own).collect();
            process.check(&arguments, &here)?;
            // Who waits for the main process waits for whomever that waits for: it is to give up first, and to say on whom.
            let mut setting = setting(here);
            setting.patience *= 2;
            listen(address, &called(&arguments.mesh), &peer, setting)?
        }
        None => {
            if own > 0 {
                let what = format!(
                    "--mesh {}: the main process has the backbone; give --mesh {}",
                    arguments.mesh, process.layout.meshes[0].name
                );
                return Err(Error::Setting(what));
            }
            let peers = peers(&arguments.calls, &process.layout)?;
            let elsewhere = |device: &usize| peers.iter().any(|peer| peer.devices.contains(device));
            let here: Vec<usize> = (0..process.layout.devices()).filter(|device| !elsewhere(device)).collect();
            process.check(&arguments, &here)?;
            others = peers.iter().filter_map(|peer| peer.devices.first().copied()).collect();
            connect(&peers, setting(here))?
        }
    };
    run(process, &arguments, session, transports, others)
}

fn run(
    process: Process,
    arguments: &Arguments,
    session: Session,
    transports: Vec<(usize, Routed)>,
    others: Vec<usize>,
) -> Result<(), Error> {
    let here = |(number, transport): (usize, Routed)| {
        Ok(Here { number, device: Process::device(arguments)?, transport: Box::new(transport) })
    };
    let here = transports.into_iter().map(here).collect::<Result<Vec<_>, Error>>();
    let done = here.and_then(|here| process.run(arguments, here, others));
    session.finish();
    done
}

/// The mesh of this name.
fn mesh(layout: &Layout, name: &str) -> Result<usize, Error> {
    number_of("mesh", &names(layout), name, "--mesh")
}

fn names(layout: &Layout) -> Vec<String> {
    layout.meshes.iter().map(|mesh| mesh.name.clone()).collect()
}

/// The processes to call, each with its certificate.
fn peers(calls: &Calls, layout: &Layout) -> Result<Vec<Peer>, Error> {
    let peer = |Called { number, address, certificate }| {
        let mesh = &layout.meshes[number];
        if number == 0 {
            let what = format!("--connect {}={address}: mesh '{}' is this process's own", mesh.name, mesh.name);
            return Err(Error::Setting(what));
        }
        Ok(Peer { name: called(&mesh.name), address, certificate, devices: mesh.devices().collect() })
    };
    calls.called("mesh", &names(layout))?.into_iter().map(peer).collect()
}

/// What both sides call a mesh's process.
fn called(mesh: &str) -> String {
    format!("mesh '{mesh}'")
}
