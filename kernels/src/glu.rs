//! h = f(gate) * up, f an [activation](crate::activation): gated linear units (Shazeer, arXiv 2002.05202), SwiGLU with SiLU and
//! GeGLU with GELU; all `[tokens, hidden]`. Moves 3 units.

use crate::activation::{Activation, with_functions};
use crate::add::TASK;
use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

pub use crate::activation::Params;

/// The kernel.
pub struct Glu;

/// h = f(gate) * up.
///
/// # Errors
/// As [`crate::launch`].
pub fn glu(device: &Device, activation: Activation, gate: &View, up: &View, h: &View) -> Result<(), KernelError> {
    launch::<Glu>(device, &Params::of(h, activation), &[gate, up], &[h])
}

impl Kernel for Glu {
    type Params = Params;
    const NAME: &'static str = "glu";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::GLU];
    const INPUTS: &'static [&'static str] = &["gate", "up"];
    const OUTPUTS: &'static [&'static str] = &["h"];

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
        fn apply(gate: &[f32], up: &[f32], h: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
            h.par_chunks_mut(TASK).zip(gate.par_chunks(TASK)).zip(up.par_chunks(TASK)).for_each(|((h, gate), up)| {
                chunk(h, gate, up, &f);
            });
        }
        let ([gate, up], [h]) = bindings.take();
        with_functions!(p.activation(), |f, _| apply(gate, up, h, f))
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([gate, up], [h]) = bindings.take();
        for i in 0..p.count as usize {
            h[i] = p.activation().value(gate[i]) * up[i];
        }
    }

    fn cost(p: &Params) -> Cost {
        Cost { flop: 5.0 * f64::from(p.count), bytes: 3.0 * p.dtype().bytes() * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        Params::cases(sizes, |params| case(params, seed))
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(Params::draw(draw), draw.seed())
    }
}

/// Of two operands, of which the first goes through the activation.
pub(crate) fn case(params: Params, seed: u32) -> Case<Params> {
    let n = params.count as usize;
    let inputs = vec![Data::F32(fill(seed, n, 8.0)), Data::F32(fill(seed + 1, n, 1.0))];
    Case { params, inputs, outputs: vec![Data::Out(n)] }
}

simd! {
    fn chunk<F: Fn(f32) -> f32>(h: &mut [f32], gate: &[f32], up: &[f32], f: &F) {
        h.iter_mut().zip(gate).zip(up).for_each(|((h, &g), u)| *h = f(g) * u);
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
        let bindings = Bindings::new(vec![&gate, &[4.0, 5.0]], vec![&mut h]);
        Glu::reference(&Params::new(2, Activation::Silu), bindings);
        approx::assert_relative_eq!(h[0], 3.0 * 3f64.ln(), epsilon = 1e-12);
        assert_eq!(h[1], 0.0);
    }
}
