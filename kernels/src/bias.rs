//! y = x + b, a row at a time; x, y `[rows, width]`, b `[width]`. db is the [sum over rows](crate::sum_rows) of dy, dx is dy
//! itself. Moves 2 units. A linear layer's bias is part of its [product](crate::epilogue); here it stands alone, for what is measured apart.

use crate::add::sums;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`Bias`].
    pub struct Params {
        /// Elements of x.
        pub count: u32,
        /// Elements a row.
        pub width: u32,
    }
}

/// The kernel.
pub struct Bias;

/// x + b.
///
/// # Errors
/// As [`crate::launch`].
pub fn bias(device: &Device, x: &View, b: &View, y: &View) -> Result<(), KernelError> {
    launch::<Bias>(device, &Params { count: x.len as u32, width: b.len as u32 }, &[x, b], &[y])
}

impl Kernel for Bias {
    type Params = Params;
    const NAME: &'static str = "bias";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::BIAS];
    const INPUTS: &'static [&'static str] = &["x", "b"];
    const OUTPUTS: &'static [&'static str] = &["y"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.count as usize).div_ceil(256))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x, b], [y]) = bindings.take();
        let width = p.width as usize;
        y.par_chunks_mut(width).zip(x.par_chunks(width)).with_min_len(32).for_each(|(y, x)| {
            sums(y, x, b);
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x, b], [y]) = bindings.take();
        for i in 0..p.count as usize {
            y[i] = x[i] + b[i % p.width as usize];
        }
    }

    fn cost(p: &Params) -> Cost {
        Cost { flop: f64::from(p.count), bytes: 8.0 * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, 1), (3, 63), (5, 65), (77, 129)];
        sizes.pick(odd, [(66_000, 255), (1025, 2049)]).into_iter().map(|shape| case(shape, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(draw.rows(), draw.seed())
    }
}

fn case((rows, width): (usize, usize), seed: u32) -> Case<Params> {
    Case {
        params: Params { count: (rows * width) as u32, width: width as u32 },
        inputs: vec![Data::F32(fill(seed, rows * width, 1.0)), Data::F32(fill(seed + 1, width, 1.0))],
        outputs: vec![Data::Out(rows * width)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut y = [0.0; 4];
        let bindings = Bindings::new(vec![&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0]], vec![&mut y]);
        Bias::reference(&Params { count: 4, width: 2 }, bindings);
        assert_eq!(y, [11.0, 22.0, 13.0, 24.0]);
    }
}
