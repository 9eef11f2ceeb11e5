//! A layout's schedule with what each of its entries costs, on whatever hardware, and what is assumed of the program that carries it out.

use super::cost::{Attention, Cost, costs};
use crate::mesh::plan::{Action, Entry, Layout, Problem, Schedule, Work, plan};
use std::sync::Arc;

/// What is assumed of the program. The default is this project's own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assumed {
    /// Bytes of an element on the wire.
    pub element_bytes: f64,
    /// Whether a compiler makes norms, rotations, activations and sums part of products.
    pub fuses: bool,
    /// Whether AdamW's passes over weights, gradients and moments are counted.
    pub optimizer: bool,
    /// How attention is computed.
    pub attention: Attention,
}

impl Default for Assumed {
    fn default() -> Self {
        Self { element_bytes: 4.0, fuses: false, optimizer: true, attention: Attention::Fused }
    }
}

/// A layout's schedule with what each of its entries costs, on whatever hardware.
pub struct Priced<'a> {
    pub(super) problem: &'a Problem,
    pub(super) layout: &'a Layout,
    /// What is priced.
    pub schedule: Arc<Schedule>,
    pub(super) costs: Vec<Cost>,
    pub(super) assumed: Assumed,
}

impl<'a> Priced<'a> {
    /// The schedule of a problem on a layout, priced.
    pub fn new(problem: &'a Problem, layout: &'a Layout, assumed: Assumed) -> Self {
        let schedule = Arc::new(plan(problem, layout));
        let mut costs = costs(problem, layout, &schedule, assumed.attention);
        if assumed.fuses {
            costs.iter_mut().for_each(|cost| cost.fusable = 0.0);
        }
        if !assumed.optimizer {
            let steps = |entry: &Entry| matches!(entry.action, Action::Compute(Work::Measure | Work::Update));
            let of_optimizer = costs.iter_mut().zip(&schedule.entries).filter(|(_, entry)| steps(entry));
            of_optimizer.for_each(|(cost, _)| *cost = Cost::default());
        }
        Self { problem, layout, schedule, costs, assumed }
    }
}
