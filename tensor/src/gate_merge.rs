//! The fused gate merge of K branches.

use crate::{Dtype, Target, Tensor, TensorError, copy};
use mode_kernels::View;
use mode_kernels::gate_merge::{self as forward, Params};
use mode_kernels::gate_merge_backward::{self as backward, Gradients};

/// What the forward gives.
pub struct Merged {
    /// The merged stream, like x.
    pub y: Tensor,
    /// Each branch's weight `[tokens, branches]`.
    pub p: Tensor,
    /// All branches' outputs in one buffer, as the backward needs them.
    f: Branches,
}

/// Which gradients the backward makes.
pub struct Wanted<'a> {
    /// Of each branch.
    pub branches: Vec<bool>,
    /// Of x.
    pub x: bool,
    /// Of the gate's weight and bias, and where they are put.
    pub gate: [Option<Target<'a>>; 2],
}

/// What the backward gives. Gradients that were not wanted are absent.
pub struct GateGradients {
    /// Of each branch.
    pub branches: Vec<Option<Tensor>>,
    /// Of x.
    pub x: Option<Tensor>,
    /// Of the gate's weight `[branches, width]` and bias `[branches]`.
    pub gate: [Option<Tensor>; 2],
}

/// Branch k's output begins k * stride elements into the view.
struct Branches {
    view: View,
    stride: usize,
    count: usize,
}

/// Merges `branches`, each like x `[tokens, width]`, by softmax(x weight^T + bias). Branches made in
/// [`Tensor::slots`] are read where they are, others are copied together first.
///
/// ```
/// use mode_tensor::{Device, Tensor, gate_merge};
///
/// // One token; a gate whose bias alone decides: softmax(0, ln 3) = (1/4, 3/4).
/// let device = Device::cpu();
/// let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(&device, values, shape);
/// let (x, weight, bias) = (tensor(&[5.0], &[1, 1])?, tensor(&[0.0; 2], &[2, 1])?, tensor(&[0.0, 3f32.ln()], &[2])?);
/// let merged = gate_merge(&x, &weight, &bias, &[&tensor(&[8.0], &[1, 1])?, &tensor(&[16.0], &[1, 1])?])?;
/// assert!((merged.y.to_vec()?[0] - 14.0).abs() < 1e-5);
/// # Ok::<(), mode_tensor::TensorError>(())
/// ```
///
/// # Errors
/// Shapes that do not fit.
pub fn gate_merge(x: &Tensor, weight: &Tensor, bias: &Tensor, branches: &[&Tensor]) -> Result<Merged, TensorError> {
    gate_merge_top(x, weight, bias, branches, branches.len())
}

/// The same of the `top` branches alone whose logits are greatest, token by token; the others' weights are 0. The backward is the same.
///
/// # Errors
/// Shapes that do not fit; none kept, or more than there are.
pub fn gate_merge_top(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    branches: &[&Tensor],
    top: usize,
) -> Result<Merged, TensorError> {
    let count = branches.len();
    if count == 0 || weight.shape() != [count, x.width()] || bias.shape() != [count] {
        let what = "the gate has not one row a branch";
        return Err(TensorError::shape("gate_merge", what, weight.shape(), &[count, x.width()]));
    }
    for branch in branches {
        branch.same_shape(x, "gate_merge")?;
    }
    let f = gather(x, branches)?;
    let y = Tensor::empty(x.device(), x.shape())?;
    let p = Tensor::empty(x.device(), &[x.rows(), count])?;
    let params = Params {
        tokens: x.rows() as u32,
        width: x.width() as u32,
        branches: count as u32,
        stride: f.stride as u32,
        top: top as u32,
        lanes: 0,
    };
    let inputs = [x.view(), weight.view(), bias.view(), &f.view];
    forward::gate_merge(x.device(), params, inputs, [y.view(), p.view()])?;
    Ok(Merged { y, p, f })
}

/// Gradients of a merge, given that of y.
///
/// # Errors
/// Shapes that do not fit.
pub fn gate_merge_backward(
    x: &Tensor,
    weight: &Tensor,
    merged: &Merged,
    g: &Tensor,
    wanted: Wanted,
) -> Result<GateGradients, TensorError> {
    g.same_shape(x, "gate_merge_backward")?;
    let device = x.device();
    let count = merged.f.count;
    let room = |wanted: bool, shape| Tensor::empty(device, if wanted { shape } else { &[1] });
    let [for_weight, for_bias] = wanted.gate;
    let [want_weight, want_bias] = [for_weight.is_some(), for_bias.is_some()];
    // They are made together: what is wanted of one alone leaves the other's to be dropped.
    let want_gate = want_weight || want_bias;
    let gate_room = |target: Option<Target>, shape| match target {
        Some(target) => target.place(device, Dtype::F32, shape),
        None => Ok((room(want_gate, shape)?, false)),
    };
    // The branches' gradients lie like the branches: both come from `Tensor::slots`.
    let any = wanted.branches.contains(&true);
    let slots = if any { Tensor::slots(device, count, x.shape())? } else { vec![room(false, &[])?; count] };
    let df = View { len: if any { merged.f.view.len } else { 1 }, ..slots[0].view().clone() };
    let dz = Tensor::empty(device, &[x.rows(), count])?;
    let dx = room(wanted.x, x.shape())?;
    let (dweight, add_weight) = gate_room(for_weight, weight.shape())?;
    let (dbias, add_bias) = gate_room(for_bias, &[count])?;
    let [df_mask_0, df_mask_1, df_mask_2] = backward::Params::masks(&wanted.branches);
    let params = backward::Params {
        tokens: x.rows() as u32,
        width: x.width() as u32,
        branches: count as u32,
        stride: merged.f.stride as u32,
        df_mask_0,
        df_mask_1,
        df_mask_2,
        want_dx: wanted.x.into(),
        want_gate: want_gate.into(),
        chunk: 0,
        add_weight: add_weight.into(),
        add_bias: add_bias.into(),
        lanes: 0,
    };
    let to = Gradients { df: &df, dz: dz.view(), dx: dx.view(), dweight: dweight.view(), dbias: dbias.view() };
    backward::gate_merge_backward(
        device,
        params,
        [x.view(), weight.view(), &merged.f.view, merged.p.view(), g.view()],
        &to,
    )?;
    let keep = |(slot, wanted): (Tensor, &bool)| wanted.then_some(slot);
    Ok(GateGradients {
        branches: slots.into_iter().zip(&wanted.branches).map(keep).collect(),
        x: wanted.x.then_some(dx),
        gate: [want_weight.then_some(dweight), want_bias.then_some(dbias)],
    })
}

/// The branches' common buffer: their own, where they lie in it one after the other at one distance; else a copy.
fn gather(x: &Tensor, branches: &[&Tensor]) -> Result<Branches, TensorError> {
    let stride = x.len().next_multiple_of(mode_kernels::Device::ALIGNMENT);
    let (count, len) = (branches.len(), (branches.len() - 1) * stride + x.len());
    let first = branches[0].view();
    let adjacent = |(k, branch): (usize, &&Tensor)| {
        let view = branch.view();
        std::sync::Arc::ptr_eq(&view.buffer, &first.buffer) && view.offset == first.offset + k * stride
    };
    if branches.iter().enumerate().all(adjacent) {
        return Ok(Branches { view: View { len, ..first.clone() }, stride, count });
    }
    let slots = Tensor::slots(x.device(), count, x.shape())?;
    for (slot, branch) in slots.iter().zip(branches) {
        copy(branch, slot)?;
    }
    Ok(Branches { view: View { len, ..slots[0].view().clone() }, stride, count })
}
