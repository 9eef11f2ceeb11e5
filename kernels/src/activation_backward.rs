//! dx = dh f'(x), f an [activation](crate::activation); all `[tokens, hidden]`. Moves 3 units.

use crate::activation::{Activation, Params, with_functions};
use crate::add::TASK;
use crate::glu::case;
use crate::simd::simd;
use crate::{Bindings, Case, Cost, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, launch};
use rayon::prelude::*;

/// The kernel.
pub struct ActivationBackward;

/// Gradient of the input of [`crate::activation::activation`].
///
/// # Errors
/// As [`crate::launch`].
pub fn activation_backward(
    device: &Device,
    activation: Activation,
    x: &View,
    dh: &View,
    dx: &View,
) -> Result<(), KernelError> {
    launch::<ActivationBackward>(device, &Params::of(dx, activation), &[x, dh], &[dx])
}

impl Kernel for ActivationBackward {
    type Params = Params;
    const NAME: &'static str = "activation_backward";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::ACTIVATION_BACKWARD];
    const INPUTS: &'static [&'static str] = &["x", "dh"];
    const OUTPUTS: &'static [&'static str] = &["dx"];

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
        fn apply(x: &[f32], dh: &[f32], dx: &mut [f32], slope: impl Fn(f32) -> f32 + Sync) {
            dx.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).zip(dh.par_chunks(TASK)).for_each(|((dx, x), dh)| {
                chunk(dx, x, dh, &slope);
            });
        }
        let ([x, dh], [dx]) = bindings.take();
        with_functions!(p.activation(), |_, slope| apply(x, dh, dx, slope))
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x, dh], [dx]) = bindings.take();
        for i in 0..p.count as usize {
            dx[i] = dh[i] * p.activation().slope(x[i]);
        }
    }

    fn cost(p: &Params) -> Cost {
        Cost { flop: 9.0 * f64::from(p.count), bytes: 3.0 * p.dtype().bytes() * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        Params::cases(sizes, |params| case(params, seed))
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(Params::draw(draw), draw.seed())
    }
}

simd! {
    fn chunk<F: Fn(f32) -> f32>(dx: &mut [f32], x: &[f32], dh: &[f32], slope: &F) {
        dx.iter_mut().zip(x).zip(dh).for_each(|((dx, &x), dh)| *dx = dh * slope(x));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // At 0 the slopes of SiLU and of both GELUs are 1/2.
        for activation in &Activation::ALL[..3] {
            let mut dx = [0.0];
            let bindings = Bindings::new(vec![&[0.0], &[6.0]], vec![&mut dx]);
            ActivationBackward::reference(&Params::new(1, *activation), bindings);
            assert_eq!(dx, [3.0]);
        }
    }
}
