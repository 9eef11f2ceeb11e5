//! Over gRPC: the process of one mesh, which waits, or the main process, which has all others and calls.

use super::Arguments;
use super::part::Part;
use crate::Error;
use crate::mesh::net::{Identity, Peer, Routed, Say, Session, Setting, connect, listen, read_certificate};
use crate::mesh::{Here, Layout, device_names};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn main(arguments: Arguments) -> Result<(), Error> {
    let identity = identity(&arguments)?;
    // Who has the backbone is known by the call; a layout needs the experts' names, which are known once the recipe is open.
    let part = Part::open(&arguments, |experts, layout| Layout::read(layout.unwrap_or_default(), experts))?;
    let own = mesh(&part.layout, &arguments.mesh, "--mesh")?;
    let setting = |here: Vec<usize>| Setting {
        hello: part.hello.clone(),
        names: device_names(&part.layout),
        here,
        identity,
        patience: Duration::from_secs(arguments.patience),
        say: Arc::new(|line: &str| tell!("{}", crate::cli::printable(line))) as Say,
    };
    let devices = |mesh: usize| part.layout.meshes[mesh].devices();
    let mut others = Vec::new();
    let (session, transports) = match &arguments.listen {
        Some(address) => {
            if own == 0 {
                let what =
                    format!("--mesh {}: the backbone's mesh is the main process's; give it --connect", arguments.mesh);
                return Err(Error::Setting(what));
            }
            let peer = match arguments.peers.as_slice() {
                [peer] => read_certificate(Path::new(peer))?,
                _ => return Err(Error::Setting("--peer: give the main process's certificate, and no other".into())),
            };
            let here: Vec<usize> = devices(own).collect();
            part.check_private(&here)?;
            listen(address, &arguments.mesh, &peer, setting(here))?
        }
        None => {
            if own > 0 {
                let what = format!(
                    "--mesh {}: the main process has the backbone; give --mesh {}",
                    arguments.mesh, part.layout.meshes[0].name
                );
                return Err(Error::Setting(what));
            }
            let peers = peers(&arguments, &part.layout)?;
            let elsewhere = |device: &usize| peers.iter().any(|peer| peer.devices.contains(device));
            let here: Vec<usize> = (0..part.layout.devices()).filter(|device| !elsewhere(device)).collect();
            part.check_private(&here)?;
            others = peers.iter().filter_map(|peer| peer.devices.first().copied()).collect();
            connect(&peers, setting(here))?
        }
    };
    run(part, &arguments, session, transports, others)
}

fn run(
    part: Part,
    arguments: &Arguments,
    session: Session,
    transports: Vec<(usize, Routed)>,
    others: Vec<usize>,
) -> Result<(), Error> {
    let here = |(number, transport): (usize, Routed)| {
        Ok(Here { number, device: Part::device(arguments)?, transport: Box::new(transport) })
    };
    let here = transports.into_iter().map(here).collect::<Result<Vec<_>, Error>>();
    let done = here.and_then(|here| part.run(arguments, here, others));
    session.finish();
    done
}

/// What clap has seen to be there.
fn identity(arguments: &Arguments) -> Result<Identity, Error> {
    match (&arguments.certificate, &arguments.key) {
        (Some(certificate), Some(key)) => Identity::read(certificate, key),
        _ => Err(Error::Setting("--certificate and --key: give both".into())),
    }
}

/// The mesh of this name.
fn mesh(layout: &Layout, name: &str, flag: &str) -> Result<usize, Error> {
    let names: Vec<&str> = layout.meshes.iter().map(|mesh| mesh.name.as_str()).collect();
    let found = names.iter().position(|known| *known == name);
    found.ok_or_else(|| {
        let nearest = crate::cli::nearest(name, names.iter().copied());
        Error::Setting(format!("{flag} {name}: layout {} has no such mesh; did you mean '{nearest}'?", layout.name))
    })
}

/// The processes to call, each with its certificate.
fn peers(arguments: &Arguments, layout: &Layout) -> Result<Vec<Peer>, Error> {
    let named = |text: &str, flag: &str| match text.split_once('=') {
        Some((name, rest)) => Ok((mesh(layout, name, flag)?, rest.to_string())),
        None => Err(Error::Setting(format!("{flag} {text}: write NAME={text}, with the name of a mesh"))),
    };
    let certificates = arguments.peers.iter().map(|text| named(text, "--peer")).collect::<Result<Vec<_>, _>>()?;
    let meant = arguments.connect.iter().map(|text| named(text, "--connect")).collect::<Result<Vec<_>, _>>()?;
    let mut peers = Vec::new();
    for (i, (text, (number, address))) in arguments.connect.iter().zip(&meant).enumerate() {
        let number = *number;
        let name = &layout.meshes[number].name;
        if number == 0 {
            return Err(Error::Setting(format!("--connect {text}: mesh '{name}' is this process's own")));
        }
        if meant.iter().enumerate().any(|(other, (mesh, _))| other != i && *mesh == number) {
            return Err(Error::Setting(format!(
                "--connect {text}: mesh '{name}' is reached twice; give it one process"
            )));
        }
        let mut files = certificates.iter().filter(|(mesh, _)| *mesh == number).map(|(_, file)| file);
        let (Some(file), None) = (files.next(), files.next()) else {
            return Err(Error::Setting(format!("--connect {text}: give one certificate, --peer {name}=FILE")));
        };
        peers.push(Peer {
            mesh: name.clone(),
            address: address.clone(),
            certificate: read_certificate(Path::new(file))?,
            devices: layout.meshes[number].devices().collect(),
        });
    }
    Ok(peers)
}
