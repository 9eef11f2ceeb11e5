//! Training: recipes, the loop, evaluation, and what each method does with them.

mod checkpoint;
mod data;
mod eval;
mod export;
mod frozen;
mod generate;
mod method;
mod metrics;
mod recipe;
mod run;
mod schedule;
mod set;
mod step;
mod tensorboard;
mod trainer;

pub use checkpoint::Header as CheckpointHeader;
pub(crate) use checkpoint::{
    files as checkpoints, is_intact as checkpoint_is_intact, read_header as checkpoint_header,
};
pub use eval::{Evaluation, evaluate};
pub use export::export;
pub use generate::{Generated, generate};
pub use recipe::{
    CheckpointSettings, ComposeSettings, DataSource, DecayedSetting, ExpertSettings, LoraSettings, Method, ModelShape,
    Recipe, TrainSettings, Unfrozen,
};
pub(crate) use recipe::{expert_init, gate_rule, share};
pub use run::{DryRun, Event, Existing, Finished, Listener, dry_run, run};
pub use schedule::Schedule;
pub(crate) use set::{apply as apply_setting, from_table};
pub use step::{Stepped, one_step};
pub use trainer::StepReport;
