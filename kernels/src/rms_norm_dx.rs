//! Gradient of [RMSNorm](crate::rms_norm) with respect to its input: dx = r (w dy - x r^2 mean(w dy x)), w = offset +
//! weight, a row at a time.
//!
//! x, dy, dx `[rows, width]`, weight `[width]`, r `[rows]`. Moves 3 units.

use crate::simd::{dot, dot3, simd};
use crate::{
    Bindings, Case, Cost, Data, Device, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`RmsNormDx`].
    pub struct Params {
        /// Rows.
        pub rows: u32,
        /// Elements a row.
        pub width: u32,
        /// Added to every weight.
        pub offset: f32,
        /// How x and dx are stored: [`Dtype::code`].
        pub dtype: u32,
        /// How dy is.
        pub dy_dtype: u32,
    }
}

/// The kernel.
pub struct RmsNormDx;

/// dx of a norm whose forward kept `r`.
///
/// # Errors
/// As [`crate::launch`].
pub fn rms_norm_dx(
    device: &Device,
    offset: f32,
    x: &View,
    weight: &View,
    r: &View,
    dy: &View,
    dx: &View,
) -> Result<(), KernelError> {
    let (rows, width, dtype, dy_dtype) = (r.len as u32, weight.len as u32, x.dtype().code(), dy.dtype().code());
    let params = Params { rows, width, offset, dtype, dy_dtype };
    launch::<RmsNormDx>(device, &params, &[x, weight, r, dy], &[dx])
}

impl Kernel for RmsNormDx {
    type Params = Params;
    const NAME: &'static str = "rms_norm_dx";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::RMS_NORM_DX];
    const INPUTS: &'static [&'static str] = &["x", "weight", "r", "dy"];
    const OUTPUTS: &'static [&'static str] = &["dx"];

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        vec![("StoredX", Self::dtype(p, 0).wgsl()[0]), ("StoredDy", Self::dtype(p, 3).wgsl()[0])]
    }

    fn dtype(p: &Params, binding: usize) -> Dtype {
        match binding {
            0 | 4 => Dtype::activation(p.dtype),
            3 => Dtype::activation(p.dy_dtype),
            _ => Dtype::F32,
        }
    }

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", p.rows as usize)]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x, weight, r, dy], [dx]) = bindings.take();
        let width = p.width as usize;
        let rows = dx.par_chunks_mut(width).zip(x.par_chunks(width)).zip(dy.par_chunks(width)).zip(r);
        rows.with_min_len(32).for_each(|(((dx, x), dy), &r)| {
            row(dx, x, dy, weight, p.offset, r);
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x, weight, r, dy], [dx]) = bindings.take();
        let width = p.width as usize;
        for row in 0..p.rows as usize {
            let at = row * width;
            let weight = |i: usize| f64::from(p.offset) + weight[i];
            let mean = (0..width).map(|i| weight(i) * dy[at + i] * x[at + i]).sum::<f64>() / width as f64;
            for i in 0..width {
                dx[at + i] = r[row] * (weight(i) * dy[at + i] - x[at + i] * r[row] * r[row] * mean);
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.width);
        Cost { flop: 7.0 * n, bytes: (2.0 * Self::dtype(p, 0).bytes() + Self::dtype(p, 3).bytes()) * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let case = |(rows, width, offset): (usize, usize, f32)| Case {
            params: params(rows, width, offset),
            inputs: vec![
                Data::F32(fill(seed, rows * width, 1.0)),
                Data::F32(fill(seed + 1, width, 1.0)),
                Data::F32(fill(seed + 2, rows, 2.0)),
                Data::F32(fill(seed + 3, rows * width, 1.0)),
            ],
            outputs: vec![Data::Out(rows * width)],
        };
        let odd = [(1, 1, 0.0), (3, 63, 1.0), (5, 65, 0.0), (77, 129, 0.0), (2, 1000, 1.0)];
        let cases = sizes.pick(odd, [(66_000, 5, 0.0), (1025, 2049, 0.0)]).into_iter().map(case).collect();
        // Of the stream, and of what is added to it.
        let stream = |p| Params { dy_dtype: Dtype::F16.code(), ..p };
        Case::and(cases, sizes, &[stream, |p| Params { dtype: Dtype::F16.code(), ..p }])
    }
}

/// Of rows in f32.
fn params(rows: usize, width: usize, offset: f32) -> Params {
    let dtype = Dtype::F32.code();
    Params { rows: rows as u32, width: width as u32, offset, dtype, dy_dtype: dtype }
}

simd! {
    fn row[simd](dx: &mut [f32], x: &[f32], dy: &[f32], weight: &[f32], offset: f32, r: f32) {
        let pull = (dot3(simd, weight, dy, x) + offset * dot(simd, dy, x)) / x.len() as f32 * r * r;
        let inputs = x.iter().zip(dy).zip(weight);
        dx.iter_mut().zip(inputs).for_each(|(dx, ((x, dy), w))| *dx = r * ((offset + w) * dy - x * pull));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // x = (1, 1), r = 1, w = (1, 1), dy = (1, 0): mean = 1/2, dx = (1/2, -1/2).
        let mut dx = [0.0; 2];
        let bindings = Bindings::new(vec![&[1.0, 1.0], &[1.0, 1.0], &[1.0], &[1.0, 0.0]], vec![&mut dx]);
        RmsNormDx::reference(&params(1, 2, 0.0), bindings);
        assert_eq!(dx, [0.5, -0.5]);
    }
}
