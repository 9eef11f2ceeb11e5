//! Gradient of [RMSNorm](crate::rms_norm) with respect to its weight: dw_i (+)= sum over rows of dy_i x_i r.
//!
//! x, dy `[rows, width]`, r `[rows]`, dw `[width]`. Chunks of rows are summed first and then added in order, so that the
//! bits do not depend on the number of threads. A frozen norm never launches this. Moves 2 units.

use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

/// Rows a chunk.
const CHUNK: usize = 64;

crate::kernel::params! {
    /// Parameters of [`RmsNormDw`].
    pub struct Params {
        /// Rows.
        pub rows: u32,
        /// Elements a row.
        pub width: u32,
        /// Rows a partial sum.
        pub chunk: u32,
        /// 1 to add to what `dw` holds.
        pub accumulate: u32,
        /// How x is stored: [`Dtype::code`].
        pub dtype: u32,
        /// How dy is.
        pub dy_dtype: u32,
    }
}

impl Params {
    fn new(rows: usize, width: usize) -> Self {
        let [rows, width, chunk] = [rows, width, CHUNK].map(|v| v as u32);
        Self { rows, width, chunk, accumulate: 0, dtype: Dtype::F32.code(), dy_dtype: Dtype::F32.code() }
    }
}

/// The kernel.
pub struct RmsNormDw;

/// dw of a norm whose forward kept `r`.
///
/// # Errors
/// As [`crate::launch`].
pub fn rms_norm_dw(
    device: &Device,
    x: &View,
    r: &View,
    dy: &View,
    dw: &View,
    accumulate: bool,
) -> Result<(), KernelError> {
    let params = Params {
        accumulate: accumulate.into(),
        dtype: x.dtype().code(),
        dy_dtype: dy.dtype().code(),
        ..Params::new(r.len, dw.len)
    };
    let partial = View::whole(device.alloc(r.len.div_ceil(CHUNK) * dw.len)?);
    launch::<RmsNormDw>(device, &params, &[x, r, dy], &[&partial, dw])
}

impl Kernel for RmsNormDw {
    type Params = Params;
    const NAME: &'static str = "rms_norm_dw";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::RMS_NORM_DW];
    const INPUTS: &'static [&'static str] = &["x", "r", "dy"];
    const OUTPUTS: &'static [&'static str] = &["partial", "dw"];

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        vec![("StoredX", Self::dtype(p, 0).wgsl()[0]), ("StoredDy", Self::dtype(p, 2).wgsl()[0])]
    }

    fn dtype(p: &Params, binding: usize) -> Dtype {
        match binding {
            0 => Dtype::activation(p.dtype),
            2 => Dtype::activation(p.dy_dtype),
            _ => Dtype::F32,
        }
    }

    fn passes(p: &Params) -> Vec<Pass> {
        let (width, chunks) = (p.width as usize, p.rows.div_ceil(p.chunk) as usize);
        vec![Pass::new("chunks", (chunks * width).div_ceil(64)), Pass::new("finish", width.div_ceil(64))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x, r, dy], [partial, dw]) = bindings.take();
        let (width, chunk) = (p.width as usize, p.chunk as usize);
        let inputs = x.par_chunks(chunk * width).zip(dy.par_chunks(chunk * width)).zip(r.par_chunks(chunk));
        partial.par_chunks_mut(width).zip(inputs).for_each(|(sum, ((x, dy), r))| {
            add_rows(sum, x, dy, r);
        });
        if p.accumulate == 0 {
            dw.fill(0.0);
        }
        for sum in partial.chunks_exact(width) {
            dw.iter_mut().zip(sum).for_each(|(dw, sum)| *dw += sum);
        }
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x, r, dy], [_, dw]) = bindings.take();
        let width = p.width as usize;
        for i in 0..width {
            let before = if p.accumulate != 0 { dw[i] } else { 0.0 };
            dw[i] =
                before + (0..p.rows as usize).map(|row| dy[row * width + i] * x[row * width + i] * r[row]).sum::<f64>();
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.width);
        Cost { flop: 3.0 * n, bytes: (Self::dtype(p, 0).bytes() + Self::dtype(p, 2).bytes()) * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let case = |(rows, width, keep): (usize, usize, bool)| Case {
            params: Params { accumulate: keep.into(), ..Params::new(rows, width) },
            inputs: vec![
                Data::F32(fill(seed, rows * width, 1.0)),
                Data::F32(fill(seed + 1, rows, 2.0)),
                Data::F32(fill(seed + 2, rows * width, 1.0)),
            ],
            outputs: vec![
                Data::Scratch(rows.div_ceil(CHUNK) * width),
                if keep { Data::F32(fill(seed + 3, width, 1.0)) } else { Data::Out(width) },
            ],
        };
        let odd = [(1, 1, false), (63, 65, true), (65, 3, false), (200, 129, true)];
        let cases = sizes.pick(odd, [(66_000, 129, false), (130, 70_001, true)]).into_iter().map(case).collect();
        // Of the stream, and of what is added to it.
        let stream = |p| Params { dy_dtype: Dtype::F16.code(), ..p };
        Case::and(cases, sizes, &[stream, |p| Params { dtype: Dtype::F16.code(), ..p }])
    }
}

simd! {
    fn add_rows(sum: &mut [f32], x: &[f32], dy: &[f32], r: &[f32]) {
        let width = sum.len();
        sum.fill(0.0);
        for ((x, dy), r) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(r) {
            sum.iter_mut().zip(x).zip(dy).for_each(|((sum, x), dy)| *sum += dy * x * r);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (mut partial, mut dw) = ([0.0], [1.0]);
        let params = Params { accumulate: 1, ..Params::new(2, 1) };
        let bindings = Bindings::new(vec![&[2.0, 3.0], &[1.0, 0.5], &[10.0, 20.0]], vec![&mut partial, &mut dw]);
        RmsNormDw::reference(&params, bindings);
        assert_eq!(dw, [51.0]);
    }
}
