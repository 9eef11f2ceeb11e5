//! y = alpha x, or y += alpha x. Moves 2 units, or 3.

use crate::add::TASK;
use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
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
        /// How x is stored: [`Dtype::code`].
        pub dtype: u32,
        /// How y is.
        pub y_dtype: u32,
    }
}

/// The kernel.
pub struct Scale;

/// y = alpha x, or y += alpha x with `accumulate`.
///
/// # Errors
/// As [`crate::launch`].
pub fn scale(device: &Device, alpha: f32, x: &View, y: &View, accumulate: bool) -> Result<(), KernelError> {
    let (dtype, y_dtype) = (x.dtype().code(), y.dtype().code());
    let params = Params { count: y.len as u32, alpha, accumulate: accumulate.into(), dtype, y_dtype };
    launch::<Scale>(device, &params, &[x], &[y])
}

impl Kernel for Scale {
    type Params = Params;
    const NAME: &'static str = "scale";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::SCALE];
    const INPUTS: &'static [&'static str] = &["x"];
    const OUTPUTS: &'static [&'static str] = &["y"];

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        vec![("StoredX", Self::dtype(p, 0).wgsl()[0]), ("StoredY", Self::dtype(p, 1).wgsl()[0])]
    }

    fn dtype(p: &Params, binding: usize) -> Dtype {
        Dtype::activation(if binding == 0 { p.dtype } else { p.y_dtype })
    }

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
        let passes = if p.accumulate != 0 { 2.0 } else { 1.0 };
        let bytes = Self::dtype(p, 0).bytes() + passes * Self::dtype(p, 1).bytes();
        Cost { flop: f64::from(p.count) * passes, bytes: bytes * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, false), (257, true), (40_001, false), (40_001, true)];
        let cases = sizes.pick(odd, [(16_777_300, true)]).into_iter().map(|shape| case(shape, seed)).collect();
        Case::and(
            cases,
            sizes,
            &[
                |p| Params { dtype: Dtype::F16.code(), ..p },
                |p| Params { y_dtype: Dtype::F16.code(), ..p },
                |p| Params { dtype: Dtype::F16.code(), y_dtype: Dtype::F16.code(), ..p },
            ],
        )
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let case = case((draw.count(), draw.bit()), draw.seed());
        case.with(|p| Params { dtype: draw.stored(), y_dtype: draw.stored(), ..p })
    }
}

fn case((n, keep): (usize, bool), seed: u32) -> Case<Params> {
    let f32 = Dtype::F32.code();
    Case {
        params: Params { count: n as u32, alpha: -0.75, accumulate: keep.into(), dtype: f32, y_dtype: f32 },
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
        let params =
            Params { count: 2, alpha: 2.0, accumulate: 1, dtype: Dtype::F32.code(), y_dtype: Dtype::F32.code() };
        Scale::reference(&params, Bindings::new(vec![&[3.0, 4.0]], vec![&mut y]));
        assert_eq!(y, [7.0, 9.0]);
    }
}
