//! y_i (+)= sum over rows of x_i: the gradient of a [bias](crate::bias).
//!
//! x `[rows, width]`, y `[width]`. Chunks of rows are summed first and then added in order, so that the bits do not depend on
//! the number of threads. Moves 1 unit.

use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

/// Rows a chunk.
const CHUNK: usize = 64;

crate::kernel::params! {
    /// Parameters of [`SumRows`].
    pub struct Params {
        /// Rows.
        pub rows: u32,
        /// Elements a row.
        pub width: u32,
        /// Rows a partial sum.
        pub chunk: u32,
        /// 1 to add to what `y` holds.
        pub accumulate: u32,
    }
}

/// The kernel.
pub struct SumRows;

/// The sum over the rows of x.
///
/// # Errors
/// As [`crate::launch`].
pub fn sum_rows(device: &Device, x: &View, y: &View, accumulate: bool) -> Result<(), KernelError> {
    let rows = x.len / y.len.max(1);
    let params = Params { rows: rows as u32, width: y.len as u32, chunk: CHUNK as u32, accumulate: accumulate.into() };
    let partial = View::whole(device.alloc(rows.div_ceil(CHUNK) * y.len)?);
    launch::<SumRows>(device, &params, &[x], &[&partial, y])
}

impl Kernel for SumRows {
    type Params = Params;
    const NAME: &'static str = "sum_rows";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::SUM_ROWS];
    const INPUTS: &'static [&'static str] = &["x"];
    const OUTPUTS: &'static [&'static str] = &["partial", "y"];

    fn passes(p: &Params) -> Vec<Pass> {
        let (width, chunks) = (p.width as usize, p.rows.div_ceil(p.chunk) as usize);
        vec![Pass::new("chunks", (chunks * width).div_ceil(64)), Pass::new("finish", width.div_ceil(64))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x], [partial, y]) = bindings.take();
        let (width, chunk) = (p.width as usize, p.chunk as usize);
        partial.par_chunks_mut(width).zip(x.par_chunks(chunk * width)).for_each(|(sum, x)| {
            add_rows(sum, x);
        });
        if p.accumulate == 0 {
            y.fill(0.0);
        }
        for sum in partial.chunks_exact(width) {
            y.iter_mut().zip(sum).for_each(|(y, sum)| *y += sum);
        }
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x], [_, y]) = bindings.take();
        let width = p.width as usize;
        for i in 0..width {
            let before = if p.accumulate != 0 { y[i] } else { 0.0 };
            y[i] = before + (0..p.rows as usize).map(|row| x[row * width + i]).sum::<f64>();
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.width);
        Cost { flop: n, bytes: 4.0 * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, 1, false), (63, 65, true), (65, 3, false), (200, 129, true)];
        let large = [(66_000, 129, false), (130, 70_001, true)];
        sizes.pick(odd, large).into_iter().map(|shape| case(shape, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (rows, width) = draw.rows();
        case((rows, width, draw.bit()), draw.seed())
    }
}

fn case((rows, width, keep): (usize, usize, bool), seed: u32) -> Case<Params> {
    Case {
        params: Params { rows: rows as u32, width: width as u32, chunk: CHUNK as u32, accumulate: keep.into() },
        inputs: vec![Data::F32(fill(seed, rows * width, 1.0))],
        outputs: vec![
            Data::Scratch(rows.div_ceil(CHUNK) * width),
            if keep { Data::F32(fill(seed + 1, width, 1.0)) } else { Data::Out(width) },
        ],
    }
}

simd! {
    fn add_rows(sum: &mut [f32], x: &[f32]) {
        sum.fill(0.0);
        for x in x.chunks_exact(sum.len()) {
            sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (mut partial, mut y) = ([0.0; 2], [1.0, 2.0]);
        let params = Params { rows: 2, width: 2, chunk: 64, accumulate: 1 };
        SumRows::reference(&params, Bindings::new(vec![&[2.0, 3.0, 4.0, 5.0]], vec![&mut partial, &mut y]));
        assert_eq!(y, [7.0, 10.0]);
    }
}
