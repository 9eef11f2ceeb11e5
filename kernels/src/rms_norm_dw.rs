//! Gradient of a [norm](crate::rms_norm) with respect to its weight: dw_i (+)= sum over rows of dy_i (x_i - m) r.
//!
//! x, dy `[rows, width]`, scales `[rows]` with r, or centered `[2, rows]` with r, then m; dw `[width]`. Chunks of rows are summed first
//! and then added in order, so that the bits do not depend on the number of threads. A frozen norm never launches this. Moves 2 units.

use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
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
        /// 1 if the mean was taken off x.
        pub centered: u32,
        /// How x is stored: [`Dtype::code`].
        pub dtype: u32,
        /// How dy is.
        pub dy_dtype: u32,
    }
}

impl Params {
    /// Of rows in f32 that are not centered, whose sum is new.
    fn new(rows: usize, width: usize) -> Self {
        let [rows, width, chunk] = [rows, width, CHUNK].map(|v| v as u32);
        let dtype = Dtype::F32.code();
        Self { rows, width, chunk, accumulate: 0, centered: 0, dtype, dy_dtype: dtype }
    }
}

/// The kernel.
pub struct RmsNormDw;

/// dw of a norm whose forward kept `scales`.
///
/// # Errors
/// As [`crate::launch`].
pub fn rms_norm_dw(
    device: &Device,
    [x, scales, dy]: [&View; 3],
    dw: &View,
    accumulate: bool,
) -> Result<(), KernelError> {
    let rows = x.len / dw.len.max(1);
    let params = Params {
        accumulate: accumulate.into(),
        centered: (scales.len != rows).into(),
        dtype: x.dtype().code(),
        dy_dtype: dy.dtype().code(),
        ..Params::new(rows, dw.len)
    };
    let partial = View::whole(device.alloc(rows.div_ceil(CHUNK) * dw.len)?);
    launch::<RmsNormDw>(device, &params, &[x, scales, dy], &[&partial, dw])
}

impl Kernel for RmsNormDw {
    type Params = Params;
    const NAME: &'static str = "rms_norm_dw";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::RMS_NORM_DW];
    const INPUTS: &'static [&'static str] = &["x", "scales", "dy"];
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
        let ([x, scales, dy], [partial, dw]) = bindings.take();
        let (width, chunk) = (p.width as usize, p.chunk as usize);
        let (r, m) = scales.split_at(p.rows as usize);
        let inputs = x.par_chunks(chunk * width).zip(dy.par_chunks(chunk * width)).zip(r.par_chunks(chunk));
        let chunks = partial.par_chunks_mut(width).zip(inputs);
        if p.centered != 0 {
            chunks.zip(m.par_chunks(chunk)).for_each(|((sum, ((x, dy), r)), m)| add_centered_rows(sum, x, dy, r, m));
        } else {
            chunks.for_each(|(sum, ((x, dy), r))| add_rows(sum, x, dy, r));
        }
        if p.accumulate == 0 {
            dw.fill(0.0);
        }
        for sum in partial.chunks_exact(width) {
            dw.iter_mut().zip(sum).for_each(|(dw, sum)| *dw += sum);
        }
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x, scales, dy], [_, dw]) = bindings.take();
        let (rows, width) = (p.rows as usize, p.width as usize);
        let m = |row: usize| if p.centered != 0 { scales[rows + row] } else { 0.0 };
        for i in 0..width {
            let before = if p.accumulate != 0 { dw[i] } else { 0.0 };
            let term = |row: usize| dy[row * width + i] * (x[row * width + i] - m(row)) * scales[row];
            dw[i] = before + (0..rows).map(term).sum::<f64>();
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.width);
        let bytes = Self::dtype(p, 0).bytes() + Self::dtype(p, 2).bytes();
        Cost { flop: if p.centered != 0 { 4.0 } else { 3.0 } * n, bytes: bytes * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, 1, false), (63, 65, true), (65, 3, false), (200, 129, true)];
        let shapes = sizes.pick(odd, [(66_000, 129, false), (130, 70_001, true)]).into_iter();
        let cases = shapes.flat_map(|shape| [0, 1].map(|centered| case(shape, centered, seed))).collect();
        // Of the stream, and of what is added to it.
        let stream = |p| Params { dy_dtype: Dtype::F16.code(), ..p };
        Case::and(cases, sizes, &[stream, |p| Params { dtype: Dtype::F16.code(), dy_dtype: Dtype::F16.code(), ..p }])
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (rows, width) = draw.rows();
        let case = case((rows, width, draw.bit()), draw.bit().into(), draw.seed());
        case.with(|p| Params { dtype: draw.stored(), dy_dtype: draw.stored(), ..p })
    }
}

fn case((rows, width, keep): (usize, usize, bool), centered: u32, seed: u32) -> Case<Params> {
    Case {
        params: Params { accumulate: keep.into(), centered, ..Params::new(rows, width) },
        inputs: vec![
            Data::F32(fill(seed, rows * width, 1.0)),
            Data::F32(fill(seed + 1, (1 + centered as usize) * rows, 2.0)),
            Data::F32(fill(seed + 2, rows * width, 1.0)),
        ],
        outputs: vec![
            Data::Scratch(rows.div_ceil(CHUNK) * width),
            if keep { Data::F32(fill(seed + 3, width, 1.0)) } else { Data::Out(width) },
        ],
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

    fn add_centered_rows(sum: &mut [f32], x: &[f32], dy: &[f32], r: &[f32], m: &[f32]) {
        let width = sum.len();
        sum.fill(0.0);
        for (((x, dy), r), m) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(r).zip(m) {
            sum.iter_mut().zip(x).zip(dy).for_each(|((sum, x), dy)| *sum += dy * (x - m) * r);
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
        // Centered: (2 - 1) 1 10 + (3 - 1) 0.5 20.
        let inputs: Vec<&[f64]> = vec![&[2.0, 3.0], &[10.0, 20.0, 1.0, 1.0], &[1.0, 0.5]];
        let params = Params { accumulate: 0, centered: 1, ..params };
        RmsNormDw::reference(&params, Bindings::new(inputs, vec![&mut partial, &mut dw]));
        assert_eq!(dw, [30.0]);
    }
}
