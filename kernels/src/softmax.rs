//! y = softmax(x), row by row; x, y `[rows, width]`, of short rows: a gate's weights, where its merge is launched apart.
//! Moves 2 units.

use crate::simd::{exp, simd};
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

/// Rows of a task of the CPU body.
const ROWS: usize = 256;

crate::kernel::params! {
    /// Parameters of [`Softmax`].
    pub struct Params {
        /// Rows.
        pub rows: u32,
        /// Elements a row.
        pub width: u32,
    }
}

/// The kernel.
pub struct Softmax;

/// softmax(x) of rows of `width`.
///
/// # Errors
/// As [`crate::launch`].
pub fn softmax(device: &Device, width: usize, x: &View, y: &View) -> Result<(), KernelError> {
    let params = Params { rows: (x.len / width.max(1)) as u32, width: width as u32 };
    launch::<Softmax>(device, &params, &[x], &[y])
}

impl Kernel for Softmax {
    type Params = Params;
    const NAME: &'static str = "softmax";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::SOFTMAX];
    const INPUTS: &'static [&'static str] = &["x"];
    const OUTPUTS: &'static [&'static str] = &["y"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.rows as usize).div_ceil(64))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x], [y]) = bindings.take();
        let width = p.width as usize;
        let chunk = ROWS * width;
        y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(y, x)| rows(y, x, width));
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x], [y]) = bindings.take();
        let width = p.width as usize;
        for row in 0..p.rows as usize {
            let x = &x[row * width..][..width];
            let greatest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = x.iter().map(|x| (x - greatest).exp()).sum();
            for i in 0..width {
                y[row * width + i] = (x[i] - greatest).exp() / total;
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.width);
        Cost { flop: 4.0 * n, bytes: 8.0 * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, 1, 1.0), (65, 3, 1.0), (7, 65, 200.0), (300, 2, 5.0)];
        sizes.pick(odd, [(4_200_000, 3, 1.0)]).into_iter().map(|shape| case(shape, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (rows, width) = draw.rows();
        case((rows, width, draw.one_of(&[1.0, 5.0, 200.0])), draw.seed())
    }
}

fn case((rows, width, scale): (usize, usize, f32), seed: u32) -> Case<Params> {
    Case {
        params: Params { rows: rows as u32, width: width as u32 },
        inputs: vec![Data::F32(fill(seed, rows * width, scale))],
        outputs: vec![Data::Out(rows * width)],
    }
}

simd! {
    fn rows(y: &mut [f32], x: &[f32], width: usize) {
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            y.copy_from_slice(x);
            softmax_row(y);
        }
    }
}

/// The softmax of one short row, in its place.
#[inline(always)]
pub(crate) fn softmax_row(row: &mut [f32]) {
    let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = exp(*x - greatest));
    let total: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= total);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut y = [0.0; 2];
        Softmax::reference(&Params { rows: 1, width: 2 }, Bindings::new(vec![&[0.0, 3f64.ln()]], vec![&mut y]));
        approx::assert_relative_eq!(y[0], 0.25, epsilon = 1e-12);
        approx::assert_relative_eq!(y[1], 0.75, epsilon = 1e-12);
    }
}
