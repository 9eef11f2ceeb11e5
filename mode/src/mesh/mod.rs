//! Training over several devices.
//!
//! The words: a *device* computes; a *mesh* is a grid of devices with named *axes*; a tensor's *placement* says how it lies along an axis; to
//! *reshard* is to bring it to another mesh or placement; a *collective* is what devices of a mesh do together. Under SPMD one mesh runs
//! one program; under MPMD the backbone has one mesh and experts have others, which meet at the merge alone.
//!
//! [`plan()`] makes a step's [`Schedule`] of a [`Problem`] and a [`Layout`]. The devices carry it out (`rank.rs`, on threads: `team.rs`), the
//! simulator prices it. The model's own maths know nothing of all this.
//!
//! A model whose expert is in another process asks its owner over the same transports: [`Asking`] and [`answer()`].

mod answering;
mod asking;
mod collective;
mod cost;
pub mod fig4;
mod footprint;
#[cfg(any(feature = "mpi", feature = "net"))]
mod handshake;
mod hardware;
mod layout;
mod leading;
mod local;
#[allow(clippy::module_inception)]
mod mesh;
#[cfg(feature = "mpi")]
pub(crate) mod mpi;
#[cfg(feature = "net")]
pub(crate) mod net;
mod orders;
mod parts;
mod placement;
mod plan;
mod planner;
mod ports;
mod priced;
#[cfg(test)]
mod privacy;
mod problem;
mod question;
mod rank;
pub mod scale;
mod schedule;
mod search;
#[cfg(any(test, feature = "mpi", feature = "net"))]
mod serving;
mod shard;
mod simulate;
mod tapes;
mod team;
mod timeline;
mod traced;
mod training;
mod transport;
mod vocabulary;

pub use answering::answer;
pub use asking::Asking;
pub use cost::{Attention, Cost, costs};
pub use footprint::{Footprint, footprint};
#[cfg(any(feature = "mpi", feature = "net"))]
pub(crate) use handshake::Hello;
pub use hardware::{Hardware, Host, Rates, Wire};
pub use layout::Layout;
pub use local::{Link, Local, local};
pub use mesh::{Axis, Mesh, share};
pub use placement::Placement;
pub use plan::plan;
pub use priced::{Assumed, Priced};
pub use problem::{Problem, Recompute};
#[cfg(feature = "net")]
pub(crate) use question::said;
pub use schedule::{Action, Branch, Collective, Entry, Place, Schedule, Set, Slot, Work};
pub use search::{Prediction, layouts, predict};
#[cfg(any(feature = "mpi", feature = "net"))]
pub(crate) use serving::{Asked, Serving};
pub use simulate::seconds;
pub(crate) use team::{Here, check_threads};
pub use team::{Options, Stepped, Team};
pub use timeline::{bytes_by_link, timeline};
pub use traced::Traced;
pub(crate) use training::{Members, Places, Training, Wired, devices};
pub use transport::{Message, PATIENCE, Transport};
