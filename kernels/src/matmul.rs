//! c (+)= alpha a b, batched: every linear layer, forward and backward.
//!
//! a `[batch, m, k]`, b `[batch, k, n]` through strides, c `[batch, m, n]` row-major. A transposed operand is the same
//! buffer with its strides swapped, so y = x W^T, dx = dy W and dW += dy^T x are this one kernel. The CPU body is the
//! `gemm` crate's kernel for f32. b, which is the weight in the first two, may be stored as halves.

use crate::dtype::as_halves;
use crate::gemm::{Halves, Matrix, gemm, gemm_halves};
use crate::narrow::{MOST_ROWS, Rows, narrow};
use crate::strips::Strip;
use crate::{
    Bindings, Case, Cost, Data, Device, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};

crate::kernel::params! {
    /// Parameters of [`Matmul`].
    pub struct Params {
        /// Independent products.
        pub batch: u32,
        /// Rows of c.
        pub m: u32,
        /// Columns of c.
        pub n: u32,
        /// Terms of each sum.
        pub k: u32,
        /// Elements from one product's a to the next's.
        pub a_batch: u32,
        /// Elements from one row of a to the next.
        pub a_row: u32,
        /// Elements from one column of a to the next.
        pub a_column: u32,
        /// Elements from one product's b to the next's.
        pub b_batch: u32,
        /// Elements from one row of b to the next.
        pub b_row: u32,
        /// Elements from one column of b to the next.
        pub b_column: u32,
        /// Factor of the product.
        pub alpha: f32,
        /// 1 to add to what `c` holds.
        pub accumulate: u32,
        /// How b is stored: [`Dtype::code`].
        pub dtype: u32,
    }
}

impl Params {
    /// c `[batch, m, n]` = a b, with a stored `[batch, m, k]`, or `[batch, k, m]` if `transpose_a`, and b stored
    /// `[batch, k, n]`, or `[batch, n, k]` if `transpose_b`.
    pub fn new(batch: usize, m: usize, n: usize, k: usize, transpose_a: bool, transpose_b: bool) -> Self {
        let (m, n, k) = (m as u32, n as u32, k as u32);
        let (a_row, a_column) = if transpose_a { (1, m) } else { (k, 1) };
        let (b_row, b_column) = if transpose_b { (1, k) } else { (n, 1) };
        Self {
            batch: batch as u32,
            m,
            n,
            k,
            a_batch: if batch == 1 { 0 } else { m * k },
            a_row,
            a_column,
            b_batch: if batch == 1 { 0 } else { k * n },
            b_row,
            b_column,
            alpha: 1.0,
            accumulate: 0,
            dtype: Dtype::F32.code(),
        }
    }
}

/// The kernel.
pub struct Matmul;

/// c (+)= alpha a b, with b as it is stored.
///
/// # Errors
/// As [`crate::launch`].
pub fn matmul(device: &Device, params: Params, a: &View, b: &View, c: &View) -> Result<(), KernelError> {
    launch::<Matmul>(device, &Params { dtype: b.dtype().code(), ..params }, &[a, b], &[c])
}

