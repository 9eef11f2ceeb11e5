//! Training: recipes, the loop, evaluation, and what each method does with them.

mod checkpoint;
mod data;
mod dry_run;
mod dry_step;
mod eval;
mod export;
#[cfg(any(feature = "mpi", feature = "net"))]
mod follow;
mod frozen;
mod method;
mod metrics;
mod mixed;
mod out;
mod profile;
mod recipe;
mod record;
mod run;
mod schedule;
mod settings;
mod size;
mod step;
mod tensorboard;
mod trainer;

pub use checkpoint::Header as CheckpointHeader;
pub(crate) use checkpoint::{
    files as checkpoints, is_intact as checkpoint_is_intact, read_header as checkpoint_header,
};
pub(crate) use data::same_tokenizer;
pub use dry_run::{DryRun, dry_run};
pub(crate) use dry_step::beside;
pub use dry_step::{DryStep, StepMemory, dry_step};
pub use eval::{Evaluation, evaluate};
pub use export::{export, merge};
#[cfg(any(feature = "mpi", feature = "net"))]
pub(crate) use follow::follow;
pub(crate) use frozen::count;
pub(crate) use method::plain;
pub(crate) use metrics::read as read_metrics;
pub(crate) use mixed::check as check_mixed;
pub use mixed::{LossScaling, SavedScale};
#[cfg(any(feature = "mpi", feature = "net"))]
pub(crate) use out::check as check_out;
pub(crate) use profile::with_steps;
#[cfg(any(feature = "mpi", feature = "net"))]
pub(crate) use recipe::Named;
pub(crate) use recipe::kebab;
pub use recipe::{Method, Recipe};
pub use record::Finished;
pub(crate) use record::{PROFILE, is_run, read_run};
pub use run::{Event, Existing, Listener, run};
pub(crate) use run::{Prepared, prepare, run_on};
pub use schedule::Schedule;
pub use settings::{
    BottleneckSettings, CheckpointSettings, ComposeSettings, DataSource, DecayedSetting, ExpertSettings, LoraSettings,
    MeshSettings, ModelShape, Precision, TrainSettings, Unfrozen,
};
pub(crate) use settings::{expert_init, gate_rule, share};
pub(crate) use size::PRETRAIN_RATE;
pub use size::Size;
pub use step::{Launched, Stepped, launch_step, one_step};
pub use trainer::StepReport;
