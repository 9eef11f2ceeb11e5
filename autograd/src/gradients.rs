//! Where gradients meet: the sink that vjps write to, and what is left of it at the end.

use crate::{AutogradError, Param};
use mode_tensor::{Product, Target, Tensor, TensorError, accumulate, add, copy, matmul_into};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The gradient of one node so far.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) gradient: Option<Tensor>,
    /// Where it has to lie, if it is of a parameter that an optimizer keeps.
    pub(crate) place: Option<Arc<Tensor>>,
}

impl Slot {
    /// Adds a gradient that already exists.
    pub(crate) fn add(&mut self, gradient: Tensor) -> Result<(), AutogradError> {
        self.gradient = Some(match (self.gradient.take(), &self.place) {
            (None, None) => gradient,
            (None, Some(place)) => {
                copy(&gradient, place)?;
                Tensor::clone(place)
            }
            // In place only where no one else reads: a residual connection hands one tensor to both of its operands.
            (Some(sum), place) if place.is_some() || sum.is_sole_owner() => {
                accumulate(&gradient, &sum)?;
                sum
            }
            (Some(sum), _) => add(&sum, &gradient, None)?,
        });
        Ok(())
    }

    /// Where the next gradient may be written, which [`Slot::put`] must follow.
    fn room(&mut self) -> Place {
        match (self.gradient.take(), &self.place) {
            (None, None) => Place::New,
            (None, Some(place)) => Place::Own(place.clone()),
            (Some(sum), place) if place.is_some() || sum.is_sole_owner() => Place::Sum(sum),
            (sum, _) => {
                self.gradient = sum;
                Place::New
            }
        }
    }

    /// Takes the gradient that was written there.
    fn put(&mut self, place: &Place, gradient: Tensor) -> Result<(), AutogradError> {
        if matches!(place, Place::New) {
            return self.add(gradient);
        }
        self.gradient = Some(gradient);
        Ok(())
    }
}

/// Memory for a gradient.
enum Place {
    /// Fresh; what is written there is added to what has come before, if that is needed elsewhere.
    New,
    /// Where a parameter's gradient has to lie.
    Own(Arc<Tensor>),
    /// What has come before.
    Sum(Tensor),
}

/// Where a gradient of one operand is to be written, until it is handed to [`Sink::put`].
pub struct Room {
    operand: usize,
    place: Place,
}

impl Room {
    /// For the operation that writes it.
    pub fn target(&self) -> Target<'_> {
        match &self.place {
            Place::New => Target::New,
            Place::Own(place) => Target::Overwrite(place),
            Place::Sum(sum) => Target::Add(sum),
        }
    }
}

/// Takes the gradients of one operation's operands, by their numbers. What arrives for an operand that wants none is
/// dropped, but a vjp asks [`Sink::wants`] before it computes anything.
pub struct Sink<'a> {
    pub(crate) parents: &'a [Option<usize>],
    pub(crate) slots: &'a mut [Slot],
}

impl Sink<'_> {
    fn slot(&mut self, operand: usize) -> Option<&mut Slot> {
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
        self.slot(operand).map_or(Ok(()), |slot| slot.add(gradient))
    }

    /// Where to write an operand's gradient; None if it wants none. For launches that write several.
    pub fn room(&mut self, operand: usize) -> Option<Room> {
        self.slot(operand).map(|slot| Room { operand, place: slot.room() })
    }

    /// Takes the gradient that was written there.
    ///
    /// # Errors
    /// A gradient of another shape than one that came before.
    pub fn put(&mut self, room: Room, gradient: Tensor) -> Result<(), AutogradError> {
        self.slot(room.operand).map_or(Ok(()), |slot| slot.put(&room.place, gradient))
    }

    /// Lets `compute` write a gradient to fresh memory or over what is in its place, or add it to what has come before.
    ///
    /// # Errors
    /// What `compute` reports.
    pub fn compute(
        &mut self,
        operand: usize,
        compute: impl FnOnce(Target) -> Result<Tensor, TensorError>,
    ) -> Result<(), AutogradError> {
        let Some(room) = self.room(operand) else { return Ok(()) };
        let gradient = compute(room.target())?;
        self.put(room, gradient)
    }

    /// Adds a product of matrices, without a temporary where it can.
    ///
    /// # Errors
    /// Inner dims that differ.
    pub fn matmul(&mut self, operand: usize, product: Product) -> Result<(), AutogradError> {
        self.compute(operand, |target| matmul_into(product, target))
    }

    /// Hands out what has come so far for the operands, which are these parameters, so that another tape's pass goes on in the
    /// same memory.
    pub(crate) fn lend(&mut self, operands: &[Param]) -> Gradients {
        let mut lent = Gradients::default();
        for (operand, param) in operands.iter().enumerate() {
            if let Some(slot) = self.slot(operand) {
                lent.slots.insert(param.id(), std::mem::take(slot));
            }
        }
        lent
    }

    /// Takes that back.
    ///
    /// # Errors
    /// An operand that the pass has not reached, by name.
    pub(crate) fn take_back(&mut self, operands: &[Param], mut lent: Gradients) -> Result<(), AutogradError> {
        for (operand, param) in operands.iter().enumerate() {
            if let Some(slot) = self.slot(operand) {
                lent.of(param)?;
                *slot = lent.take(param.id()).unwrap_or_default();
            }
        }
        Ok(())
    }
}

/// The gradients of trained parameters after a backward pass.
#[derive(Default)]
pub struct Gradients {
    /// By the parameter's id.
    pub(crate) slots: BTreeMap<u64, Slot>,
}

impl Gradients {
    /// Takes a parameter's gradient out.
    pub(crate) fn take(&mut self, param: u64) -> Option<Slot> {
        self.slots.remove(&param)
    }

    /// Takes a parameter's gradient out, for whoever passes it on: of the input of a segment that has a tape of its own.
    ///
    /// # Errors
    /// As [`Gradients::of`].
    pub fn remove(&mut self, param: &Param) -> Result<Tensor, AutogradError> {
        let found = self.take(param.id()).and_then(|slot| slot.gradient);
        found.ok_or_else(|| AutogradError::Unreached { name: param.name().into() })
    }

    /// A parameter's gradient. It may lie in an optimizer's memory, where the next backward pass writes once these gradients are
    /// gone: read it, or copy it, before that.
    ///
    /// # Errors
    /// A parameter that the loss does not depend on, by name. A gradient of zeros is fine.
    pub fn of(&self, param: &Param) -> Result<&Tensor, AutogradError> {
        let found = self.slots.get(&param.id()).and_then(|slot| slot.gradient.as_ref());
        found.ok_or_else(|| AutogradError::Unreached { name: param.name().into() })
    }
}
