//! dx_k = p_k (dp_k - sum_j p_j dp_j), row by row: the gradient of a [softmax](crate::softmax) whose value is p.
//!
//! p, dx `[rows, width]`; column k of dp `[rows, width]` begins at element k * stride, as columns made one after the other do.
//! Moves 3 units.

use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`SoftmaxBackward`].
    pub struct Params {
        /// Rows.
        pub rows: u32,
        /// Elements a row.
        pub width: u32,
        /// Elements from one column of dp to the next.
        pub stride: u32,
    }
}

/// The kernel.
pub struct SoftmaxBackward;

/// The gradient of a softmax's input.
///
/// # Errors
/// As [`crate::launch`].
pub fn softmax_backward(device: &Device, params: Params, p: &View, dp: &View, dx: &View) -> Result<(), KernelError> {
    launch::<SoftmaxBackward>(device, &params, &[p, dp], &[dx])
}

impl Kernel for SoftmaxBackward {
    type Params = Params;
    const NAME: &'static str = "softmax_backward";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::SOFTMAX_BACKWARD];
    const INPUTS: &'static [&'static str] = &["p", "dp"];
    const OUTPUTS: &'static [&'static str] = &["dx"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.rows as usize).div_ceil(64))]
    }

    fn cpu(params: &Params, bindings: Bindings<f32>) {
        let ([p, dp], [dx]) = bindings.take();
        let [width, stride] = [params.width, params.stride].map(|v| v as usize);
        let rows = dx.par_chunks_mut(width).zip(p.par_chunks(width)).enumerate().with_min_len(256);
        rows.for_each(|(row, (dx, p))| {
            let mean: f32 = p.iter().enumerate().map(|(k, p)| p * dp[k * stride + row]).sum();
            for (k, (dx, p)) in dx.iter_mut().zip(p).enumerate() {
                *dx = p * (dp[k * stride + row] - mean);
            }
        });
    }

    fn reference(params: &Params, bindings: Bindings<f64>) {
        let ([p, dp], [dx]) = bindings.take();
        let [rows, width, stride] = [params.rows, params.width, params.stride].map(|v| v as usize);
        for row in 0..rows {
            let mean: f64 = (0..width).map(|k| p[row * width + k] * dp[k * stride + row]).sum();
            for k in 0..width {
                dx[row * width + k] = p[row * width + k] * (dp[k * stride + row] - mean);
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.width);
        Cost { flop: 4.0 * n, bytes: 12.0 * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, 1, 0), (65, 3, 63), (7, 65, 1), (300, 2, 20)];
        sizes.pick(odd, [(4_200_000, 3, 0)]).into_iter().map(|shape| case(shape, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (rows, width) = draw.rows();
        case((rows, width, draw.gap()), draw.seed())
    }
}

fn case((rows, width, gap): (usize, usize, usize), seed: u32) -> Case<Params> {
    Case {
        params: Params { rows: rows as u32, width: width as u32, stride: (rows + gap) as u32 },
        inputs: vec![Data::F32(fill(seed, rows * width, 1.0)), Data::F32(fill(seed + 1, (rows + gap) * width, 1.0))],
        outputs: vec![Data::Out(rows * width)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // The weighted mean of 8 and 4 is 5.
        let mut dx = [0.0; 2];
        let inputs: Vec<&[f64]> = vec![&[0.25, 0.75], &[8.0, 0.0, 4.0]];
        let params = Params { rows: 1, width: 2, stride: 2 };
        SoftmaxBackward::reference(&params, Bindings::new(inputs, vec![&mut dx]));
        assert_eq!(dx, [0.75, -0.75]);
    }
}
