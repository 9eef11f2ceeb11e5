//! y = alpha x, or y += alpha x. Moves 2 units, or 3.

use crate::add::TASK;
use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`Scale`].
    pub struct Params {
        /// Elements.
        pub count: u32,
        /// The factor.
        pub alpha: f32,
        /// 1 to add to what `y` holds.
        pub accumulate: u32,
    }
}

/// The kernel.
pub struct Scale;

/// y = alpha x, or y += alpha x with `accumulate`.
///
/// # Errors
/// As [`crate::launch`].
pub fn scale(device: &Device, alpha: f32, x: &View, y: &View, accumulate: bool) -> Result<(), KernelError> {
    let params = Params { count: y.len as u32, alpha, accumulate: accumulate.into() };
    launch::<Scale>(device, &params, &[x], &[y])
}

impl Kernel for Scale {
    type Params = Params;
    const NAME: &'static str = "scale";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::SCALE];
    const INPUTS: &'static [&'static str] = &["x"];
    const OUTPUTS: &'static [&'static str] = &["y"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.count as usize).div_ceil(256))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x], [y]) = bindings.take();
        let keep = p.accumulate != 0;
        y.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(y, x)| {
            scaled(y, x, p.alpha, keep);
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x], [y]) = bindings.take();
        for i in 0..p.count as usize {
            let before = if p.accumulate != 0 { y[i] } else { 0.0 };
            y[i] = before + f64::from(p.alpha) * x[i];
        }
    }

    fn cost(p: &Params) -> Cost {
        let units = if p.accumulate != 0 { 3.0 } else { 2.0 };
        Cost { flop: f64::from(p.count) * (units - 1.0), bytes: 4.0 * units * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, false), (257, true), (40_001, false), (40_001, true)];
        sizes.pick(odd, [(16_777_300, true)]).into_iter().map(|shape| case(shape, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case((draw.count(), draw.bit()), draw.seed())
    }
}

fn case((n, keep): (usize, bool), seed: u32) -> Case<Params> {
    Case {
        params: Params { count: n as u32, alpha: -0.75, accumulate: keep.into() },
        inputs: vec![Data::F32(fill(seed, n, 1.0))],
        outputs: vec![if keep { Data::F32(fill(seed + 1, n, 1.0)) } else { Data::Out(n) }],
    }
}

simd! {
    fn scaled(y: &mut [f32], x: &[f32], alpha: f32, keep: bool) {
        if keep {
            y.iter_mut().zip(x).for_each(|(y, x)| *y += alpha * x);
        } else {
            y.iter_mut().zip(x).for_each(|(y, x)| *y = alpha * x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut y = [1.0, 1.0];
        let params = Params { count: 2, alpha: 2.0, accumulate: 1 };
        Scale::reference(&params, Bindings::new(vec![&[3.0, 4.0]], vec![&mut y]));
        assert_eq!(y, [7.0, 9.0]);
    }
}
