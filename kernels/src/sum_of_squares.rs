//! sum (+)= factor sum of x_i^2: gradient norms, of gradients that are scaled by 1 / sqrt(factor). x `[count]`, sum `[1]`. Chunks
//! first, then the chunks in order, so that the bits do not depend on the number of threads. Moves 1 unit.

use crate::simd::{dot, simd};
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

/// Elements a chunk.
const CHUNK: usize = 8_192;

crate::kernel::params! {
    /// Parameters of [`SumOfSquares`].
    pub struct Params {
        /// Elements.
        pub count: u32,
        /// Elements a partial sum.
        pub chunk: u32,
        /// 1 to add to what `sum` holds.
        pub accumulate: u32,
        /// Factor of the sum.
        pub factor: f32,
    }
}

/// The kernel.
pub struct SumOfSquares;

/// sum = `factor` times the sum of squares of `x`, or sum += it.
///
/// # Errors
/// As [`crate::launch`].
pub fn sum_of_squares(device: &Device, factor: f32, x: &View, sum: &View, accumulate: bool) -> Result<(), KernelError> {
    let params = Params { count: x.len as u32, chunk: CHUNK as u32, accumulate: accumulate.into(), factor };
    let partial = View::whole(device.alloc(x.len.div_ceil(CHUNK))?);
    launch::<SumOfSquares>(device, &params, &[x], &[&partial, sum])
}

impl Kernel for SumOfSquares {
    type Params = Params;
    const NAME: &'static str = "sum_of_squares";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::SUM_OF_SQUARES];
    const INPUTS: &'static [&'static str] = &["x"];
    const OUTPUTS: &'static [&'static str] = &["partial", "sum"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("chunks", p.count.div_ceil(p.chunk) as usize), Pass::new("finish", 1)]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x], [partial, sum]) = bindings.take();
        partial.par_iter_mut().zip(x.par_chunks(p.chunk as usize)).for_each(|(partial, x)| {
            *partial = p.factor * square(x);
        });
        let before = if p.accumulate != 0 { sum[0] } else { 0.0 };
        sum[0] = before + partial.iter().sum::<f32>();
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x], [_, sum]) = bindings.take();
        let before = if p.accumulate != 0 { sum[0] } else { 0.0 };
        sum[0] = before + f64::from(p.factor) * x.iter().map(|v| v * v).sum::<f64>();
    }

    fn cost(p: &Params) -> Cost {
        Cost { flop: 2.0 * f64::from(p.count), bytes: 4.0 * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, false), (8_191, true), (8_193, false), (100_001, true)];
        sizes.pick(odd, [(16_777_300, false)]).into_iter().map(|shape| case(shape, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        // As the squares of scales are: some small.
        let factor = draw.one_of(&[0.75, 1.0, 1.0 / (1 << 16) as f32]);
        case((draw.count(), draw.bit()), draw.seed()).with(|p| Params { factor, ..p })
    }
}

fn case((n, keep): (usize, bool), seed: u32) -> Case<Params> {
    Case {
        params: Params { count: n as u32, chunk: CHUNK as u32, accumulate: keep.into(), factor: 0.75 },
        inputs: vec![Data::F32(fill(seed, n, 1.0))],
        outputs: vec![
            Data::Scratch(n.div_ceil(CHUNK)),
            if keep { Data::F32(fill(seed + 1, 1, 9.0)) } else { Data::Out(1) },
        ],
    }
}

simd! {
    fn square[simd](x: &[f32]) -> f32 {
        dot(simd, x, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (mut partial, mut sum) = ([0.0], [1.0]);
        let params = Params { count: 2, chunk: 64, accumulate: 1, factor: 0.5 };
        SumOfSquares::reference(&params, Bindings::new(vec![&[3.0, 4.0]], vec![&mut partial, &mut sum]));
        assert_eq!(sum, [13.5]);
    }
}
