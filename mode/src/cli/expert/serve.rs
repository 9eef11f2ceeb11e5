//! `mode expert serve`: an expert's owner, who answers those that have everything else.

use crate::Error;
use crate::cli::DeviceArguments;
use crate::cli::peers::Own;
use std::path::PathBuf;

#[derive(clap::Args)]
#[cfg_attr(not(feature = "net"), allow(dead_code))]
pub(super) struct Serve {
    /// The expert's folder, with its layers
    folder: PathBuf,
    /// The base model that it was made beside, of which config.json is enough
    #[arg(long)]
    base: PathBuf,
    /// Wait here for callers, one after the other
    #[arg(long, value_name = "ADDRESS:PORT", requires_all = ["certificate", "key", "peers"])]
    listen: String,
    #[command(flatten)]
    own: Own,
    #[command(flatten)]
    device: DeviceArguments,
}

#[cfg(not(feature = "net"))]
pub(super) fn serve(_: &Serve) -> Result<(), Error> {
    Err(crate::cli::peers::without_grpc())
}

#[cfg(feature = "net")]
pub(super) fn serve(arguments: &Serve) -> Result<(), Error> {
    use crate::cli::printable;
    use crate::mesh::net::{Door, Line};
    use crate::mesh::{Hello, answer, said};
    use crate::model::ServedExpert;

    let (identity, caller) = (arguments.own.identity()?, arguments.own.caller()?);
    let mut served = ServedExpert::open(&arguments.folder, &arguments.base, &arguments.device.open()?)?;
    let name = format!("expert '{}'", served.info().name);
    let hello = Hello::of_expert(served.info(), served.config());
    let names = vec!["the caller".into(), name.clone()];
    let setting = arguments.own.setting(identity, hello, names, vec![1]);
    let door = Door::open(&arguments.listen, &name, &caller, setting)?;
    loop {
        let mut line = Line::new(door.next()?)?;
        tell!("{name}: answering");
        match answer(&mut served, &mut line) {
            Ok(count) => tell!("{name}: the caller has ended after {count} questions"),
            Err(error) => {
                let why = match error {
                    Error::Peer { .. } | Error::Silent { .. } => format!("the caller {}", said(error)),
                    other => other.to_string(),
                };
                tell!("{name}: given up: {}", printable(&why));
                line.give_up(&why);
            }
        }
    }
}
