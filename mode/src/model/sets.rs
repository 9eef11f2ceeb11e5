//! Some of a model's experts, by name: what is left when others opt out, and what each sequence of a batch asks for.
//!
//! A composed model's softmax is taken over the backbone and the experts that are left, a_j / sum of those kept: rows of the gate
//! are left out, and the others stay. Where the gates were composed as the model was opened, from those that stage 1 left beside
//! the experts, they are composed anew of the experts that are left, as if the others had never been given.

use super::cache::Span;
use super::decoder::Model;
use super::expert::Expert;
use super::gate::{Gate, GateRule};
use crate::Error;

/// Gates of stage 1: for each expert those of all blocks, and the rule that composes them.
pub(crate) struct StageOneGates {
    pub(crate) rule: GateRule,
    pub(crate) gates: Vec<Vec<Gate>>,
}

/// Experts that answer together, and each block's gate over the backbone and them.
pub struct ExpertSet {
    /// Their numbers in the model, in its order.
    experts: Vec<usize>,
    gates: Vec<Gate>,
}

/// Sequences of a batch that the same experts answer.
pub struct Group<'a> {
    pub(crate) experts: Vec<&'a Expert>,
    pub(crate) gates: &'a [Gate],
    pub(crate) spans: &'a [Span<'a>],
}

impl Model {
    /// The set of all experts but those of these names.
    ///
    /// # Errors
    /// A name that no expert has.
    pub fn without(&self, names: &[String]) -> Result<ExpertSet, Error> {
        let out = self.numbers(names)?;
        self.subset((0..self.experts.len()).filter(|number| !out.contains(number)).collect())
    }

    /// The set of the experts of these names; none is the backbone alone.
    ///
    /// # Errors
    /// A name that no expert has.
    pub fn only(&self, names: &[String]) -> Result<ExpertSet, Error> {
        let mut numbers = self.numbers(names)?;
        numbers.sort_unstable();
        numbers.dedup();
        self.subset(numbers)
    }

    fn numbers(&self, names: &[String]) -> Result<Vec<usize>, Error> {
        let number = |name: &String| {
            self.experts.iter().position(|expert| expert.info.name == *name).ok_or_else(|| {
                let known: Vec<&str> = self.experts.iter().map(|expert| expert.info.name.as_str()).collect();
                let known =
                    if known.is_empty() { "it has none".into() } else { format!("it has {}", known.join(", ")) };
                Error::Setting(format!("the model has no expert '{name}'; {known}"))
            })
        };
        names.iter().map(number).collect()
    }

    fn subset(&self, experts: Vec<usize>) -> Result<ExpertSet, Error> {
        let blocks = if experts.is_empty() { 0 } else { self.gates.len() };
        let gate = |block: usize| match &self.stage_one {
            Some(StageOneGates { rule, gates }) => {
                let gates: Vec<&Gate> = experts.iter().map(|&expert| &gates[expert][block]).collect();
                Gate::compose(&gates, block, *rule)
            }
            None => self.gates[block].keep(&experts, block),
        };
        Ok(ExpertSet { gates: (0..blocks).map(gate).collect::<Result<_, _>>()?, experts })
    }

    /// Sequences that a set of the model's experts answers.
    pub fn group<'a>(&'a self, set: &'a ExpertSet, spans: &'a [Span<'a>]) -> Group<'a> {
        let experts = set.experts.iter().map(|&number| &self.experts[number]).collect();
        Group { experts, gates: &set.gates, spans }
    }

    /// Sequences that all of the model's experts answer.
    pub fn everyone<'a>(&'a self, spans: &'a [Span<'a>]) -> Group<'a> {
        Group { experts: self.experts.iter().collect(), gates: &self.gates, spans }
    }

    /// The model with only a set's experts; the others leave the device.
    pub fn keep(mut self, set: ExpertSet) -> Self {
        let kept = |number: usize| set.experts.contains(&number);
        self.experts = only(self.experts, kept);
        if let Some(stage_one) = self.stage_one.take() {
            self.stage_one = Some(StageOneGates { gates: only(stage_one.gates, kept), ..stage_one });
        }
        self.gates = set.gates;
        self
    }
}

/// Those of `all` whose numbers are kept.
fn only<T>(all: Vec<T>, kept: impl Fn(usize) -> bool) -> Vec<T> {
    all.into_iter().enumerate().filter(|(number, _)| kept(*number)).map(|(_, one)| one).collect()
}
