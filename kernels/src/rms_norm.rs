//! RMSNorm (Zhang and Sennrich, arXiv 1910.07467): y = x r (offset + weight) with r = 1 / sqrt(mean(x^2) + epsilon), a row at a
//! time. offset is 0, or 1 where weights are stored as their difference from 1 (Gemma).
//!
//! x, y `[rows, width]`, weight `[width]`, r `[rows]` (kept for the backward kernels). Moves 2 units.

use crate::simd::{dot, simd};
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`RmsNorm`].
    pub struct Params {
        /// Rows.
        pub rows: u32,
        /// Elements a row.
        pub width: u32,
        /// Keeps a row of zeros finite.
        pub epsilon: f32,
        /// Added to every weight.
        pub offset: f32,
    }
}

/// The kernel.
pub struct RmsNorm;

/// y = x r (offset + weight), and r.
///
/// # Errors
/// As [`crate::launch`].
pub fn rms_norm(
    device: &Device,
    [epsilon, offset]: [f32; 2],
    x: &View,
    weight: &View,
    y: &View,
    r: &View,
) -> Result<(), KernelError> {
    let params = Params { rows: r.len as u32, width: weight.len as u32, epsilon, offset };
    launch::<RmsNorm>(device, &params, &[x, weight], &[y, r])
}

impl Kernel for RmsNorm {
    type Params = Params;
    const NAME: &'static str = "rms_norm";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::RMS_NORM];
    const INPUTS: &'static [&'static str] = &["x", "weight"];
    const OUTPUTS: &'static [&'static str] = &["y", "r"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", p.rows as usize)]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x, weight], [y, r]) = bindings.take();
        let width = p.width as usize;
        let rows = y.par_chunks_mut(width).zip(x.par_chunks(width)).zip(r).with_min_len(32);
        rows.for_each(|((y, x), r)| {
            *r = row(y, x, weight, p.offset, p.epsilon);
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x, weight], [y, r]) = bindings.take();
        let width = p.width as usize;
        for row in 0..p.rows as usize {
            let x = &x[row * width..][..width];
            let mean: f64 = x.iter().map(|v| v * v).sum::<f64>() / width as f64;
            r[row] = 1.0 / (mean + f64::from(p.epsilon)).sqrt();
            for i in 0..width {
                y[row * width + i] = x[i] * r[row] * (f64::from(p.offset) + weight[i]);
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.width);
        Cost { flop: 4.0 * n, bytes: 8.0 * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, 1), (3, 63), (5, 65), (77, 129), (2, 1000)];
        let cases = sizes.pick(odd, [(66_000, 5), (1025, 2049)]).into_iter().map(|shape| case(shape, [1.0, 0.0], seed));
        cases.chain([case((3, 65), [SMALL, 0.0], seed), case((4, 66), [1.0, 1.0], seed)]).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(draw.rows(), [draw.one_of(&[1.0, SMALL]), draw.one_of(&[0.0, 1.0])], draw.seed())
    }
}

/// Numbers so small that epsilon is most of what a row is divided by.
const SMALL: f32 = 1e-3;

fn case((rows, width): (usize, usize), [scale, offset]: [f32; 2], seed: u32) -> Case<Params> {
    Case {
        params: Params { rows: rows as u32, width: width as u32, epsilon: 1e-5, offset },
        inputs: vec![Data::F32(fill(seed, rows * width, scale)), Data::F32(fill(seed + 1, width, 1.0))],
        outputs: vec![Data::Out(rows * width), Data::Out(rows)],
    }
}

simd! {
    /// y of a token; returns its r.
    fn row[simd](y: &mut [f32], x: &[f32], weight: &[f32], offset: f32, epsilon: f32) -> f32 {
        let r = 1.0 / (dot(simd, x, x) / x.len() as f32 + epsilon).sqrt();
        y.iter_mut().zip(x).zip(weight).for_each(|((y, x), w)| *y = x * r * (offset + w));
        r
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // mean(3^2, 4^2) = 12.5.
        let (mut y, mut r) = ([0.0; 2], [0.0]);
        let params = Params { rows: 1, width: 2, epsilon: 0.0, offset: 0.0 };
        RmsNorm::reference(&params, Bindings::new(vec![&[3.0, 4.0], &[1.0, 2.0]], vec![&mut y, &mut r]));
        approx::assert_relative_eq!(y[0], 3.0 / 12.5f64.sqrt(), epsilon = 1e-12);
        approx::assert_relative_eq!(y[1], 8.0 / 12.5f64.sqrt(), epsilon = 1e-12);
    }
}
