//! A run's processes, of which there may be one: that of the first device leads (`leader.rs`), those of others follow (`follower.rs`) by the
//! orders that it gives (`orders.rs`); what each has of a layout's devices before it begins: `places.rs`.

#[cfg(any(test, feature = "mpi", feature = "net"))]
mod follower;
mod leader;
mod orders;
mod places;

#[cfg(any(test, feature = "mpi", feature = "net"))]
pub(crate) use follower::{Follower, FollowerEvent};
pub(crate) use leader::Leader;
#[cfg(test)]
pub(super) use orders::Order;
pub(crate) use places::{Connected, Members, Places, devices};
