//! Products of few rows with a large matrix, as in decoding: each weight is read once and meets all the rows while it is in a
//! register, so that the memory's bandwidth is the bound. Halves are widened there, not in memory.

use crate::Dtype;
use crate::gemm::Matrix;
use pulp::WithSimd;
use rayon::prelude::*;

/// Rows of `a` at the most: beyond, widening in parts and packing pay.
pub(crate) const MOST_ROWS: usize = 16;

/// Rows of `a` that meet a weight at once: their sums stay in registers.
const AT_ONCE: usize = 4;

/// Partial sums of a product of rows; fixed, so that bits do not depend on the machine's vector width.
const LANES: usize = 16;

/// Weights that one task reads: enough to be worth a task.
const TASK: usize = 1 << 16;

/// The rows of a matrix b^T `[n, k]`, `stride` elements apart.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    F32(&'a [f32]),
    Halves(&'a [u16], Dtype),
}

/// c `[m, n]` = alpha a b, or += with `accumulate`; a `[m, k]`, whose rows are contiguous, b by its columns, which are too.
pub(crate) fn narrow(
    [m, n, k]: [usize; 3],
    c: &mut [f32],
    a: Matrix,
    (b, stride): (Rows, usize),
    alpha: f32,
    accumulate: bool,
) {
    let rows: Vec<&[f32]> = (0..m).map(|i| &a.data[i * a.row..][..k]).collect();
    let lines = (TASK / k.max(1)).max(1);
    let mut columns = vec![0.0f32; n * m];
    columns.par_chunks_mut(lines * m).enumerate().for_each(|(task, columns)| {
        let (arch, mut wide) = (pulp::Arch::new(), Vec::new());
        for (i, sums) in columns.chunks_exact_mut(m).enumerate() {
            let at = (task * lines + i) * stride;
            match b {
                Rows::F32(b) => arch.dispatch(Products { rows: &rows, sums, weights: &b[at..at + k] }),
                Rows::Halves(b, Dtype::BF16) => arch.dispatch(Products { rows: &rows, sums, weights: &b[at..at + k] }),
                // The processor's own conversion of f16 is not to be had by the compiler's vectors.
                Rows::Halves(b, dtype) => {
                    wide.resize(k, 0.0f32);
                    dtype.decode(&b[at..at + k], &mut wide);
                    arch.dispatch(Products { rows: &rows, sums, weights: &wide });
                }
            }
        }
    });
    for (j, sums) in columns.chunks_exact(m).enumerate() {
        for (i, sum) in sums.iter().enumerate() {
            let c = &mut c[i * n + j];
            *c = alpha * sum + if accumulate { *c } else { 0.0 };
        }
    }
}

/// A weight as it is stored.
trait Weight: Copy {
    fn wide(self) -> f32;
}

impl Weight for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
}

/// bf16, the upper half of an f32.
impl Weight for u16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self) << 16)
    }
}

/// The products of each of `rows` with one row of weights.
struct Products<'a, W> {
    rows: &'a [&'a [f32]],
    sums: &'a mut [f32],
    weights: &'a [W],
}

// A type of its own, for a closure of this size would not be compiled into each instruction set's function.
impl<W: Weight> WithSimd for Products<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { rows, sums, weights } = self;
        for (rows, sums) in rows.chunks(AT_ONCE).zip(sums.chunks_mut(AT_ONCE)) {
            match (rows, sums) {
                (&[a], [p]) => [*p] = dots([a], weights),
                (&[a, b], [p, q]) => [*p, *q] = dots([a, b], weights),
                (&[a, b, c], [p, q, r]) => [*p, *q, *r] = dots([a, b, c], weights),
                (&[a, b, c, d], [p, q, r, s]) => [*p, *q, *r, *s] = dots([a, b, c, d], weights),
                _ => {}
            }
        }
    }
}

#[inline(always)]
fn dots<W: Weight, const M: usize>(rows: [&[f32]; M], weights: &[W]) -> [f32; M] {
    let rows = rows.map(|row| &row[..weights.len()]);
    let mut sums = [[0.0f32; LANES]; M];
    let whole = weights.len() / LANES * LANES;
    let mut at = 0;
    while at < whole {
        let mut wide = [0.0f32; LANES];
        wide.iter_mut().zip(&weights[at..at + LANES]).for_each(|(wide, weight)| *wide = weight.wide());
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let row = &row[at..at + LANES];
            for lane in 0..LANES {
                sums[lane] += row[lane] * wide[lane];
            }
        }
        at += LANES;
    }
    for (lane, at) in (whole..weights.len()).enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            sums[lane] += row[at] * weights[at].wide();
        }
    }
    sums.map(|mut sums| {
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                sums[lane] += sums[lane + width];
            }
            width /= 2;
        }
        sums[0]
    })
}
