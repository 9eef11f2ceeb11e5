//! One step of AdamW (Loshchilov and Hutter, arXiv 1711.05101), in place.
//!
//! With g times unscale min(1, clip / norm): m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2,
//! p -= rate (m / bias1 / (sqrt(v / bias2) + epsilon) + decay p), where bias_i = 1 - b_i^step. All `[count]` but norm `[1]`,
//! the sum of squares of *all* gradients, which stays on the device. Moves 7 units.
//!
//! Where norm is no finite number the step is skipped: nothing changes. Nobody need know of that before the next step is launched:
//! it is given the norm of the step before and, as late_i, the bias_i of a step number one less, which it takes if that was skipped.

use crate::add::TASK;
use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`AdamW`].
    pub struct Params {
        /// Elements.
        pub count: u32,
        /// Learning rate.
        pub rate: f32,
        /// Decay of the first moment.
        pub beta1: f32,
        /// Decay of the second moment.
        pub beta2: f32,
        /// Keeps the step finite where the gradient is zero.
        pub epsilon: f32,
        /// Decoupled weight decay.
        pub decay: f32,
        /// 1 - beta1^step.
        pub bias1: f32,
        /// 1 - beta2^step.
        pub bias2: f32,
        /// Greatest gradient norm, 0 for any.
        pub clip: f32,
        /// Factor of the gradient, of which norm is already.
        pub unscale: f32,
        /// bias1 if the step before was skipped.
        pub late1: f32,
        /// bias2 if it was.
        pub late2: f32,
    }
}

/// The kernel.
pub struct AdamW;

/// Steps parameter `p` with moments `m` and `v` along gradient `g`; the norms are this step's and that of the step before, or
/// this one's again where it is known whether that was skipped.
///
/// # Errors
/// As [`crate::launch`].
pub fn adamw(
    device: &Device,
    params: Params,
    g: &View,
    [norm, before]: [&View; 2],
    p: &View,
    m: &View,
    v: &View,
) -> Result<(), KernelError> {
    launch::<AdamW>(device, &params, &[g, norm, before], &[p, m, v])
}

impl Kernel for AdamW {
    type Params = Params;
    const NAME: &'static str = "adamw";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::ADAMW];
    const INPUTS: &'static [&'static str] = &["g", "norm", "before"];
    const OUTPUTS: &'static [&'static str] = &["p", "m", "v"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.count as usize).div_ceil(256))]
    }

    fn cpu(a: &Params, bindings: Bindings<f32>) {
        let ([g, norm, before], [p, m, v]) = bindings.take();
        if !norm[0].is_finite() {
            return;
        }
        let a = if before[0].is_finite() { a } else { &Params { bias1: a.late1, bias2: a.late2, ..*a } };
        let factor = if a.clip > 0.0 { (a.clip / (norm[0].sqrt() + 1e-6)).min(1.0) } else { 1.0 } * a.unscale;
        let state = p.par_chunks_mut(TASK).zip(m.par_chunks_mut(TASK)).zip(v.par_chunks_mut(TASK));
        state.zip(g.par_chunks(TASK)).for_each(|(((p, m), v), g)| {
            update(p, m, v, g, factor, a);
        });
    }

    fn reference(a: &Params, bindings: Bindings<f64>) {
        let ([g, norm, before], [p, m, v]) = bindings.take();
        if !norm[0].is_finite() {
            return;
        }
        let (beta1, beta2) = (f64::from(a.beta1), f64::from(a.beta2));
        let (bias1, bias2) = if before[0].is_finite() { (a.bias1, a.bias2) } else { (a.late1, a.late2) };
        let factor = if a.clip > 0.0 { (f64::from(a.clip) / (norm[0].sqrt() + 1e-6)).min(1.0) } else { 1.0 };
        for i in 0..a.count as usize {
            let g = g[i] * factor * f64::from(a.unscale);
            m[i] = beta1 * m[i] + (1.0 - beta1) * g;
            v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
            let step = m[i] / f64::from(bias1) / ((v[i] / f64::from(bias2)).sqrt() + f64::from(a.epsilon));
            p[i] -= f64::from(a.rate) * (step + f64::from(a.decay) * p[i]);
        }
    }

    fn cost(p: &Params) -> Cost {
        Cost { flop: 16.0 * f64::from(p.count), bytes: 28.0 * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let case = |n, clip_and_epsilon, norms| case(n, clip_and_epsilon, norms, seed);
        let cases = sizes.pick([(1, 0.0), (257, 1.0), (40_001, 100.0)], [(16_777_300, 1.0)]);
        let mut cases: Vec<_> = cases.into_iter().map(|(n, clip)| case(n, [clip, 1e-8], [9.0; 2])).collect();
        // An epsilon that counts; a step before that was skipped; one that is itself.
        cases.push(case(65, [0.0, 0.5], [9.0; 2]));
        for no_number in [f32::INFINITY, f32::NAN] {
            cases.push(case(300, [1.0, 1e-8], [9.0, no_number]));
            cases.push(case(300, [1.0, 1e-8], [no_number, 9.0]));
        }
        cases
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let clip_and_epsilon = [draw.one_of(&[0.0, 1.0, 100.0]), draw.one_of(&[1e-8, 0.5])];
        let norms = [(); 2].map(|()| draw.one_of(&[9.0, 9.0, 0.25, f32::INFINITY, f32::NAN]));
        case(draw.count(), clip_and_epsilon, norms, draw.seed())
    }
}

