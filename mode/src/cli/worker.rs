//! `mode worker`: one of several processes that train together. Under `mpirun` each has one device; over gRPC each but the first has the
//! devices of one mesh.

#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "net")]
mod net;
#[cfg(any(feature = "mpi", feature = "net"))]
mod process;

use super::peers::Calls;
use super::recipe::RecipeArguments;
use crate::Error;

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
    /// Wait here for the main process, which has the backbone and reaches the others by --connect
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "connect", requires_all = ["certificate", "key", "peers"])]
    listen: Option<String>,
    #[command(flatten)]
    calls: Calls,
    /// Where this process's devices compute: cpu, gpu or gpu:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads of each CPU device
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    threads: u64,
    /// Print one object of JSON, in the process of the first device
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    match arguments.listen.is_some() || !arguments.calls.connect.is_empty() {
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
    Err(super::peers::without_grpc())
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
