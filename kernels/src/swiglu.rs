//! h = silu(gate) * up, with silu(g) = g / (1 + e^-g); all `[tokens, hidden]`. Moves 3 units.

use crate::add::TASK;
use crate::simd::{sigmoid, simd};
use crate::{Bindings, Case, Cost, Data, Device, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch};
use rayon::prelude::*;

pub use crate::add::Params;

/// The kernel.
pub struct Swiglu;

/// h = silu(gate) * up.
///
/// # Errors
/// As [`crate::launch`].
pub fn swiglu(device: &Device, gate: &View, up: &View, h: &View) -> Result<(), KernelError> {
    launch::<Swiglu>(device, &Params { count: h.len as u32 }, &[gate, up], &[h])
}

impl Kernel for Swiglu {
    type Params = Params;
    const NAME: &'static str = "swiglu";
    const WGSL: &'static str = mode_shaders::SWIGLU;
    const INPUTS: &'static [&'static str] = &["gate", "up"];
    const OUTPUTS: &'static [&'static str] = &["h"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.count as usize).div_ceil(256))]
    }

    fn cpu(_: &Params, bindings: Bindings<f32>) {
        let ([gate, up], [h]) = bindings.take();
        h.par_chunks_mut(TASK).zip(gate.par_chunks(TASK)).zip(up.par_chunks(TASK)).for_each(|((h, gate), up)| {
            simd(|| h.iter_mut().zip(gate).zip(up).for_each(|((h, &g), u)| *h = g * sigmoid(g) * u));
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([gate, up], [h]) = bindings.take();
        for i in 0..p.count as usize {
            h[i] = gate[i] / (1.0 + (-gate[i]).exp()) * up[i];
        }
    }

    fn cost(p: &Params) -> Cost {
        Cost { flop: 5.0 * f64::from(p.count), bytes: 12.0 * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let case = |n: usize| Case {
            params: Params { count: n as u32 },
            inputs: vec![Data::F32(fill(seed, n, 8.0)), Data::F32(fill(seed + 1, n, 1.0))],
            outputs: vec![Data::Out(n)],
        };
        sizes.pick([1, 255, 257, 40_001], [16_777_300]).into_iter().map(case).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // silu(ln 3) = ln 3 * 3/4.
        let mut h = [0.0; 2];
        let gate = [3f64.ln(), 0.0];
        Swiglu::reference(&Params { count: 2 }, Bindings::new(vec![&gate, &[4.0, 5.0]], vec![&mut h]));
        approx::assert_relative_eq!(h[0], 3.0 * 3f64.ln(), epsilon = 1e-12);
        assert_eq!(h[1], 0.0);
    }
}
