//! Recomputation (Chen et al., arXiv 1604.06174): of a segment y = f(x) only x is kept; the backward pass computes f again,
//! now with a tape of its own, and walks that.

use crate::{AutogradError, Param, Tape, Var};
use mode_tensor::Tensor;

/// A segment of a forward pass: its output, written to the tensor given, if one is.
pub trait Segment: Fn(&Tape, &Var, Option<&Tensor>) -> Result<Var, AutogradError> + 'static {}

impl<F: Fn(&Tape, &Var, Option<&Tensor>) -> Result<Var, AutogradError> + 'static> Segment for F {}

/// `segment(x)`, whose parameters are `params`. Costs one more forward pass of it, and saves all that its operations keep.
///
/// # Errors
/// What the segment reports.
pub fn recompute(
    tape: &Tape,
    x: &Var,
    params: Vec<Param>,
    out: Option<&Tensor>,
    segment: impl Segment,
) -> Result<Var, AutogradError> {
    let y = segment(&Tape::frozen(), &Var::constant(x.value().clone()), out)?;
    let operands: Vec<Var> = std::iter::once(x.clone()).chain(params.iter().map(|param| tape.param(param))).collect();
    Var::record("recompute", y.value().clone(), &operands.iter().collect::<Vec<_>>(), |_| {
        let x = x.value().clone();
        Box::new(move |g, sink| {
            let tape = Tape::new();
            let input = Param::new("input of a recomputed segment", x);
            input.set_trained(sink.wants(0));
            let y = segment(&tape, &tape.param(&input), None)?;
            let operands: Vec<Param> = std::iter::once(input).chain(params).collect();
            let gradients = tape.backward_onto(&y, g.clone(), Some(sink.lend(&operands)))?;
            sink.take_back(&operands, gradients)
        })
    })
}
