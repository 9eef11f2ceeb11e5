//! Experts in other processes: x goes there, f(x) comes back, and weights stay where they are.
//!
//! In a block all branches read the same x `[tokens, width]` and meet in the merge alone, so an expert's owner (`served.rs`) is asked once a
//! block. Questions go out before this process computes its own branches, and answers are waited for when those are done.

use super::cache::Span;
use super::context::Context;
use super::decoder::stack;
use super::expert::Expert;
use crate::Error;
use mode_autograd::Var;
use mode_tensor::Tensor;

/// What the rows of x are.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// Windows of so many tokens.
    Windows(usize),
    /// New tokens of sequences, which follow those that each one's cache holds.
    Spans(&'a [Span<'a>]),
}

/// A way to the layers of an expert that is remote.
pub trait RemoteExpert: Send + Sync {
    /// Asks for f(x) of a block, and does not wait.
    ///
    /// # Errors
    /// An owner that is gone.
    fn ask(&self, block: usize, x: &Tensor, rows: Rows) -> Result<(), Error>;

    /// Waits for the answer to the oldest question that has none, and writes it to `out`.
    ///
    /// # Errors
    /// An owner that is gone or silent, or answers something else.
    fn answer(&self, out: &Tensor) -> Result<(), Error>;
}

/// Asks those of the experts that are remote for their branches of block i.
pub(super) fn ask(context: &Context, i: usize, x: &Var, experts: &[&Expert]) -> Result<(), Error> {
    let rows = if context.spans.is_empty() { Rows::Windows(context.length) } else { Rows::Spans(context.spans) };
    for expert in experts.iter().filter(|expert| expert.is_remote()) {
        if !context.tape.is_frozen() {
            return Err(Error::NoGradient(expert.info.name.clone()));
        }
        expert.way()?.ask(i, x.value(), rows)?;
    }
    Ok(())
}

/// The experts' branches of block i, each in its slot; those that are remote have been asked.
pub(super) fn branches(
    context: &Context,
    i: usize,
    x: &Var,
    experts: &[&Expert],
    slots: &[Tensor],
) -> Result<Vec<Var>, Error> {
    let own = |(expert, slot): (&&Expert, &Tensor)| match expert.is_remote() {
        true => Ok(Var::constant(slot.clone())),
        false => stack(context, &expert.blocks[i], x, Some(slot)),
    };
    let branches = experts.iter().zip(slots).map(own).collect::<Result<Vec<_>, Error>>()?;
    for (expert, slot) in experts.iter().zip(slots).filter(|(expert, _)| expert.is_remote()) {
        expert.way()?.answer(slot)?;
    }
    Ok(branches)
}

impl Expert {
    fn way(&self) -> Result<&dyn RemoteExpert, Error> {
        self.way.as_deref().ok_or_else(|| Error::NoWay(self.info.name.clone()))
    }
}
