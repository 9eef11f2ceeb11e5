//! With s = sigmoid(gate): dgate = dh * up * s (1 + gate (1 - s)), dup = dh * gate * s; all `[tokens, hidden]`.
//! Moves 5 units.

use crate::add::TASK;
use crate::simd::{sigmoid, simd};
use crate::{Bindings, Case, Cost, Data, Device, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch};
use rayon::prelude::*;

pub use crate::add::Params;

/// The kernel.
pub struct SwigluBackward;

/// Gradients of both inputs of [`crate::swiglu::swiglu`].
///
/// # Errors
/// As [`crate::launch`].
pub fn swiglu_backward(
    device: &Device,
    gate: &View,
    up: &View,
    dh: &View,
    dgate: &View,
    dup: &View,
) -> Result<(), KernelError> {
    launch::<SwigluBackward>(device, &Params { count: dh.len as u32 }, &[gate, up, dh], &[dgate, dup])
}

impl Kernel for SwigluBackward {
    type Params = Params;
    const NAME: &'static str = "swiglu_backward";
    const WGSL: &'static str = mode_shaders::SWIGLU_BACKWARD;
    const INPUTS: &'static [&'static str] = &["gate", "up", "dh"];
    const OUTPUTS: &'static [&'static str] = &["dgate", "dup"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.count as usize).div_ceil(256))]
    }

    fn cpu(_: &Params, bindings: Bindings<f32>) {
        let ([gate, up, dh], [dgate, dup]) = bindings.take();
        let inputs = gate.par_chunks(TASK).zip(up.par_chunks(TASK)).zip(dh.par_chunks(TASK));
        let outputs = dgate.par_chunks_mut(TASK).zip(dup.par_chunks_mut(TASK));
        inputs.zip(outputs).for_each(|(((gate, up), dh), (dgate, dup))| {
            let len = dh.len();
            let (gate, up, dgate, dup) = (&gate[..len], &up[..len], &mut dgate[..len], &mut dup[..len]);
            simd(|| {
                for i in 0..len {
                    let s = sigmoid(gate[i]);
                    dgate[i] = dh[i] * up[i] * s * (1.0 + gate[i] * (1.0 - s));
                    dup[i] = dh[i] * gate[i] * s;
                }
            });
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([gate, up, dh], [dgate, dup]) = bindings.take();
        for i in 0..p.count as usize {
            let s = 1.0 / (1.0 + (-gate[i]).exp());
            dgate[i] = dh[i] * up[i] * s * (1.0 + gate[i] * (1.0 - s));
            dup[i] = dh[i] * gate[i] * s;
        }
    }

    fn cost(p: &Params) -> Cost {
        Cost { flop: 12.0 * f64::from(p.count), bytes: 20.0 * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let case = |n: usize| Case {
            params: Params { count: n as u32 },
            inputs: vec![
                Data::F32(fill(seed, n, 8.0)),
                Data::F32(fill(seed + 1, n, 1.0)),
                Data::F32(fill(seed + 2, n, 1.0)),
            ],
            outputs: vec![Data::Out(n), Data::Out(n)],
        };
        sizes.pick([1, 255, 257, 40_001], [16_777_300]).into_iter().map(case).collect()
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
        SwigluBackward::reference(&Params { count: 1 }, bindings);
        assert_eq!((dgate, dup), ([6.0], [0.0]));
    }
}
