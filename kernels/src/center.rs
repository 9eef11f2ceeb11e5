//! y = x - mean(x), a row at a time: what LayerNorm (Ba et al., arXiv 1607.06450) does before [RMSNorm](crate::rms_norm), which
//! then divides by the standard deviation.
//!
//! x, y `[rows, width]`. It is a projection, symmetric, and so its own gradient: dx = dy - mean(dy). Moves 2 units.

use crate::simd::{simd, sum};
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`Center`].
    pub struct Params {
        /// Rows.
        pub rows: u32,
        /// Elements a row.
        pub width: u32,
    }
}

/// The kernel.
pub struct Center;

/// Rows of `width` less their means.
///
/// # Errors
/// As [`crate::launch`].
pub fn center(device: &Device, width: usize, x: &View, y: &View) -> Result<(), KernelError> {
    let params = Params { rows: (x.len / width.max(1)) as u32, width: width as u32 };
    launch::<Center>(device, &params, &[x], &[y])
}

impl Kernel for Center {
    type Params = Params;
    const NAME: &'static str = "center";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::CENTER];
    const INPUTS: &'static [&'static str] = &["x"];
    const OUTPUTS: &'static [&'static str] = &["y"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", p.rows as usize)]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x], [y]) = bindings.take();
        let width = p.width as usize;
        y.par_chunks_mut(width).zip(x.par_chunks(width)).with_min_len(32).for_each(|(y, x)| {
            row(y, x);
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x], [y]) = bindings.take();
        let width = p.width as usize;
        for row in 0..p.rows as usize {
            let x = &x[row * width..][..width];
            let mean = x.iter().sum::<f64>() / width as f64;
            for i in 0..width {
                y[row * width + i] = x[i] - mean;
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.width);
        Cost { flop: 2.0 * n, bytes: 8.0 * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(3, 2), (3, 63), (5, 65), (77, 129), (2, 1000)];
        sizes.pick(odd, [(66_000, 5), (1025, 2049)]).into_iter().map(|shape| case(shape, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(draw.rows(), draw.seed())
    }
}

fn case((rows, width): (usize, usize), seed: u32) -> Case<Params> {
    Case {
        params: Params { rows: rows as u32, width: width as u32 },
        // Not around zero, or there would be little to take off.
        inputs: vec![Data::F32(fill(seed, rows * width, 1.0).into_iter().map(|x| x + 0.5).collect())],
        outputs: vec![Data::Out(rows * width)],
    }
}

simd! {
    fn row[simd](y: &mut [f32], x: &[f32]) {
        let mean = sum(simd, x) / x.len() as f32;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x - mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut y = [0.0; 4];
        let bindings = Bindings::new(vec![&[1.0, 3.0, 10.0, 4.0]], vec![&mut y]);
        Center::reference(&Params { rows: 2, width: 2 }, bindings);
        assert_eq!(y, [-1.0, 1.0, 3.0, -3.0]);
    }
}
