//! Training: recipes, the loop, evaluation, and what each method does with them.

mod eval;
mod fit;
mod frozen;
mod generate;
mod method;
mod recipe;
mod schedule;
mod set;

pub use eval::{Evaluation, evaluate};
pub use fit::{Fit, fit, one_step};
pub use generate::{Generated, generate};
pub use method::{Finished, Progress, RunData, run};
pub use recipe::{
    ComposeSettings, DataSource, ExpertSettings, LoraSettings, Method, ModelShape, Recipe, TrainSettings, Unfrozen,
};
pub(crate) use recipe::{expert_init, gate_rule, share};
pub use schedule::Schedule;
pub(crate) use set::{apply as apply_setting, from_table};