fn case(n: usize, [clip, epsilon]: [f32; 2], [norm, before]: [f32; 2], seed: u32) -> Case<Params> {
    Case {
        params: Params {
            count: n as u32,
            rate: 0.01,
            beta1: 0.9,
            beta2: 0.95,
            epsilon,
            decay: 0.1,
            bias1: 0.271,
            bias2: 0.142,
            clip,
            // Of gradients that norm is not the norm of, to see whether both count.
            unscale: 0.5,
            late1: 0.19,
            late2: 0.0975,
        },
        inputs: vec![Data::F32(fill(seed, n, 1.0)), Data::F32(vec![norm]), Data::F32(vec![before])],
        outputs: vec![
            Data::F32(fill(seed + 1, n, 1.0)),
            Data::F32(fill(seed + 2, n, 1.0)),
            Data::F32(fill(seed + 3, n, 1.0).iter().map(|v| v * v).collect()),
        ],
    }
}

simd! {
    fn update(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], factor: f32, a: &Params) {
        let len = g.len();
        let (p, m, v) = (&mut p[..len], &mut m[..len], &mut v[..len]);
        for i in 0..len {
            let g = g[i] * factor;
            m[i] = a.beta1 * m[i] + (1.0 - a.beta1) * g;
            v[i] = a.beta2 * v[i] + (1.0 - a.beta2) * g * g;
            let step = m[i] / a.bias1 / ((v[i] / a.bias2).sqrt() + a.epsilon);
            p[i] -= a.rate * (step + a.decay * p[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // The first step moves by the rate times the gradient's sign, and decays by rate * decay.
        let params = Params {
            count: 1,
            rate: 0.5,
            beta1: 0.5,
            beta2: 0.75,
            epsilon: 0.0,
            decay: 0.25,
            bias1: 0.5,
            bias2: 0.25,
            clip: 0.0,
            unscale: 0.25,
            late1: 1.0,
            late2: 0.0625,
        };
        let step = |norms: [f64; 2]| {
            let (mut p, mut m, mut v) = ([8.0], [0.0], [0.0]);
            let inputs: Vec<&[f64]> = vec![&[-12.0], &norms[..1], &norms[1..]];
            AdamW::reference(&params, Bindings::new(inputs, vec![&mut p, &mut m, &mut v]));
            (p, m, v)
        };
        assert_eq!(step([0.0; 2]), ([8.0 + 0.5 - 1.0], [-1.5], [2.25]));
        // m / late1 is half of m / bias1, and so is 1 / sqrt(v / late2).
        assert_eq!(step([0.0, f64::INFINITY]), ([8.0 + 0.125 - 1.0], [-1.5], [2.25]));
        assert_eq!(step([f64::NAN, 0.0]), ([8.0], [0.0], [0.0]));
    }
}
