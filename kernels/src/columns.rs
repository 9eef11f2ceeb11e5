//! y`[r, to + i]` (+)= x`[r, from + i]`, i < width: a block of columns, copied or added. Fused projections are taken apart by it, and
//! their gradients put together.
//!
//! x `[rows, x_row]`, y `[rows, y_row]`. Moves 2 units of the block.

use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`Columns`].
    pub struct Params {
        /// Rows of both.
        pub rows: u32,
        /// Columns of the block.
        pub width: u32,
        /// Columns of x.
        pub x_row: u32,
        /// Columns of y.
        pub y_row: u32,
        /// The block's first column in x.
        pub x_first: u32,
        /// The block's first column in y.
        pub y_first: u32,
        /// 1 to add to what y holds.
        pub accumulate: u32,
        /// How both are stored: [`Dtype::code`].
        pub dtype: u32,
    }
}

/// The kernel.
pub struct Columns;

/// A block of x's columns to, or onto, a block of y's.
///
/// # Errors
/// As [`crate::launch`].
pub fn columns(device: &Device, params: Params, x: &View, y: &View) -> Result<(), KernelError> {
    launch::<Columns>(device, &Params { dtype: x.dtype().code(), ..params }, &[x], &[y])
}

impl Kernel for Columns {
    type Params = Params;
    const NAME: &'static str = "columns";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::COLUMNS];
    const INPUTS: &'static [&'static str] = &["x"];
    const OUTPUTS: &'static [&'static str] = &["y"];

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        vec![("Stored", Dtype::activation(p.dtype).wgsl()[0])]
    }

    fn dtype(p: &Params, _: usize) -> Dtype {
        Dtype::activation(p.dtype)
    }

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.rows as usize * p.width as usize).div_ceil(256))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x], [y]) = bindings.take();
        let [width, from, to] = [p.width, p.x_first, p.y_first].map(|v| v as usize);
        let rows = y.par_chunks_mut(p.y_row as usize).zip(x.par_chunks(p.x_row as usize)).with_min_len(32);
        rows.for_each(|(y, x)| {
            let (x, y) = (&x[from..from + width], &mut y[to..to + width]);
            if p.accumulate == 0 {
                y.copy_from_slice(x);
            } else {
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            }
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x], [y]) = bindings.take();
        for row in 0..p.rows as usize {
            for i in 0..p.width as usize {
                let at = row * p.y_row as usize + p.y_first as usize + i;
                let before = if p.accumulate != 0 { y[at] } else { 0.0 };
                y[at] = before + x[row * p.x_row as usize + p.x_first as usize + i];
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.width);
        Cost { flop: if p.accumulate != 0 { n } else { 0.0 }, bytes: 2.0 * Self::dtype(p, 0).bytes() * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd =
            [[1, 1, 1, 0, 1, 0, 0], [5, 15, 45, 30, 15, 0, 0], [77, 13, 13, 0, 40, 20, 1], [9, 65, 70, 5, 66, 1, 0]];
        let large = [[66_000, 3, 9, 3, 3, 0, 0], [1025, 2049, 2049, 0, 4098, 2049, 1]];
        let cases = sizes.pick(odd, large).into_iter().map(|numbers| case(numbers, seed)).collect();
        Case::and(cases, sizes, &[|p| Params { dtype: Dtype::F16.code(), ..p }])
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (rows, width) = draw.rows();
        let [x_first, x_last, y_first, y_last] = [(); 4].map(|()| draw.gap());
        let [x_row, y_row] = [x_first + width + x_last, y_first + width + y_last];
        let numbers = [rows, width, x_row, x_first, y_row, y_first, draw.below(2)];
        let case = case(numbers.map(|number| number as u32), draw.seed());
        case.with(|p| Params { dtype: draw.stored(), ..p })
    }
}

fn case([rows, width, x_row, x_first, y_row, y_first, accumulate]: [u32; 7], seed: u32) -> Case<Params> {
    let [x, y] = [x_row, y_row].map(|row| (rows * row) as usize);
    // Columns outside the block stay as they are.
    let held = Data::F32(fill(seed + 1, y, 1.0));
    Case {
        params: Params { rows, width, x_row, y_row, x_first, y_first, accumulate, dtype: Dtype::F32.code() },
        inputs: vec![Data::F32(fill(seed, x, 1.0))],
        outputs: vec![if y_row == width && accumulate == 0 { Data::Out(y) } else { held }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut y = [10.0, 20.0, 30.0, 40.0];
        let params = Params {
            rows: 2,
            width: 1,
            x_row: 3,
            y_row: 2,
            x_first: 2,
            y_first: 0,
            accumulate: 1,
            dtype: Dtype::F32.code(),
        };
        Columns::reference(&params, Bindings::new(vec![&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], vec![&mut y]));
        assert_eq!(y, [13.0, 20.0, 36.0, 40.0]);
    }
}
