//! What a device keeps of its pieces of the forward pass for the backward one: each piece has tapes of its own, cut where something goes
//! to other devices, and a gradient that comes from there goes on in the next.

use crate::Error;
use crate::model::{Context, Half, Layer};
use mode_autograd::{Added, Gradients, Param, Tape, Var, gate_merge};
use mode_tensor::{Dtype, Rotation, Tensor, add};

/// The start of a tape: a tensor that came from elsewhere, whose gradient goes there if it is wanted.
pub(super) struct Input(Param);

impl Input {
    pub(super) fn new(value: &Tensor, wanted: bool) -> Self {
        let param = Param::new("what came from another piece", value.clone());
        param.set_trained(wanted);
        Self(param)
    }

    pub(super) fn on(&self, tape: &Tape) -> Var {
        tape.param(&self.0)
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.0.is_trained()
    }

    /// Its gradient, taken out of those of a pass.
    pub(super) fn gradient(&self, gradients: &mut Gradients) -> Result<Option<Tensor>, Error> {
        Ok(if self.is_wanted() { Some(gradients.remove(&self.0)?) } else { None })
    }
}

/// Gradients so far, that a tape's pass adds to.
pub(super) type Sum = Option<Gradients>;

/// Walks a tape back from `output`, if there is anything to find, and adds to the gradients so far.
pub(super) fn walk<'a>(tape: &Tape, output: &Var, g: Tensor, sum: &'a mut Sum) -> Result<&'a mut Gradients, Error> {
    if output.requires_grad() {
        *sum = Some(tape.backward_onto(output, g, sum.take())?);
    }
    Ok(sum.get_or_insert_default())
}

/// What windows of a pass are like on one device.
#[derive(Clone, Copy)]
pub(super) struct Windows<'a> {
    pub(super) rotations: &'a [Rotation],
    /// Tokens each.
    pub(super) length: usize,
}

impl Windows<'_> {
    fn context<'a>(&'a self, tape: &'a Tape) -> Context<'a> {
        let Self { rotations, length } = *self;
        Context { tape, rotations, length, activations: Dtype::F32, recompute: false, spans: &[] }
    }
}

/// Half a layer, y = x + f(n), n = norm(x): the norm, for which dn is summed over devices first, apart from what each device has its
/// part of. dx = J_norm^T dn + g, where g = dy is not a sum: so x is a constant where it is added to f, and
/// [`HalfTapes::norm_backward`] adds g once.
pub(super) struct HalfTapes {
    x: Input,
    norm: (Tape, Var),
    normed: Input,
    inner: (Tape, Var),
}

impl HalfTapes {
    /// The forward pass of `half` of `layer`, and this device's term f: of x + f on a device that adds the residual.
    pub(super) fn forward(
        layer: &Layer,
        half: Half,
        windows: Windows,
        x: &Tensor,
        wants_x: bool,
        adds_residual: bool,
    ) -> Result<(Self, Tensor), Error> {
        let x = Input::new(x, wants_x);
        let tape = Tape::new();
        let on_tape = x.on(&tape);
        let normed = layer.normed(half, &windows.context(&tape), &on_tape)?;
        let norm = (tape, normed);
        let normed = Input::new(norm.1.value(), norm.1.requires_grad());
        let tape = Tape::new();
        let residual = Var::constant(on_tape.value().clone());
        let added = Added { residual: adds_residual.then_some(&residual), ..Added::default() };
        let f = layer.inner(half, &windows.context(&tape), &normed.on(&tape), added)?;
        let value = f.value().clone();
        Ok((Self { x, norm, normed, inner: (tape, f) }, value))
    }

    /// Whether there is a gradient to be found.
    pub(super) fn is_walked(&self) -> bool {
        self.inner.1.requires_grad()
    }

