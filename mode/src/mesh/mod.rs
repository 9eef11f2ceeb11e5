//! Training over several devices.
//!
//! The words: a *device* computes; a *mesh* is a grid of devices with named *axes*; a tensor's *placement* says how it lies along an axis; to
//! *reshard* is to bring it to another mesh or placement; a *collective* is what devices of a mesh do together. Under SPMD one mesh runs
//! one program; under MPMD the backbone has one mesh and experts have others, which meet at the merge alone.
//!
//! [`plan()`] makes a step's [`Schedule`] of a [`Problem`] and a [`Layout`] (`plan/`). The devices carry it out (`run/`) and talk to each other
//! over a [`Transport`] (`transport/`), in one process or several (`processes/`); the simulator prices it (`simulate/`). The model's own
//! maths know nothing of all this.
//!
//! A model whose expert is in another process asks its owner over the same transports: [`ExpertClient`] and [`answer()`] (`remote/`).

mod plan;
mod processes;
mod remote;
mod run;
mod simulate;
#[cfg(test)]
mod tests;
mod transport;

pub use plan::{
    Action, Axis, Branch, Collective, Entry, Footprint, GradientKind, HalfLayer, Layout, Mesh, Placement, Problem,
    Recompute, Schedule, Slot, Work, footprint, plan, share,
};
pub(crate) use processes::{Connected, Leader, Members, Places, devices};
#[cfg(any(feature = "mpi", feature = "net"))]
pub(crate) use processes::{Follower, FollowerEvent};
#[cfg(feature = "net")]
pub(crate) use remote::said;
pub use remote::{ExpertClient, answer};
pub(crate) use run::{Here, check_threads};
pub use run::{Options, Team, TeamStep};
pub use simulate::paper::{config as paper_config, fig4, scale};
pub use simulate::{
    Assumed, Attention, Cost, Hardware, Host, LinkRate, Prediction, Priced, Rates, Traced, bytes_by_link, costs,
    layouts, predict, seconds, timeline,
};
#[cfg(any(feature = "mpi", feature = "net"))]
pub(crate) use transport::Hello;
#[cfg(feature = "mpi")]
pub(crate) use transport::mpi;
#[cfg(feature = "net")]
pub(crate) use transport::net;
pub use transport::{EmulatedLink, Local, Message, PATIENCE, Transport, local};
