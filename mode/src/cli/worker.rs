//! `mode worker`: one of several processes that train together. Under `mpirun` each has one device; over gRPC each but the first has the
//! devices of one mesh.

#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "net")]
mod net;
#[cfg(any(feature = "mpi", feature = "net"))]
mod part;

use super::recipe::RecipeArguments;
use crate::Error;
use std::path::PathBuf;

/// Be one of several processes that train together, under mpirun or over gRPC.
#[derive(clap::Args)]
#[cfg_attr(not(all(feature = "mpi", feature = "net")), allow(dead_code))]
pub(crate) struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Take the steps and leave nothing; print what they took, as `mode mesh run` does
    #[arg(long)]
    measure: bool,
    /// The mesh that this process belongs to; under mpirun any word, the first one the backbone's
    #[arg(long, value_name = "NAME")]
    mesh: String,
    /// The layout: spmd-4, 4+2+2, .. or a .toml file; under mpirun it may be left out
    #[arg(long)]
    layout: Option<String>,
    /// Wait here for the main process, which has the backbone
    #[arg(long, value_name = "ADDRESS:PORT", requires_all = ["certificate", "key", "peers", "layout"])]
    listen: Option<String>,
    /// Be the main process, and reach another mesh's process here; may be repeated
    #[arg(long, value_name = "NAME=HOST:PORT", conflicts_with = "listen", requires_all = ["certificate", "key", "peers", "layout"])]
    connect: Vec<String>,
    /// This process's certificate, a PEM file
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its private key, a PEM file
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The only certificate that the other process may show; the main process names the mesh: NAME=FILE, once for each
    #[arg(long = "peer", value_name = "FILE")]
    peers: Vec<String>,
    /// Where this process's devices compute: cpu, gpu or gpu:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads of each CPU device
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    threads: u64,
    /// Seconds without a word after which another device is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    patience: u64,
    /// Print one object of JSON, in the process of the first device
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    match arguments.listen.is_some() || !arguments.connect.is_empty() {
        true => over_grpc(arguments),
        false => under_mpi(arguments),
    }
}

#[cfg(feature = "net")]
fn over_grpc(arguments: Arguments) -> Result<(), Error> {
    net::main(arguments)
}

#[cfg(not(feature = "net"))]
fn over_grpc(_: Arguments) -> Result<(), Error> {
    let what = "this program was built without gRPC; build it with `cargo build --release --features net`";
    Err(Error::Setting(what.into()))
}

#[cfg(feature = "mpi")]
fn under_mpi(arguments: Arguments) -> Result<(), Error> {
    mpi::main(arguments)
}

#[cfg(not(feature = "mpi"))]
fn under_mpi(_: Arguments) -> Result<(), Error> {
    let what = "this program was built without MPI; build it with `cargo build --release --features mpi`, or give --listen or \
                --connect and build it with `--features net`";
    Err(Error::Setting(what.into()))
}
