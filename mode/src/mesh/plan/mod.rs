//! What is to be done: a *layout* puts the branches of a model on meshes of devices, a *problem* is the model and its batch in numbers, and
//! the plan makes of both a *schedule*, the typed entries of a step.
//!
//! `grid.rs` has meshes and their axes, `placement.rs` how a tensor lies on one; `step.rs` is the plan, written with `planner.rs`;
//! `footprint.rs` is what a device needs memory for.

mod footprint;
mod grid;
mod layout;
mod placement;
mod planner;
pub(super) mod problem;
mod schedule;
mod step;

pub(super) use footprint::fullest;
pub use footprint::{Footprint, footprint};
pub use grid::{Axis, Mesh, share};
pub use layout::Layout;
pub use placement::Placement;
pub use problem::{Problem, Recompute};
pub use schedule::{Action, Branch, Collective, Entry, GradientKind, HalfLayer, Schedule, Slot, Work};
pub use step::plan;
pub(super) use step::plan_score;
