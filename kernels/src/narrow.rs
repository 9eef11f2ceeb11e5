//! Products of a large matrix with few rows, as in decoding, with few columns, as of a gate or a LoRA, and of few terms, as their
//! gradients: each number of the large one is read from memory, or written, once, so that the memory's bandwidth is the bound. Halves
//! are widened a row at a time, in the processor's cache.
//!
//! How a sum is split depends on the processor's vectors and on how many rows are left at a row's turn, one or more: a sequence
//! alone and the same one in a batch agree but for rounding, and a number of threads changes no bit.

use crate::Dtype;
use crate::epilogue::Ending;
use crate::gate_merge::weighted_sum;
use crate::gemm::Matrix;
use crate::simd::simd;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Rows of `a`, or columns of b, at the most: beyond, widening in parts and packing pay.
pub(crate) const MOST_ROWS: usize = 16;

/// Terms at the most, for a row of c is then written once.
pub(crate) const MOST_TERMS: usize = 3;

/// Rows of `a` that meet a weight at once: their sums stay in registers.
const AT_ONCE: usize = 4;

/// Weights that one task reads: enough to be worth a task.
const TASK: usize = 1 << 14;

/// The rows of a matrix b^T `[n, k]`, `stride` elements apart.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    F32(&'a [f32]),
    Halves(&'a [u16], Dtype),
}

/// c `[m, n]` = alpha a b, or += with `accumulate`, and an epilogue; a `[m, k]`, whose rows are contiguous, b by its columns, which are too.
pub(crate) fn narrow(
    [m, n, k]: [usize; 3],
    c: &mut [f32],
    a: Matrix,
    (b, stride): (Rows, usize),
    alpha: f32,
    accumulate: bool,
    ending: &Ending<f32>,
) {
    let rows: Vec<&[f32]> = (0..m).map(|i| &a.data[i * a.row..][..k]).collect();
    let mut columns = vec![0.0f32; n * m];
    products(&mut columns, &rows, b, stride);
    for (j, sums) in columns.chunks_exact(m).enumerate() {
        for (i, sum) in sums.iter().enumerate() {
            let c = &mut c[i * n + j];
            *c = alpha * sum + if accumulate { *c } else { 0.0 };
        }
    }
    c.chunks_exact_mut(n).take(m).enumerate().for_each(|(i, c)| ending.finish(c, i));
}

/// c `[m, n]` = a b, of few columns n; a's rows and b's columns are contiguous, the latter `stride` elements apart.
pub(crate) fn few_columns([n, k]: [usize; 2], c: &mut [f32], a: Matrix, b: &[f32], stride: usize) {
    let columns: Vec<&[f32]> = (0..n).map(|j| &b[j * stride..][..k]).collect();
    products(c, &columns, Rows::F32(a.data), a.row);
}

/// c `[m, n]` = a b, of few terms k: each row of c is a sum of b's, which are contiguous and stay in a cache, as a's are.
pub(crate) fn few_terms([n, k]: [usize; 2], c: &mut [f32], a: Matrix, b: Matrix) {
    let rows = (TASK / n).max(1);
    c.par_chunks_mut(rows * n).enumerate().for_each(|(task, c)| {
        for (i, c) in c.chunks_exact_mut(n).enumerate() {
            weighted_sum(c, &a.data[(task * rows + i) * a.row..][..k], b.data, b.row);
        }
    });
}

/// sums `[lines, rows]`: the product of each line of a large matrix, `stride` elements apart, with each of a few rows.
fn products(sums: &mut [f32], rows: &[&[f32]], large: Rows, stride: usize) {
    let k = rows.first().map_or(0, |row| row.len());
    let lines = (TASK / k.max(1)).max(1);
    sums.par_chunks_mut(lines * rows.len()).enumerate().for_each(|(task, sums)| {
        let (arch, mut wide) = (pulp::Arch::new(), vec![0.0; k]);
        for (i, sums) in sums.chunks_exact_mut(rows.len()).enumerate() {
            let at = (task * lines + i) * stride;
            let weights = match large {
                Rows::F32(large) => &large[at..at + k],
                Rows::Halves(large, dtype) => {
                    widen(dtype, &large[at..at + k], &mut wide);
                    &wide[..]
                }
            };
            arch.dispatch(Products { rows, sums, weights });
        }
    });
}

/// Halves as f32, in the processor's cache.
fn widen(dtype: Dtype, halves: &[u16], wide: &mut [f32]) {
    match dtype {
        // The upper half of an f32, which the compiler's vectors do at once.
        Dtype::BF16 => widen_bf16(wide, halves),
        dtype => dtype.decode(halves, wide),
    }
}

simd! {
    fn widen_bf16(wide: &mut [f32], halves: &[u16]) {
        wide.iter_mut().zip(halves).for_each(|(w, &h)| *w = f32::from_bits(u32::from(h) << 16));
    }
}

/// The products of each of `rows` with one row of weights.
struct Products<'a> {
    rows: &'a [&'a [f32]],
    sums: &'a mut [f32],
    weights: &'a [f32],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, sums, weights } = self;
        for (rows, sums) in rows.chunks(AT_ONCE).zip(sums.chunks_mut(AT_ONCE)) {
            match (rows, sums) {
                (&[a], [p]) => [*p] = dots::<S, 1, 4>(simd, [a], weights),
                (&[a, b], [p, q]) => [*p, *q] = dots::<S, 2, 2>(simd, [a, b], weights),
                (&[a, b, c], [p, q, r]) => [*p, *q, *r] = dots::<S, 3, 2>(simd, [a, b, c], weights),
                (&[a, b, c, d], [p, q, r, s]) => [*p, *q, *r, *s] = dots::<S, 4, 2>(simd, [a, b, c, d], weights),
                _ => {}
            }
        }
    }
}

/// The products of M rows with the weights, in U vectors of partial sums each, which keep the processor's adders busy.
#[inline(always)]
fn dots<S: Simd, const M: usize, const U: usize>(simd: S, rows: [&[f32]; M], weights: &[f32]) -> [f32; M] {
    let (w, w_rest) = S::as_simd_f32s(weights);
    let rows = rows.map(|row| S::as_simd_f32s(&row[..weights.len()]));
    let mut sums = [[simd.splat_f32s(0.0); U]; M];
    let whole = w.len() / U * U;
    let mut at = 0;
    while at < whole {
        for (sums, (row, _)) in sums.iter_mut().zip(&rows) {
            for (u, sum) in sums.iter_mut().enumerate() {
                *sum = simd.mul_add_f32s(row[at + u], w[at + u], *sum);
            }
        }
        at += U;
    }
    for at in whole..w.len() {
        for (sums, (row, _)) in sums.iter_mut().zip(&rows) {
            sums[0] = simd.mul_add_f32s(row[at], w[at], sums[0]);
        }
    }
    let mut products = [0.0; M];
    for (product, (sums, (_, rest))) in products.iter_mut().zip(sums.iter().zip(&rows)) {
        let mut sum = sums[0];
        for more in &sums[1..] {
            sum = simd.add_f32s(sum, *more);
        }
        let rest: f32 = rest.iter().zip(w_rest).map(|(x, w)| x * w).sum();
        *product = simd.reduce_sum_f32s(sum) + rest;
    }
    products
}
