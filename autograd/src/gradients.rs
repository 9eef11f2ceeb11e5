//! Where gradients meet: the sink that vjps write to, and what is left of it at the end.

use crate::{AutogradError, Param};
use mode_tensor::{Product, Target, Tensor, TensorError, accumulate, add, matmul_into};
use std::collections::BTreeMap;

/// Takes the gradients of one operation's operands, by their numbers. What arrives for an operand that wants none is
/// dropped, but a vjp asks [`Sink::wants`] before it computes anything.
pub struct Sink<'a> {
    pub(crate) parents: &'a [Option<usize>],
    pub(crate) slots: &'a mut [Option<Tensor>],
}

impl Sink<'_> {
    fn slot(&mut self, operand: usize) -> Option<&mut Option<Tensor>> {
        let node = self.parents.get(operand).copied().flatten()?;
        self.slots.get_mut(node)
    }

    /// True if operand number `operand` wants a gradient.
    pub fn wants(&self, operand: usize) -> bool {
        self.parents.get(operand).is_some_and(Option::is_some)
    }

    /// Adds a gradient that already exists.
    ///
    /// # Errors
    /// A gradient of another shape than one that came before.
    pub fn add(&mut self, operand: usize, gradient: Tensor) -> Result<(), AutogradError> {
        let Some(slot) = self.slot(operand) else { return Ok(()) };
        *slot = Some(match slot.take() {
            None => gradient,
            // In place only where no one else reads: a residual connection hands one tensor to both of its operands.
            Some(sum) if sum.is_sole_owner() => {
                accumulate(&gradient, &sum)?;
                sum
            }
            Some(sum) => add(&sum, &gradient, None)?,
        });
        Ok(())
    }

    /// Lets `compute` write a gradient to fresh memory, or add it to what has come before.
    ///
    /// # Errors
    /// What `compute` reports.
    pub fn compute(
        &mut self,
        operand: usize,
        compute: impl FnOnce(Target) -> Result<Tensor, TensorError>,
    ) -> Result<(), AutogradError> {
        let Some(slot) = self.slot(operand) else { return Ok(()) };
        *slot = Some(match slot.take() {
            None => compute(Target::New)?,
            Some(sum) if sum.is_sole_owner() => compute(Target::Add(&sum))?,
            Some(sum) => add(&sum, &compute(Target::New)?, None)?,
        });
        Ok(())
    }

    /// Adds a product of matrices, without a temporary where it can.
    ///
    /// # Errors
    /// Inner dims that differ.
    pub fn matmul(&mut self, operand: usize, product: Product) -> Result<(), AutogradError> {
        self.compute(operand, |target| matmul_into(product, target))
    }
}

/// The gradients of trained parameters after a backward pass.
pub struct Gradients {
    params: BTreeMap<u64, usize>,
    slots: Vec<Option<Tensor>>,
}

impl Gradients {
    pub(crate) fn new(params: BTreeMap<u64, usize>, slots: Vec<Option<Tensor>>) -> Self {
        Self { params, slots }
    }

    /// Takes a parameter's gradient out.
    pub(crate) fn take(&mut self, param: u64) -> Option<Tensor> {
        self.slots[self.params.remove(&param)?].take()
    }

    /// Puts back what is left of `before`: gradients of parameters that the pass did not use.
    pub(crate) fn keep(&mut self, mut before: Self) {
        for (param, slot) in before.params {
            self.params.insert(param, self.slots.len());
            self.slots.push(before.slots[slot].take());
        }
    }

    /// A parameter's gradient.
    ///
    /// # Errors
    /// A parameter that the loss does not depend on, by name. A gradient of zeros is fine.
    pub fn of(&self, param: &Param) -> Result<&Tensor, AutogradError> {
        let unreached = || AutogradError::Unreached { name: param.name().into() };
        let slot = self.params.get(&param.id()).ok_or_else(unreached)?;
        self.slots[*slot].as_ref().ok_or_else(unreached)
    }
}
