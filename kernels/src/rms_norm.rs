//! Norms of rows: y = (x - m) r (offset + weight) + bias with r = 1 / sqrt(mean((x - m)^2) + epsilon), a row at a time.
//!
//! RMSNorm (Zhang and Sennrich, arXiv 1910.07467) has m = 0 and no bias; its offset is 0, or 1 where weights are stored as their
//! difference from 1 (Gemma). LayerNorm (Ba et al., arXiv 1607.06450) is centered: m = mean(x).
//!
//! x, y `[rows, width]`, weight, bias `[width]`, scales `[rows]` with r, or centered `[2, rows]` with r, then m (kept for the
//! backward kernels). Moves 2 units.

use crate::simd::{dot, simd, sum};
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
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
        /// 1 to take the mean off x, and add a bias.
        pub centered: u32,
        /// How x is stored: [`Dtype::code`].
        pub dtype: u32,
        /// How y is.
        pub y_dtype: u32,
    }
}

/// The kernel.
pub struct RmsNorm;

/// y, and the scales of its rows; with a bias, centered.
///
/// # Errors
/// As [`crate::launch`].
pub fn rms_norm(
    device: &Device,
    [epsilon, offset]: [f32; 2],
    [x, weight]: [&View; 2],
    bias: Option<&View>,
    [y, scales]: [&View; 2],
) -> Result<(), KernelError> {
    let width = weight.len;
    let params = Params {
        epsilon,
        centered: bias.is_some().into(),
        dtype: x.dtype().code(),
        y_dtype: y.dtype().code(),
        ..params(x.len / width.max(1), width, offset)
    };
    launch::<RmsNorm>(device, &params, &[x, weight, bias.unwrap_or(weight)], &[y, scales])
}

impl Kernel for RmsNorm {
    type Params = Params;
    const NAME: &'static str = "rms_norm";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::RMS_NORM];
    const INPUTS: &'static [&'static str] = &["x", "weight", "bias"];
    const OUTPUTS: &'static [&'static str] = &["y", "scales"];

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        vec![("StoredX", Self::dtype(p, 0).wgsl()[0]), ("StoredY", Self::dtype(p, 3).wgsl()[0])]
    }

    fn dtype(p: &Params, binding: usize) -> Dtype {
        match binding {
            0 => Dtype::activation(p.dtype),
            3 => Dtype::activation(p.y_dtype),
            _ => Dtype::F32,
        }
    }

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", p.rows as usize)]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x, weight, bias], [y, scales]) = bindings.take();
        let width = p.width as usize;
        let (r, m) = scales.split_at_mut(p.rows as usize);
        let rows = y.par_chunks_mut(width).zip(x.par_chunks(width)).zip(r).with_min_len(32);
        if p.centered != 0 {
            rows.zip(m).for_each(|(((y, x), r), m)| [*r, *m] = centered_row(y, x, weight, bias, p.offset, p.epsilon));
        } else {
            rows.for_each(|((y, x), r)| *r = row(y, x, weight, p.offset, p.epsilon));
        }
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x, weight, bias], [y, scales]) = bindings.take();
        let (rows, width, centered) = (p.rows as usize, p.width as usize, p.centered != 0);
        for row in 0..rows {
            let x = &x[row * width..][..width];
            let m = if centered { x.iter().sum::<f64>() / width as f64 } else { 0.0 };
            let variance = x.iter().map(|v| (v - m).powi(2)).sum::<f64>() / width as f64;
            let r = 1.0 / (variance + f64::from(p.epsilon)).sqrt();
            scales[row] = r;
            if centered {
                scales[rows + row] = m;
            }
            for i in 0..width {
                let shift = if centered { bias[i] } else { 0.0 };
                y[row * width + i] = (x[i] - m) * r * (f64::from(p.offset) + weight[i]) + shift;
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.width);
        let bytes = Self::dtype(p, 0).bytes() + Self::dtype(p, 3).bytes();
        Cost { flop: if p.centered != 0 { 7.0 } else { 4.0 } * n, bytes: bytes * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, 1), (3, 63), (5, 65), (77, 129), (2, 1000)];
        let shapes = sizes.pick(odd, [(66_000, 5), (1025, 2049)]).into_iter();
        let cases = shapes.flat_map(|shape| [0, 1].map(|centered| case(shape, [1.0, 0.0], centered, seed)));
        let small = [0, 1].map(|centered| case((3, 65), [SMALL, 0.0], centered, seed));
        let offset = [0, 1].map(|centered| case((4, 66), [1.0, 1.0], centered, seed));
        // Rows far from zero: their mean is much greater than what is left of them.
        let mut far = case((7, 130), [1.0, 0.0], 1, seed);
        far.inputs[0] = Data::F32(fill(seed, 7 * 130, 1.0).into_iter().map(|x| x + 30.0).collect());
        let cases = cases.chain(small).chain(offset).chain([far]).collect();
        // Of the stream, and of what is added to it.
        let stream = |p| Params { y_dtype: Dtype::F16.code(), ..p };
        Case::and(cases, sizes, &[stream, |p| Params { dtype: Dtype::F16.code(), y_dtype: Dtype::F16.code(), ..p }])
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let scale_and_offset = [draw.one_of(&[1.0, SMALL]), draw.one_of(&[0.0, 1.0])];
        let case = case(draw.rows(), scale_and_offset, draw.bit().into(), draw.seed());
        case.with(|p| Params { dtype: draw.stored(), y_dtype: draw.stored(), ..p })
    }
}

