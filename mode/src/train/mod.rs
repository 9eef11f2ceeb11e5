//! Training: recipes, the loop, evaluation, and what each method does with them.

mod eval;
mod fit;
mod frozen;
mod generate;
mod method;
mod recipe;
mod schedule;

pub use eval::{Evaluation, evaluate};
pub use fit::{Fit, fit, one_step};
pub use generate::{Generated, generate};
pub use method::{Finished, Progress, RunData, run};
pub use recipe::{
    ComposeSettings, DataSource, ExpertSettings, GatesOr, LoraSettings, Method, ModelShape, Recipe, TrainSettings,
};
pub(crate) use recipe::{apply as apply_setting, expert_init, explain as explain_setting, gate_rule, share};
pub use schedule::Schedule;
