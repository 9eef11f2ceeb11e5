//! dgate = dh * up * f'(gate), dup = dh * f(gate), f an [activation](crate::activation); all `[tokens, hidden]`. Moves 5 units.

use crate::activation::{Activation, Params, with_functions};
use crate::add::TASK;
use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

/// The kernel.
pub struct GluBackward;

/// Gradients dgate and dup of both inputs of [`crate::glu::glu`].
///
/// # Errors
/// As [`crate::launch`].
pub fn glu_backward(
    device: &Device,
    activation: Activation,
    [gate, up, dh]: [&View; 3],
    [dgate, dup]: [&View; 2],
) -> Result<(), KernelError> {
    launch::<GluBackward>(device, &Params::of(dgate, activation), &[gate, up, dh], &[dgate, dup])
}

impl Kernel for GluBackward {
    type Params = Params;
    const NAME: &'static str = "glu_backward";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::GLU_BACKWARD];
    const INPUTS: &'static [&'static str] = &["gate", "up", "dh"];
    const OUTPUTS: &'static [&'static str] = &["dgate", "dup"];

    fn constants(p: &Params) -> Vec<(&'static str, u32)> {
        p.constants()
    }

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        p.types()
    }

    fn dtype(p: &Params, _: usize) -> Dtype {
        p.dtype()
    }

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.count as usize).div_ceil(256))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        fn apply(
            [gate, up, dh]: [&[f32]; 3],
            [dgate, dup]: [&mut [f32]; 2],
            f: impl Fn(f32) -> f32 + Sync,
            slope: impl Fn(f32) -> f32 + Sync,
        ) {
            let inputs = gate.par_chunks(TASK).zip(up.par_chunks(TASK)).zip(dh.par_chunks(TASK));
            let outputs = dgate.par_chunks_mut(TASK).zip(dup.par_chunks_mut(TASK));
            inputs.zip(outputs).for_each(|(((gate, up), dh), (dgate, dup))| {
                chunk(dgate, dup, gate, up, dh, &f, &slope);
            });
        }
        let (inputs, outputs) = bindings.take();
        with_functions!(p.activation(), |f, slope| apply(inputs, outputs, f, slope))
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([gate, up, dh], [dgate, dup]) = bindings.take();
        for i in 0..p.count as usize {
            dgate[i] = dh[i] * up[i] * p.activation().slope(gate[i]);
            dup[i] = dh[i] * p.activation().value(gate[i]);
        }
    }

    fn cost(p: &Params) -> Cost {
        Cost { flop: 12.0 * f64::from(p.count), bytes: 5.0 * p.dtype().bytes() * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        Params::cases(sizes, |params| case(params, seed))
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(Params::draw(draw), draw.seed())
    }
}

fn case(params: Params, seed: u32) -> Case<Params> {
    let n = params.count as usize;
    let contents = |seed: u32, scale: f32| Data::F32(fill(seed, n, scale));
    Case {
        params,
        inputs: vec![contents(seed, 8.0), contents(seed + 1, 1.0), contents(seed + 2, 1.0)],
        outputs: vec![Data::Out(n), Data::Out(n)],
    }
}

simd! {
    fn chunk<F: Fn(f32) -> f32, G: Fn(f32) -> f32>(
        dgate: &mut [f32], dup: &mut [f32], gate: &[f32], up: &[f32], dh: &[f32], f: &F, slope: &G,
    ) {
        let len = dh.len();
        let (gate, up, dgate, dup) = (&gate[..len], &up[..len], &mut dgate[..len], &mut dup[..len]);
        for i in 0..len {
            dgate[i] = dh[i] * up[i] * slope(gate[i]);
            dup[i] = dh[i] * f(gate[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // At gate 0: s = 1/2, dgate = dh up / 2, dup = 0.
        let (mut dgate, mut dup) = ([0.0], [1.0]);
        let bindings = Bindings::new(vec![&[0.0], &[3.0], &[4.0]], vec![&mut dgate, &mut dup]);
        GluBackward::reference(&Params::new(1, Activation::Silu), bindings);
        assert_eq!((dgate, dup), ([6.0], [0.0]));
    }
}