/// Numbers so small that epsilon is most of what a row is divided by.
const SMALL: f32 = 1e-3;

fn case((rows, width): (usize, usize), [scale, offset]: [f32; 2], centered: u32, seed: u32) -> Case<Params> {
    Case {
        params: Params { epsilon: 1e-5, centered, ..params(rows, width, offset) },
        inputs: vec![
            Data::F32(fill(seed, rows * width, scale)),
            Data::F32(fill(seed + 1, width, 1.0)),
            Data::F32(fill(seed + 2, width, 1.0)),
        ],
        outputs: vec![Data::Out(rows * width), Data::Out((1 + centered as usize) * rows)],
    }
}

/// Of rows in f32 that are not centered, without an epsilon.
fn params(rows: usize, width: usize, offset: f32) -> Params {
    let (rows, width, dtype) = (rows as u32, width as u32, Dtype::F32.code());
    Params { rows, width, epsilon: 0.0, offset, centered: 0, dtype, y_dtype: dtype }
}

simd! {
    /// y of a token; returns its r.
    fn row[simd](y: &mut [f32], x: &[f32], weight: &[f32], offset: f32, epsilon: f32) -> f32 {
        let r = 1.0 / (dot(simd, x, x) / x.len() as f32 + epsilon).sqrt();
        y.iter_mut().zip(x).zip(weight).for_each(|((y, x), w)| *y = x * r * (offset + w));
        r
    }

    /// The same centered; returns its r and its mean.
    fn centered_row[simd](
        y: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32], offset: f32, epsilon: f32
    ) -> [f32; 2] {
        let m = sum(simd, x) / x.len() as f32;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x - m);
        let r = 1.0 / (dot(simd, y, y) / x.len() as f32 + epsilon).sqrt();
        y.iter_mut().zip(weight).zip(bias).for_each(|((y, w), b)| *y = *y * r * (offset + w) + b);
        [r, m]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // mean(3^2, 4^2) = 12.5.
        let (mut y, mut r) = ([0.0; 2], [0.0]);
        let params = params(1, 2, 0.0);
        RmsNorm::reference(&params, Bindings::new(vec![&[3.0, 4.0], &[1.0, 2.0], &[]], vec![&mut y, &mut r]));
        approx::assert_relative_eq!(y[0], 3.0 / 12.5f64.sqrt(), epsilon = 1e-12);
        approx::assert_relative_eq!(y[1], 8.0 / 12.5f64.sqrt(), epsilon = 1e-12);
        // Less their mean 4, 2 and 6 are -2 and 2, whose root mean square is 2.
        let (mut y, mut scales) = ([0.0; 2], [0.0; 2]);
        let inputs: Vec<&[f64]> = vec![&[2.0, 6.0], &[3.0, 5.0], &[10.0, 20.0]];
        RmsNorm::reference(&Params { centered: 1, ..params }, Bindings::new(inputs, vec![&mut y, &mut scales]));
        assert_eq!((y, scales), ([7.0, 25.0], [0.5, 4.0]));
    }
}