    /// Gradients of what this device has its part of, and its term of the normed stream's, if that is wanted.
    pub(super) fn backward(&self, g: Tensor, sum: &mut Sum) -> Result<Option<Tensor>, Error> {
        let (tape, f) = &self.inner;
        self.normed.gradient(walk(tape, f, g, sum)?)
    }

    /// From the gradient of the normed stream, and that of the result, to that of x, if it is wanted.
    pub(super) fn norm_backward(self, dn: Tensor, g: &Tensor, sum: &mut Sum) -> Result<Option<Tensor>, Error> {
        let (tape, normed) = &self.norm;
        let dx = self.x.gradient(walk(tape, normed, dn, sum)?)?;
        Ok(match dx {
            Some(dx) => Some(add(&dx, g, None)?),
            None => None,
        })
    }
}

/// A sum of terms that is normed before it is added: x + norm f.
pub(super) struct JoinTape {
    f: Input,
    tape: Tape,
    y: Var,
}

impl JoinTape {
    pub(super) fn forward(
        layer: &Layer,
        half: Half,
        windows: Windows,
        [x, f]: [&Tensor; 2],
        wants_f: bool,
    ) -> Result<(Self, Tensor), Error> {
        let (tape, f) = (Tape::new(), Input::new(f, wants_f));
        let y = layer.joined(half, &windows.context(&tape), &Var::constant(x.clone()), &f.on(&tape), None)?;
        let value = y.value().clone();
        Ok((Self { f, tape, y }, value))
    }

    /// The gradient of f.
    pub(super) fn backward(self, g: Tensor, sum: &mut Sum) -> Result<Option<Tensor>, Error> {
        self.f.gradient(walk(&self.tape, &self.y, g, sum)?)
    }
}

/// A block's merge, of some tokens.
pub(super) struct MergeTape {
    x: Input,
    branches: Vec<Input>,
    tape: Tape,
    y: Var,
}

impl MergeTape {
    /// `wants`: x, then each branch.
    pub(super) fn forward(
        [weight, bias]: [&Param; 2],
        x: &Tensor,
        branches: &[&Tensor],
        wants: &[bool],
    ) -> Result<(Self, Tensor), Error> {
        let tape = Tape::new();
        let x = Input::new(x, wants[0]);
        let branches: Vec<Input> = branches.iter().zip(&wants[1..]).map(|(f, &wanted)| Input::new(f, wanted)).collect();
        let vars: Vec<Var> = branches.iter().map(|branch| branch.on(&tape)).collect();
        let (weight, bias) = (tape.param(weight), tape.param(bias));
        let y = gate_merge(&x.on(&tape), &weight, &bias, &vars.iter().collect::<Vec<_>>())?.y;
        let value = y.value().clone();
        Ok((Self { x, branches, tape, y }, value))
    }

    /// The gradients of those branches that want theirs, then that of x if it does.
    pub(super) fn backward(self, g: Tensor, sum: &mut Sum) -> Result<Vec<Tensor>, Error> {
        let gradients = walk(&self.tape, &self.y, g, sum)?;
        let inputs = self.branches.iter().chain([&self.x]).filter(|input| input.is_wanted());
        inputs.filter_map(|input| input.gradient(gradients).transpose()).collect()
    }
}

/// The norm before the head, of some tokens.
pub(super) struct NormTape {
    y: Input,
    tape: Tape,
    h: Var,
}

impl NormTape {
    pub(super) fn forward(norm: &crate::model::Norm, y: &Tensor) -> Result<(Self, Tensor), Error> {
        let (tape, y) = (Tape::new(), Input::new(y, true));
        let h = norm.apply(&tape, &y.on(&tape), Dtype::F32)?;
        let value = h.value().clone();
        Ok((Self { y, tape, h }, value))
    }

    pub(super) fn backward(self, g: Tensor, sum: &mut Sum) -> Result<Option<Tensor>, Error> {
        self.y.gradient(walk(&self.tape, &self.h, g, sum)?)
    }
}
