//! Gradient of a [norm](crate::rms_norm) with respect to its input: dx = r (w dy - n - (x - m) r^2 mean(w dy (x - m))), w = offset +
//! weight, a row at a time. n is 0, or centered mean(w dy).
//!
//! x, dy, dx `[rows, width]`, weight `[width]`, scales `[rows]` with r, or centered `[2, rows]` with r, then m. Moves 3 units.

use crate::simd::{dot, dot3, simd, sum};
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
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
        /// 1 if the mean was taken off x.
        pub centered: u32,
        /// How x and dx are stored: [`Dtype::code`].
        pub dtype: u32,
        /// How dy is.
        pub dy_dtype: u32,
    }
}

/// The kernel.
pub struct RmsNormDx;

/// dx of a norm whose forward kept `scales`.
///
/// # Errors
/// As [`crate::launch`].
pub fn rms_norm_dx(
    device: &Device,
    offset: f32,
    [x, weight, scales, dy]: [&View; 4],
    dx: &View,
) -> Result<(), KernelError> {
    let rows = x.len / weight.len.max(1);
    let params = Params {
        centered: (scales.len != rows).into(),
        dtype: x.dtype().code(),
        dy_dtype: dy.dtype().code(),
        ..params(rows, weight.len, offset)
    };
    launch::<RmsNormDx>(device, &params, &[x, weight, scales, dy], &[dx])
}

impl Kernel for RmsNormDx {
    type Params = Params;
    const NAME: &'static str = "rms_norm_dx";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::RMS_NORM_DX];
    const INPUTS: &'static [&'static str] = &["x", "weight", "scales", "dy"];
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
        let ([x, weight, scales, dy], [dx]) = bindings.take();
        let width = p.width as usize;
        let (r, m) = scales.split_at(p.rows as usize);
        let rows = dx.par_chunks_mut(width).zip(x.par_chunks(width)).zip(dy.par_chunks(width)).zip(r).with_min_len(32);
        if p.centered != 0 {
            rows.zip(m).for_each(|((((dx, x), dy), &r), &m)| centered_row(dx, x, dy, weight, p.offset, r, m));
        } else {
            rows.for_each(|(((dx, x), dy), &r)| row(dx, x, dy, weight, p.offset, r));
        }
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x, weight, scales, dy], [dx]) = bindings.take();
        let (rows, width, centered) = (p.rows as usize, p.width as usize, p.centered != 0);
        for row in 0..rows {
            let at = row * width;
            let (r, m) = (scales[row], if centered { scales[rows + row] } else { 0.0 });
            let slope = |i: usize| (f64::from(p.offset) + weight[i]) * dy[at + i];
            let mean = |term: &dyn Fn(usize) -> f64| (0..width).map(term).sum::<f64>() / width as f64;
            let pull = mean(&|i| slope(i) * (x[at + i] - m));
            let lift = if centered { mean(&slope) } else { 0.0 };
            for i in 0..width {
                dx[at + i] = r * (slope(i) - lift - (x[at + i] - m) * r * r * pull);
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.width);
        let bytes = 2.0 * Self::dtype(p, 0).bytes() + Self::dtype(p, 3).bytes();
        Cost { flop: if p.centered != 0 { 11.0 } else { 7.0 } * n, bytes: bytes * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, 1, 0.0), (3, 63, 1.0), (5, 65, 0.0), (77, 129, 0.0), (2, 1000, 1.0)];
        let shapes = sizes.pick(odd, [(66_000, 5, 0.0), (1025, 2049, 0.0)]).into_iter();
        let cases = shapes.flat_map(|shape| [0, 1].map(|centered| case(shape, centered, seed))).collect();
        // Of the stream, and of what is added to it.
        let stream = |p| Params { dy_dtype: Dtype::F16.code(), ..p };
        Case::and(cases, sizes, &[stream, |p| Params { dtype: Dtype::F16.code(), dy_dtype: Dtype::F16.code(), ..p }])
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (rows, width) = draw.rows();
        let case = case((rows, width, draw.one_of(&[0.0, 1.0])), draw.bit().into(), draw.seed());
        case.with(|p| Params { dtype: draw.stored(), dy_dtype: draw.stored(), ..p })
    }
}

fn case((rows, width, offset): (usize, usize, f32), centered: u32, seed: u32) -> Case<Params> {
    Case {
        params: Params { centered, ..params(rows, width, offset) },
        inputs: vec![
            Data::F32(fill(seed, rows * width, 1.0)),
            Data::F32(fill(seed + 1, width, 1.0)),
            Data::F32(fill(seed + 2, (1 + centered as usize) * rows, 2.0)),
            Data::F32(fill(seed + 3, rows * width, 1.0)),
        ],
        outputs: vec![Data::Out(rows * width)],
    }
}

/// Of rows in f32 that are not centered.
fn params(rows: usize, width: usize, offset: f32) -> Params {
    let (rows, width, dtype) = (rows as u32, width as u32, Dtype::F32.code());
    Params { rows, width, offset, centered: 0, dtype, dy_dtype: dtype }
}

simd! {
    fn row[simd](dx: &mut [f32], x: &[f32], dy: &[f32], weight: &[f32], offset: f32, r: f32) {
        let pull = (dot3(simd, weight, dy, x) + offset * dot(simd, dy, x)) / x.len() as f32 * r * r;
        let inputs = x.iter().zip(dy).zip(weight);
        dx.iter_mut().zip(inputs).for_each(|(dx, ((x, dy), w))| *dx = r * ((offset + w) * dy - x * pull));
    }

    fn centered_row[simd](dx: &mut [f32], x: &[f32], dy: &[f32], weight: &[f32], offset: f32, r: f32, m: f32) {
        dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = x - m);
        let width = x.len() as f32;
        let pull = (dot3(simd, weight, dy, dx) + offset * dot(simd, dy, dx)) / width * r * r;
        let lift = (dot(simd, weight, dy) + offset * sum(simd, dy)) / width;
        let slopes = dy.iter().zip(weight);
        dx.iter_mut().zip(slopes).for_each(|(dx, (dy, w))| *dx = r * ((offset + w) * dy - lift - *dx * pull));
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
        // Centered, x = (2, 3, 4) is (-1, 0, 1), w dy = (3, 0, 0): lift 1, mean(w dy x) = -1, dx = r (3, 0, 0) - r + r^3 (-1, 0, 1).
        let mut dx = [0.0; 3];
        let inputs: Vec<&[f64]> = vec![&[2.0, 3.0, 4.0], &[1.0; 3], &[0.5, 3.0], &[3.0, 0.0, 0.0]];
        RmsNormDx::reference(&Params { centered: 1, ..params(1, 3, 0.0) }, Bindings::new(inputs, vec![&mut dx]));
        assert_eq!(dx, [0.875, -0.5, -0.375]);
    }
}
