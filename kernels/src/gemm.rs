//! The CPU's matrix products: the `gemm` crate's kernel for f32, over slices that are checked first, and over weights that are
//! stored as halves, which it widens a part at a time.

use crate::Dtype;
use gemm_common::Parallelism;
use rayon::prelude::*;
use std::cell::Cell;

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

/// A matrix of halves inside a slice, whose rows or columns are contiguous.
#[derive(Clone, Copy)]
pub(crate) struct Halves<'a> {
    pub data: &'a [u16],
    pub dtype: Dtype,
    pub row: usize,
    pub column: usize,
}

/// Elements that are widened at a time: few enough to stay in a cache, enough for `a` to be packed seldom.
const PART: usize = 1 << 21;

thread_local! {
    /// Where they are widened to, kept because fresh memory costs more than the widening.
    static WIDE: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// c `[m, n]` = alpha a b, or += with `accumulate`. The parts are whole columns of b where those are contiguous, else whole rows,
/// whose products are added up in order.
pub(crate) fn gemm_halves([m, n, k]: [usize; 3], c: &mut [f32], a: Matrix, b: Halves, alpha: f32, accumulate: bool) {
    let by_column = b.row == 1;
    // Lines are contiguous: `stride` halves from one to the next, `len` of them used.
    let (lines, len, stride) = if by_column { (n, k, b.column) } else { (k, n, b.row) };
    let most = (PART / len.max(1)).max(1);
    let mut wide = WIDE.take();
    for first in (0..lines).step_by(most) {
        let count = most.min(lines - first);
        wide.resize(wide.len().max(count * len), 0.0);
        let part = &mut wide[..count * len];
        part.par_chunks_mut(len).enumerate().with_min_len(1 + 16_384 / len).for_each(|(i, line)| {
            b.dtype.decode(&b.data[(first + i) * stride..][..len], line);
        });
        if by_column {
            let part = Matrix { data: part, row: 1, column: len };
            gemm([m, count, k], &mut c[first..], n, a, part, alpha, accumulate, true);
        } else {
            let part = Matrix { data: part, row: len, column: 1 };
            let a = Matrix { data: &a.data[first * a.column..], ..a };
            gemm([m, n, count], c, n, a, part, alpha, accumulate || first > 0, true);
        }
    }
    WIDE.set(wide);
}
