//! Devices at work: each carries out its entries of a schedule in their order (`rank.rs`, `batch.rs`) on its shard of the model (`shard.rs`), half a layer
//! at a time (`tapes.rs`), embedding and loss by words (`vocab_parallel.rs`). Those of one process are on threads (`team.rs`); what they
//! train becomes whole parameters and goes back (`sharding.rs`).

mod batch;
mod rank;
mod shard;
mod sharding;
mod tapes;
mod team;
mod vocab_parallel;

pub(super) use batch::{ParamState, StepBatch};
pub(super) use rank::Rank;
#[cfg(test)]
pub(super) use sharding::Sharding;
#[cfg(any(test, feature = "mpi", feature = "net"))]
pub(super) use team::Wanted;
pub(crate) use team::{Here, check_threads};
pub use team::{Options, Team, TeamStep};
