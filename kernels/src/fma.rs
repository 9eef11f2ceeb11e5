//! y = what `steps` steps of v <- alpha v + beta make of v = x, element by element. An element is a chain of fused multiply-adds
//! that stays in a register and waits for no other: with steps enough, this is the most arithmetic that a device does. Moves 2 units.
//! A tier for GPUs does it in f16.

use crate::add::TASK;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Elements that a thread of the shader works on.
const CHAINS: usize = 8;

/// Vectors that the CPU body works on at once: what hides the latency of an addition and leaves registers for alpha and beta.
const VECTORS: usize = if cfg!(target_arch = "x86_64") { 12 } else { 24 };

crate::kernel::params! {
    /// Parameters of [`Fma`].
    pub struct Params {
        /// Elements.
        pub count: u32,
        /// Steps.
        pub steps: u32,
        /// The factor.
        pub alpha: f32,
        /// The summand.
        pub beta: f32,
        /// 1 for steps in f16 on a GPU, which must have that.
        pub half: u32,
    }
}

/// The kernel.
pub struct Fma;

/// `steps` steps of v <- alpha v + beta from x.
///
/// # Errors
/// As [`crate::launch`].
pub fn fma(device: &Device, params: Params, x: &View, y: &View) -> Result<(), KernelError> {
    launch::<Fma>(device, &params, &[x], &[y])
}

/// Some elements' chains, on the CPU.
struct Chains<'a> {
    params: &'a Params,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Chains<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { params: &Params { steps, alpha, beta, .. }, x, y } = self;
        y.copy_from_slice(x);
        let (y, rest) = S::as_mut_simd_f32s(y);
        let [factor, summand] = [alpha, beta].map(|value| simd.splat_f32s(value));
        let (blocks, left) = y.as_chunks_mut::<VECTORS>();
        for block in blocks {
            let mut v = *block;
            for _ in 0..steps {
                v.iter_mut().for_each(|v| *v = simd.mul_add_f32s(*v, factor, summand));
            }
            *block = v;
        }
        for v in left {
            for _ in 0..steps {
                *v = simd.mul_add_f32s(*v, factor, summand);
            }
        }
        for v in rest {
            for _ in 0..steps {
                *v = v.mul_add(alpha, beta);
            }
        }
    }
}

impl Kernel for Fma {
    type Params = Params;
    const NAME: &'static str = "fma";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::FMA, mode_shaders::FMA_HALF];
    const INPUTS: &'static [&'static str] = &["x"];
    const OUTPUTS: &'static [&'static str] = &["y"];

    fn tier(p: &Params) -> usize {
        (p.half != 0).into()
    }

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.count as usize).div_ceil(256 * CHAINS))]
    }

    fn cpu(params: &Params, bindings: Bindings<f32>) {
        let ([x], [y]) = bindings.take();
        let tasks = y.par_chunks_mut(TASK).zip(x.par_chunks(TASK));
        tasks.for_each(|(y, x)| Arch::new().dispatch(Chains { params, x, y }));
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x], [y]) = bindings.take();
        for i in 0..p.count as usize {
            y[i] = x[i];
            for _ in 0..p.steps {
                y[i] = f64::from(p.alpha) * y[i] + f64::from(p.beta);
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let count = f64::from(p.count);
        Cost { flop: 2.0 * f64::from(p.steps) * count, bytes: 8.0 * count }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, 1), (255, 0), (2_049, 16), (40_001, 37)];
        let shapes =
            sizes.pick(odd, [(16_777_300, 3), (70_001, 1_000)]).into_iter().map(|shape| case(shape, false, seed));
        let halves = sizes.pick(odd, [(70_001, 1_000)]).into_iter().map(|shape| case(shape, true, seed));
        shapes.chain(halves).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case((draw.count(), draw.below(40) as u32), draw.bit(), draw.seed())
    }
}

fn case((count, steps): (usize, u32), half: bool, seed: u32) -> Case<Params> {
    // f16 holds all of v, -v + 1/4, v, .. where x is some 64ths.
    let x = fill(seed, count, 1.0).into_iter().map(|x| if half { (64.0 * x).round() / 64.0 } else { x });
    let (alpha, beta) = if half { (-1.0, 0.25) } else { (-0.99, 0.1) };
    Case {
        params: Params { count: count as u32, steps, alpha, beta, half: half.into() },
        inputs: vec![Data::F32(x.collect())],
        outputs: vec![Data::Out(count)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut y = [0.0; 2];
        let params = Params { count: 2, steps: 3, alpha: 2.0, beta: 1.0, half: 0 };
        Fma::reference(&params, Bindings::new(vec![&[1.0, -1.0]], vec![&mut y]));
        assert_eq!(y, [15.0, -1.0]);
    }
}
