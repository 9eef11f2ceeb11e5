//! The fused gate merge. Formulas of the gradients stand with the kernel; what is frozen is neither computed nor written.

use crate::gradients::Room;
use crate::{AutogradError, Var};
use mode_tensor::{Tensor, Wanted, gate_merge_backward};

/// A merged stream and the weights that made it.
pub struct Gated {
    /// y `[tokens, width]`.
    pub y: Var,
    /// Each branch's weight `[tokens, branches]`, the backbone's first.
    pub p: Tensor,
}

/// y = sum_k p_k f_k, p = softmax(x weight^T + bias); x and each branch `[tokens, width]`.
///
/// # Errors
/// Shapes that do not fit.
pub fn gate_merge(x: &Var, weight: &Var, bias: &Var, branches: &[&Var]) -> Result<Gated, AutogradError> {
    gate_merge_top(x, weight, bias, branches, branches.len())
}

/// The same of the `top` branches of the greatest logits alone, token by token. A weight of 0 passes no gradient, to its branch or to its
/// logit, so the backward is that of the merge of all; which branches are kept is taken for given.
///
/// # Errors
/// Shapes that do not fit; none kept, or more than there are.
pub fn gate_merge_top(
    x: &Var,
    weight: &Var,
    bias: &Var,
    branches: &[&Var],
    top: usize,
) -> Result<Gated, AutogradError> {
    let values: Vec<&Tensor> = branches.iter().map(|branch| branch.value()).collect();
    let merged = mode_tensor::gate_merge_top(x.value(), weight.value(), bias.value(), &values, top)?;
    let (y, p) = (merged.y.clone(), merged.p.clone());
    let operands: Vec<&Var> = [x, weight, bias].into_iter().chain(branches.iter().copied()).collect();
    let y = Var::record("gate_merge", y, &operands, |_| {
        let (x, weight) = (x.value().clone(), weight.value().clone());
        let count = branches.len();
        Box::new(move |g, sink| {
            let rooms = [sink.room(1), sink.room(2)];
            let wanted = Wanted {
                branches: (0..count).map(|k| sink.wants(3 + k)).collect(),
                x: sink.wants(0),
                gate: rooms.each_ref().map(|room| room.as_ref().map(Room::target)),
            };
            let gradients = gate_merge_backward(&x, &weight, &merged, g, wanted)?;
            if let Some(dx) = gradients.x {
                sink.add(0, dx)?;
            }
            for (room, gradient) in rooms.into_iter().zip(gradients.gate) {
                if let (Some(room), Some(gradient)) = (room, gradient) {
                    sink.put(room, gradient)?;
                }
            }
            for (k, gradient) in gradients.branches.into_iter().enumerate() {
                if let Some(gradient) = gradient {
                    sink.add(3 + k, gradient)?;
                }
            }
            Ok(())
        })
    })?;
    Ok(Gated { y, p })
}
