//! RMSNorm (Zhang and Sennrich, arXiv 1910.07467): y = x r (offset + weight) with r = 1 / sqrt(mean(x^2) + epsilon), a row at a
//! time. offset is 0, or 1 where weights are stored as their difference from 1 (Gemma).
//!
//! x, y `[rows, width]`, weight `[width]`, r `[rows]` (kept for the backward kernels). Moves 2 units.

use crate::simd::{dot, simd};
use crate::{
    Bindings, Case, Cost, Data, Device, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
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
        /// How x is stored: [`Dtype::code`].
        pub dtype: u32,
        /// How y is.
        pub y_dtype: u32,
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
    let (rows, width, dtype, y_dtype) = (r.len as u32, weight.len as u32, x.dtype().code(), y.dtype().code());
    let params = Params { rows, width, epsilon, offset, dtype, y_dtype };
    launch::<RmsNorm>(device, &params, &[x, weight], &[y, r])
}

impl Kernel for RmsNorm {
    type Params = Params;
    const NAME: &'static str = "rms_norm";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::RMS_NORM];
    const INPUTS: &'static [&'static str] = &["x", "weight"];
    const OUTPUTS: &'static [&'static str] = &["y", "r"];

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        vec![("StoredX", Self::dtype(p, 0).wgsl()[0]), ("StoredY", Self::dtype(p, 2).wgsl()[0])]
    }

    fn dtype(p: &Params, binding: usize) -> Dtype {
        match binding {
            0 => Dtype::activation(p.dtype),
            2 => Dtype::activation(p.y_dtype),
            _ => Dtype::F32,
        }
    }

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
        Cost { flop: 4.0 * n, bytes: (Self::dtype(p, 0).bytes() + Self::dtype(p, 2).bytes()) * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let scaled = |(rows, width): (usize, usize), scale: f32, offset: f32| Case {
            params: Params { epsilon: 1e-5, ..params(rows, width, offset) },
            inputs: vec![Data::F32(fill(seed, rows * width, scale)), Data::F32(fill(seed + 1, width, 1.0))],
            outputs: vec![Data::Out(rows * width), Data::Out(rows)],
        };
        let odd = [(1, 1), (3, 63), (5, 65), (77, 129), (2, 1000)];
        let cases = sizes.pick(odd, [(66_000, 5), (1025, 2049)]).into_iter().map(|shape| scaled(shape, 1.0, 0.0));
        // A row so small that epsilon is most of what it is divided by.
        let cases = cases.chain([scaled((3, 65), 1e-3, 0.0), scaled((4, 66), 1.0, 1.0)]).collect();
        // Of the stream, and of what is added to it.
        let stream = |p| Params { y_dtype: Dtype::F16.code(), ..p };
        Case::and(cases, sizes, &[stream, |p| Params { dtype: Dtype::F16.code(), y_dtype: Dtype::F16.code(), ..p }])
    }
}

/// Of rows in f32, without an epsilon.
fn params(rows: usize, width: usize, offset: f32) -> Params {
    let dtype = Dtype::F32.code();
    Params { rows: rows as u32, width: width as u32, epsilon: 0.0, offset, dtype, y_dtype: dtype }
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
        RmsNorm::reference(&params(1, 2, 0.0), Bindings::new(vec![&[3.0, 4.0], &[1.0, 2.0]], vec![&mut y, &mut r]));
        approx::assert_relative_eq!(y[0], 3.0 / 12.5f64.sqrt(), epsilon = 1e-12);
        approx::assert_relative_eq!(y[1], 8.0 / 12.5f64.sqrt(), epsilon = 1e-12);
    }
}
