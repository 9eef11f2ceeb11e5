//! c = a b, element by element (3 units), or each row of a by one number of b (2 units): what a gate merge launched apart is made of.
//!
//! a, c `[rows, width]`, b like a, or `[rows, columns]` of which one column is read.

use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`Multiply`].
    pub struct Params {
        /// Elements of a.
        pub count: u32,
        /// Elements a row.
        pub width: u32,
        /// Columns of b; 0 if b is like a.
        pub columns: u32,
        /// The column of b that is read.
        pub column: u32,
    }
}

/// The kernel.
pub struct Multiply;

/// a b.
///
/// # Errors
/// As [`crate::launch`].
pub fn multiply(device: &Device, params: Params, a: &View, b: &View, c: &View) -> Result<(), KernelError> {
    launch::<Multiply>(device, &params, &[a, b], &[c])
}

impl Kernel for Multiply {
    type Params = Params;
    const NAME: &'static str = "multiply";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::MULTIPLY];
    const INPUTS: &'static [&'static str] = &["a", "b"];
    const OUTPUTS: &'static [&'static str] = &["c"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.count as usize).div_ceil(256))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([a, b], [c]) = bindings.take();
        let [width, columns, column] = [p.width, p.columns, p.column].map(|v| v as usize);
        let rows = c.par_chunks_mut(width).zip(a.par_chunks(width)).enumerate().with_min_len(16);
        rows.for_each(|(row, (c, a))| {
            if columns == 0 {
                by_elements(c, a, &b[row * width..][..width]);
            } else {
                by_one(c, a, b[row * columns + column]);
            }
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([a, b], [c]) = bindings.take();
        for i in 0..p.count as usize {
            let row = i / p.width as usize;
            let of_row = row * p.columns as usize + p.column as usize;
            c[i] = a[i] * if p.columns == 0 { b[i] } else { b[of_row] };
        }
    }

    fn cost(p: &Params) -> Cost {
        let count = f64::from(p.count);
        let b = if p.columns == 0 { count } else { count / f64::from(p.width) };
        Cost { flop: count, bytes: 4.0 * (2.0 * count + b) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [[1, 1, 0, 0], [3, 65, 1, 0], [77, 257, 3, 2], [33, 129, 0, 0]];
        let large = [[66_000, 257, 5, 4], [1025, 2049, 0, 0]];
        sizes.pick(odd, large).into_iter().map(|numbers| case(numbers, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let ((rows, width), columns) = (draw.rows(), draw.below(6));
        case([rows, width, columns, draw.below(columns)].map(|number| number as u32), draw.seed())
    }
}

fn case([rows, width, columns, column]: [u32; 4], seed: u32) -> Case<Params> {
    let count = (rows * width) as usize;
    let b = if columns == 0 { count } else { (rows * columns) as usize };
    Case {
        params: Params { count: count as u32, width, columns, column },
        inputs: vec![Data::F32(fill(seed, count, 1.0)), Data::F32(fill(seed + 1, b, 1.0))],
        outputs: vec![Data::Out(count)],
    }
}

simd! {
    fn by_elements(c: &mut [f32], a: &[f32], b: &[f32]) {
        c.iter_mut().zip(a).zip(b).for_each(|((c, a), b)| *c = a * b);
    }

    fn by_one(c: &mut [f32], a: &[f32], b: f32) {
        c.iter_mut().zip(a).for_each(|(c, a)| *c = a * b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut c = [0.0; 4];
        let params = Params { count: 4, width: 2, columns: 2, column: 1 };
        let inputs: Vec<&[f64]> = vec![&[1.0, 2.0, 3.0, 4.0], &[9.0, 10.0, 9.0, 100.0]];
        Multiply::reference(&params, Bindings::new(inputs, vec![&mut c]));
        assert_eq!(c, [10.0, 20.0, 300.0, 400.0]);
        let params = Params { columns: 0, ..params };
        let inputs: Vec<&[f64]> = vec![&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]];
        Multiply::reference(&params, Bindings::new(inputs, vec![&mut c]));
        assert_eq!(c, [5.0, 12.0, 21.0, 32.0]);
    }
}