impl Kernel for Matmul {
    type Params = Params;
    const NAME: &'static str = "matmul";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::MATMUL];
    const INPUTS: &'static [&'static str] = &["a", "b"];
    const OUTPUTS: &'static [&'static str] = &["c"];

    fn constants(p: &Params) -> Vec<(&'static str, u32)> {
        vec![("DTYPE", p.dtype)]
    }

    fn dtype(p: &Params, input: usize) -> Dtype {
        if input == 1 { Dtype::from_code(p.dtype) } else { Dtype::F32 }
    }

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass { entry: "main", groups: [p.n.div_ceil(64), p.m.div_ceil(64), p.batch] }]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([a, b], [c]) = bindings.take();
        let (m, n, k) = (p.m as usize, p.n as usize, p.k as usize);
        for (i, c) in c.chunks_exact_mut(m * n).enumerate() {
            let a = Matrix { data: &a[i * p.a_batch as usize..], row: p.a_row as usize, column: p.a_column as usize };
            let (start, row, column) = (i * p.b_batch as usize, p.b_row as usize, p.b_column as usize);
            // Few rows, and both operands' lines contiguous: a bound of memory, not of arithmetic.
            let narrow_fits = m <= MOST_ROWS && a.column == 1 && row == 1;
            match Dtype::from_code(p.dtype) {
                Dtype::F32 if narrow_fits => {
                    narrow([m, n, k], c, a, (Rows::F32(&b[start..]), column), p.alpha, p.accumulate != 0);
                }
                dtype if narrow_fits => {
                    let rows = Rows::Halves(&as_halves(b)[start..], dtype);
                    narrow([m, n, k], c, a, (rows, column), p.alpha, p.accumulate != 0);
                }
                Dtype::F32 => {
                    let b = Matrix { data: &b[start..], row, column };
                    gemm([m, n, k], Strip::new(c, n, n), a, b, p.alpha, p.accumulate != 0, true);
                }
                dtype => {
                    let b = Halves { data: &as_halves(b)[start..], dtype, row, column };
                    gemm_halves([m, n, k], c, a, b, p.alpha, p.accumulate != 0);
                }
            }
        }
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([a, b], [c]) = bindings.take();
        let [batch, m, n, k] = [p.batch, p.m, p.n, p.k].map(|v| v as usize);
        let a =
            |s: usize, i: usize, j: usize| a[s * p.a_batch as usize + i * p.a_row as usize + j * p.a_column as usize];
        let b =
            |s: usize, i: usize, j: usize| b[s * p.b_batch as usize + i * p.b_row as usize + j * p.b_column as usize];
        for s in 0..batch {
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..k).map(|x| a(s, i, x) * b(s, x, j)).sum();
                    let c = &mut c[(s * m + i) * n + j];
                    *c = f64::from(p.alpha) * sum + if p.accumulate != 0 { *c } else { 0.0 };
                }
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let [batch, m, n, k] = [p.batch, p.m, p.n, p.k].map(f64::from);
        let weight = if p.dtype == Dtype::F32.code() { 4.0 } else { 2.0 };
        Cost { flop: 2.0 * batch * m * n * k, bytes: batch * (4.0 * (m * k + m * n) + weight * k * n) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let stored =
            |(batch, m, n, k, ta, tb, keep): (usize, usize, usize, usize, bool, bool, bool), dtype: Dtype| Case {
                params: Params {
                    alpha: 0.5,
                    accumulate: keep.into(),
                    dtype: dtype.code(),
                    ..Params::new(batch, m, n, k, ta, tb)
                },
                inputs: vec![
                    Data::F32(fill(seed, batch * m * k, 1.0)),
                    Data::stored(dtype, fill(seed + 1, batch * k * n, 1.0)),
                ],
                outputs: vec![if keep {
                    Data::F32(fill(seed + 2, batch * m * n, 1.0))
                } else {
                    Data::Out(batch * m * n)
                }],
            };
        let case = |shape| stored(shape, Dtype::F32);
        if sizes == Sizes::Large {
            let square = |(ta, tb)| case((1, 515, 1_027, 769, ta, tb, false));
            let square = [(false, false), (false, true), (true, false), (true, true)].map(square);
            let tall = case((1, 66_000, 7, 5, false, true, true));
            // A weight that the CPU widens in several parts, both ways round.
            let weight = [true, false].map(|tb| stored((1, 67, 2_051, 1_539, false, tb, true), Dtype::BF16));
            return square.into_iter().chain([tall]).chain(weight).collect();
        }
        let mut cases = vec![case((1, 1, 1, 1, false, false, false)), case((2, 64, 64, 16, false, false, true))];
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            cases.push(case((1, 65, 67, 33, ta, tb, false)));
            cases.push(case((3, 7, 130, 17, ta, tb, true)));
        }
        // The CPU's path for few rows, up to one past its end.
        for (m, dtype) in [(1, Dtype::F32), (5, Dtype::BF16), (16, Dtype::F16), (17, Dtype::F32), (3, Dtype::F32)] {
            cases.push(stored((2, m, 71, 100, false, true, m > 4), dtype));
        }
        for dtype in [Dtype::F16, Dtype::BF16] {
            for tb in [false, true] {
                cases.push(stored((1, 65, 67, 33, false, tb, true), dtype));
                cases.push(stored((3, 1, 71, 17, true, tb, false), dtype));
            }
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // 100 + [1 2] [5 6]^T = 117; then an outer product, a's column read as a transposed row.
        let mut c = [100.0];
        let params = Params { accumulate: 1, ..Params::new(1, 1, 1, 2, false, true) };
        Matmul::reference(&params, Bindings::new(vec![&[1.0, 2.0], &[5.0, 6.0]], vec![&mut c]));
        assert_eq!(c, [117.0]);
        let mut c = [0.0; 4];
        let params = Params::new(1, 2, 2, 1, true, false);
        Matmul::reference(&params, Bindings::new(vec![&[1.0, 2.0], &[5.0, 6.0]], vec![&mut c]));
        assert_eq!(c, [5.0, 6.0, 10.0, 12.0]);
    }
}
