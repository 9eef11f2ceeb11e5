//! c (+)= alpha a b, batched: every linear layer, forward and backward.
//!
//! a `[batch, m, k]`, b `[batch, k, n]` through strides, c `[batch, m, n]` row-major. A transposed operand is the same
//! buffer with its strides swapped, so y = x W^T, dx = dy W and dW += dy^T x are this one kernel. The CPU body is the
//! `gemm` crate's kernel for f32.

use crate::{Bindings, Case, Cost, Data, Device, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch};
use gemm_common::Parallelism;

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
        }
    }
}

/// The kernel.
pub struct Matmul;

/// c (+)= alpha a b.
///
/// # Errors
/// As [`crate::launch`].
pub fn matmul(device: &Device, params: Params, a: &View, b: &View, c: &View) -> Result<(), KernelError> {
    launch::<Matmul>(device, &params, &[a, b], &[c])
}

/// A matrix inside a slice: elements from one row to the next, and from one column to the next.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub column: usize,
}

/// c `[m, n]` (rows `c_row` apart) = alpha a b, or += with `accumulate`, on all of rayon's threads if `parallel`.
#[allow(clippy::too_many_arguments)] // It is the BLAS signature.
pub(crate) fn gemm(
    [m, n, k]: [usize; 3],
    c: &mut [f32],
    c_row: usize,
    a: Matrix,
    b: Matrix,
    alpha: f32,
    accumulate: bool,
    parallel: bool,
) {
    let reach = |rows: usize, row: usize, columns: usize, column: usize| (rows - 1) * row + (columns - 1) * column + 1;
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(c_row >= n && c.len() >= reach(m, c_row, n, 1));
    assert!(a.data.len() >= reach(m, a.row, k, a.column) && b.data.len() >= reach(k, b.row, n, b.column));
    let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
    // SAFETY: the asserts above keep every element that m, n, k and the strides reach inside its slice; c is borrowed
    // mutably, so it overlaps neither a nor b, and its rows do not overlap, for c_row >= n.
    unsafe {
        // Its kernels write columns; rows of c are the columns of c^T = b^T a^T.
        gemm_f32::gemm::f32::get_gemm_fn()(
            n,
            m,
            k,
            c.as_mut_ptr(),
            c_row as isize,
            1,
            accumulate,
            b.data.as_ptr(),
            b.row as isize,
            b.column as isize,
            a.data.as_ptr(),
            a.row as isize,
            a.column as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

impl Kernel for Matmul {
    type Params = Params;
    const NAME: &'static str = "matmul";
    const WGSL: &'static str = mode_shaders::MATMUL;
    const INPUTS: &'static [&'static str] = &["a", "b"];
    const OUTPUTS: &'static [&'static str] = &["c"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass { entry: "main", groups: [p.n.div_ceil(64), p.m.div_ceil(64), p.batch] }]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([a, b], [c]) = bindings.take();
        let (m, n, k) = (p.m as usize, p.n as usize, p.k as usize);
        for (i, c) in c.chunks_exact_mut(m * n).enumerate() {
            let a = Matrix { data: &a[i * p.a_batch as usize..], row: p.a_row as usize, column: p.a_column as usize };
            let b = Matrix { data: &b[i * p.b_batch as usize..], row: p.b_row as usize, column: p.b_column as usize };
            gemm([m, n, k], c, n, a, b, p.alpha, p.accumulate != 0, true);
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
        Cost { flop: 2.0 * batch * m * n * k, bytes: 4.0 * batch * (m * k + k * n + m * n) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let case = |(batch, m, n, k, ta, tb, keep): (usize, usize, usize, usize, bool, bool, bool)| Case {
            params: Params { alpha: 0.5, accumulate: keep.into(), ..Params::new(batch, m, n, k, ta, tb) },
            inputs: vec![Data::F32(fill(seed, batch * m * k, 1.0)), Data::F32(fill(seed + 1, batch * k * n, 1.0))],
            outputs: vec![if keep { Data::F32(fill(seed + 2, batch * m * n, 1.0)) } else { Data::Out(batch * m * n) }],
        };
        if sizes == Sizes::Large {
            let square = |(ta, tb)| case((1, 515, 1_027, 769, ta, tb, false));
            let square = [(false, false), (false, true), (true, false), (true, true)].map(square);
            return square.into_iter().chain([case((1, 66_000, 7, 5, false, true, true))]).collect();
        }
        let mut cases = vec![case((1, 1, 1, 1, false, false, false)), case((2, 64, 64, 16, false, false, true))];
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            cases.push(case((1, 65, 67, 33, ta, tb, false)));
            cases.push(case((3, 7, 130, 17, ta, tb, true)));
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
