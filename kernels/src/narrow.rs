//! Products of few rows with a large matrix, as in decoding: each weight is read from memory once and meets all the rows, so that
//! the memory's bandwidth is the bound. Halves are widened a row at a time, in the processor's cache.
//!
//! How a sum is split depends on the processor's vectors and on how many rows are left at a row's turn, one or more: a sequence
//! alone and the same one in a batch agree but for rounding, and a number of threads changes no bit.

use crate::Dtype;
use crate::gemm::Matrix;
use crate::simd::simd;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Rows of `a` at the most: beyond, widening in parts and packing pay.
pub(crate) const MOST_ROWS: usize = 16;

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
        let (arch, mut wide) = (pulp::Arch::new(), vec![0.0; k]);
        for (i, sums) in columns.chunks_exact_mut(m).enumerate() {
            let at = (task * lines + i) * stride;
            let weights = match b {
                Rows::F32(b) => &b[at..at + k],
                Rows::Halves(b, dtype) => {
                    widen(dtype, &b[at..at + k], &mut wide);
                    &wide[..]
                }
            };
            arch.dispatch(Products { rows: &rows, sums, weights });
        }
    });
    for (j, sums) in columns.chunks_exact(m).enumerate() {
        for (i, sum) in sums.iter().enumerate() {
            let c = &mut c[i * n + j];
            *c = alpha * sum + if accumulate { *c } else { 0.0 };
        }
    }
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
