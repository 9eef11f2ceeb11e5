//! The CPU's matrix products: the `gemm` crate's kernel for f32, over slices that are checked first, and over weights that are
//! stored as halves, which it widens a part at a time.

use crate::Dtype;
use crate::epilogue::Ending;
use crate::scratch::with_scratch;
use crate::strips::Strip;
use gemm_common::Parallelism;
use rayon::prelude::*;

/// A matrix inside a slice: elements from one row to the next, and from one column to the next.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub column: usize,
}

/// The least columns of c that are a task's own, and its rows where there are twice as many.
const COLUMNS: usize = 128;
const ROWS: usize = 1024;

/// c `[m, n]` = alpha a b, or += with `accumulate`, and what an epilogue, in which c begins at this column, makes of it; in tasks for
/// rayon's threads: each has some columns of c, whose part of b it packs, and some rows; how many does not depend on the number of
/// threads, which so changes no bit.
pub(crate) fn gemm_parallel(
    [m, n, k]: [usize; 3],
    mut c: Strip,
    a: Matrix,
    b: Matrix,
    alpha: f32,
    accumulate: bool,
    (ending, left): (&Ending<f32>, usize),
) {
    // What is added is there first, for the product to be added to it.
    let task = |[row, column]: [usize; 2], c: &mut Strip, parallelism: Parallelism| {
        let (_, [m, n, _]) = c.parts();
        let a = Matrix { data: &a.data[row * a.row..], ..a };
        let b = Matrix { data: &b.data[column * b.column..], ..b };
        if ending.adds() {
            ending.begin(c, [row, left + column], accumulate);
        }
        multiply([m, n, k], c.rows(0..m), a, b, alpha, accumulate || ending.adds(), parallelism);
        ending.end(c);
    };
    if n < 2 * COLUMNS {
        return task([0, 0], &mut c, Parallelism::Rayon(0));
    }
    let columns = (n / 32).next_multiple_of(64).max(COLUMNS);
    let rows = if m < 2 * ROWS { m } else { ROWS };
    let mut tasks = Vec::new();
    for (i, c) in c.split(columns).into_iter().enumerate() {
        tasks.extend(c.split_rows(rows).into_iter().enumerate().map(|(j, c)| ([j * rows, i * columns], c)));
    }
    tasks.into_par_iter().for_each(|(place, mut c)| task(place, &mut c, Parallelism::None));
}

/// The same on this thread.
pub(crate) fn gemm(size: [usize; 3], c: Strip, a: Matrix, b: Matrix, alpha: f32, accumulate: bool) {
    multiply(size, c, a, b, alpha, accumulate, Parallelism::None);
}

fn multiply(
    [m, n, k]: [usize; 3],
    mut c: Strip,
    a: Matrix,
    b: Matrix,
    alpha: f32,
    accumulate: bool,
    parallelism: Parallelism,
) {
    let reach = |rows: usize, row: usize, columns: usize, column: usize| (rows - 1) * row + (columns - 1) * column + 1;
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let (c, [rows, columns, c_row]) = c.parts();
    assert!(rows >= m && columns >= n);
    assert!(a.data.len() >= reach(m, a.row, k, a.column) && b.data.len() >= reach(k, b.row, n, b.column));
    // SAFETY: the asserts above keep every element that m, n, k and the strides reach inside its slice or strip; c is borrowed
    // mutably, so it overlaps neither a nor b, and a strip's rows do not overlap.
    unsafe {
        // Its kernels write columns; rows of c are the columns of c^T = b^T a^T.
        gemm_f32::gemm::f32::get_gemm_fn()(
            n,
            m,
            k,
            c,
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

/// c `[m, n]` = alpha a b, or += with `accumulate`, and an epilogue. The parts are whole columns of b where those are contiguous, else
/// whole rows, whose products are added up in order.
pub(crate) fn gemm_halves(
    [m, n, k]: [usize; 3],
    c: &mut [f32],
    a: Matrix,
    b: Halves,
    alpha: f32,
    accumulate: bool,
    ending: &Ending<f32>,
) {
    let by_column = b.row == 1;
    // Lines are contiguous: `stride` halves from one to the next, `len` of them used.
    let (lines, len, stride) = if by_column { (n, k, b.column) } else { (k, n, b.row) };
    let most = (PART / len.max(1)).max(1);
    for first in (0..lines).step_by(most) {
        let count = most.min(lines - first);
        with_scratch([count * len], |[part]| {
            part.par_chunks_mut(len).enumerate().with_min_len(1 + 16_384 / len).for_each(|(i, line)| {
                b.dtype.decode(&b.data[(first + i) * stride..][..len], line);
            });
            if by_column {
                let part = Matrix { data: part, row: 1, column: len };
                let c = Strip::new(&mut c[first..], count, n);
                gemm_parallel([m, count, k], c, a, part, alpha, accumulate, (ending, first));
            } else {
                let part = Matrix { data: part, row: len, column: 1 };
                let a = Matrix { data: &a.data[first * a.column..], ..a };
                let ending = if first == 0 { *ending } else { ending.last() };
                let ending = if first + count == lines { ending } else { ending.sums() };
                let c = Strip::new(c, n, n);
                gemm_parallel([m, n, count], c, a, part, alpha, accumulate || first > 0, (&ending, 0));
            }
        });
    }
}
