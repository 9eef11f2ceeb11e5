//! Seconds of training steps, as lines of `results/timed.jsonl`.

use crate::experiments::plan::Plan;
use serde::{Deserialize, Serialize};

/// Steps of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// Which program made it.
    pub version: String,
    /// Whose turns these were.
    pub experiment: String,
    /// The case.
    pub case: Case,
    /// Base, sizes, and windows.
    pub sizes: String,
    /// Parameters.
    pub params_total: u64,
    /// Seconds of each step.
    pub seconds: Vec<f64>,
    /// Seconds of the gate merges, and of all launches, the medians of steps in which each launch was timed.
    pub merges: [f64; 2],
    /// So many steps those were.
    #[serde(default)]
    pub profiled: usize,
    /// Bytes that those merges move at the least, and operations of all other launches.
    pub cost: [f64; 2],
    /// Device and machine.
    pub machine: String,
}

/// What a step trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// All weights of the base.
    Full,
    /// A LoRA of the settings' rank.
    Lora,
    /// Bottlenecks of as many parameters.
    Bottleneck,
    /// So many experts, of one layer beside each block of the settings, and gates.
    Experts(usize),
    /// The same, and the backbone as well.
    Unfrozen(usize),
    /// Gates alone, beside so many experts.
    Gates(usize),
}

/// What the sizes of a plan are known by.
pub(crate) fn sizes(plan: &Plan) -> String {
    let s = plan.settings();
    let base = plan.setup.base.given().map_or("pre-trained", |given| &given.id);
    format!(
        "{base}, {} layers of width {} and {}, {} heads, vocabulary {}, {} blocks, rank {}, {} windows of {}",
        s.layers, s.width, s.hidden, s.heads, s.vocabulary, s.blocks, s.rank, s.batch, s.length
    )
}

/// Steps of each case in which every launch is timed.
pub(crate) const PROFILED: usize = 5;

/// A case of an experiment at the plan's sizes, as it was timed last: on the machine of the experiment's last, or times are compared that are
/// of two.
pub(crate) fn find<'t>(plan: &Plan, experiment: &str, case: Case, there: &'t [Timed]) -> Option<&'t Timed> {
    let sizes = sizes(plan);
    let same = |timed: &&Timed| timed.experiment == experiment && timed.sizes == sizes && timed.profiled == PROFILED;
    let last = there.iter().rfind(same)?;
    there.iter().filter(same).rfind(|timed| timed.case == case && timed.machine == last.machine)
}
