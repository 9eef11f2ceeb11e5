//! Causal attention, backward, with the scores recomputed rather than stored (Dao et al., arXiv 2205.14135, section B.4).
//!
//! With p = exp(scale q k^T - lse) and delta = <do, o> per row: ds = p (do v^T - delta) scale, dq = ds k, dk = ds^T q,
//! dv = p^T do; with a cap c, ds is 1 - (bent score / c)^2 times that; key heads add up what their query heads send. Shapes as in
//! [`crate::attention`]; do like o, dq like q, dk and dv like k. On a GPU one pass makes dq and another dk and dv, without atomics,
//! from tiles of 2,048 scores in 16 KiB of workgroup memory.

use crate::attention::{Attention, Params, TILE, Tier, bend, capped, drawn, mask, shapes};
use crate::gemm::{Matrix, gemm};
use crate::scratch::with_scratch;
use crate::simd::{dot, exp, simd};
use crate::strips::Strip;
use crate::{
    Bindings, Capabilities, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, Tuning, View,
    fill_hash::fill, launch,
};
use rayon::prelude::*;
use std::ops::Range;

/// The kernel.
pub struct AttentionBackward;

/// Gradients of q, k and v.
///
/// # Errors
/// As [`crate::attention::attention`].
pub fn attention_backward(
    device: &Device,
    params: Params,
    [q, k, v, o, lse, dout]: [&View; 6],
    [dq, dk, dv]: [&View; 3],
) -> Result<(), KernelError> {
    let params = Params { tier: tier(&params, &device.tuning()).code(), dtype: q.dtype().code(), ..params };
    let delta = View::whole(device.alloc(lse.len)?);
    launch::<AttentionBackward>(device, &params, &[q, k, v, o, lse, dout], &[dq, dk, dv, &delta])
}

/// How it is computed: heads are wide sooner than in the forward, for two gradients are summed at once.
pub(crate) fn tier(p: &Params, tuning: &Tuning) -> Tier {
    Tier::tiled(p.width, tuning.tall_backward)
}

impl Kernel for AttentionBackward {
    type Params = Params;
    const NAME: &'static str = "attention_backward";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::ATTENTION_BACKWARD];
    const INPUTS: &'static [&'static str] = &["q", "k", "v", "o", "lse", "dout"];
    const OUTPUTS: &'static [&'static str] = &["dq", "dk", "dv", "delta"];

    fn constants(p: &Params) -> Vec<(&'static str, u32)> {
        p.tile(Tier::of(p).threads())
    }

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        p.types()
    }

    fn dtype(p: &Params, binding: usize) -> Dtype {
        if binding == 4 || binding == 9 { Dtype::F32 } else { p.dtype() }
    }

    fn passes(p: &Params) -> Vec<Pass> {
        let tiles = p.length.div_ceil(4 * Tier::of(p).threads()[1]);
        vec![
            Pass { entry: "queries", groups: [tiles, p.heads, p.batch] },
            Pass { entry: "keys", groups: [tiles, p.kv_heads, p.batch] },
        ]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([q, k, v, o, lse, dout], [dq, dk, dv, _]) = bindings.take();
        let [_, length, heads, kv_heads, width] = p.sizes();
        let inputs = Inputs { p, q, k, v, o, lse, dout };
        let (q_row, kv_row, shared_by) = (heads * width, kv_heads * width, heads / kv_heads);
        let windows = dq.par_chunks_mut(length * q_row);
        let windows = windows.zip(dk.par_chunks_mut(length * kv_row)).zip(dv.par_chunks_mut(length * kv_row));
        windows.enumerate().for_each(|(window, ((dq, dk), dv))| {
            let dq = Strip::new(dq, q_row, q_row).split(shared_by * width);
            let [dk, dv] = [dk, dv].map(|d| Strip::new(d, kv_row, kv_row).split(width));
            let heads = dq.into_par_iter().zip(dk).zip(dv).enumerate();
            heads.for_each(|(kv_head, ((dq, dk), dv))| inputs.gradients(window, kv_head, dq, [dk, dv]));
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([q, k, v, o, lse, dout], [dq, dk, dv, _]) = bindings.take();
        let [batch, length, heads, kv_heads, width] = p.sizes();
        let scale = f64::from(p.scale);
        dq.fill(0.0);
        dk.fill(0.0);
        dv.fill(0.0);
        for (b, h, t) in (0..batch).flat_map(|b| (0..heads).flat_map(move |h| (0..length).map(move |t| (b, h, t)))) {
            let row = (b * length + t) * heads + h;
            let q_at = row * width;
            let delta: f64 = (0..width).map(|i| dout[q_at + i] * o[q_at + i]).sum();
            for s in p.first_seen(t)..=t {
                let kv_at = ((b * length + s) * kv_heads + h / (heads / kv_heads)) * width;
                let score: f64 = (0..width).map(|i| q[q_at + i] * k[kv_at + i]).sum();
                let bent = capped(scale * score, p.cap);
                let cap_slope = if p.cap > 0.0 { 1.0 - (bent / f64::from(p.cap)).powi(2) } else { 1.0 };
                let weight = (bent - lse[row]).exp();
                let slope: f64 = (0..width).map(|i| dout[q_at + i] * v[kv_at + i]).sum();
                let ds = weight * (slope - delta) * cap_slope * scale;
                for i in 0..width {
                    dq[q_at + i] += ds * k[kv_at + i];
                    dk[kv_at + i] += ds * q[q_at + i];
                    dv[kv_at + i] += weight * dout[q_at + i];
                }
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let [batch, length, heads, kv_heads, width] = p.sizes().map(|v| v as f64);
        // Five products where the forward has two.
        let moved = 4.0 * heads + 4.0 * kv_heads;
        Cost { flop: 2.5 * p.flop(), bytes: p.dtype().bytes() * batch * length * width * moved }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let tuning = Tuning::built_in(&Capabilities::default());
        let plain = || shapes(sizes).into_iter().map(|p| Params { tier: tier(&p, &tuning).code(), ..p });
        let halves = plain().filter(|_| sizes == Sizes::Odd).map(|p| Params { dtype: Dtype::F16.code(), ..p });
        plain().chain(halves).map(|p| case(p, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let tier = draw.one_of(&[Tier::Tiled, Tier::Wide]).code();
        case(Params { tier, ..drawn(draw, 0) }, draw.seed())
    }
}

/// A case whose o and lse are what the forward gives, without which the gradients mean nothing.
fn case(p: Params, seed: u32) -> Case<Params> {
    let [batch, length, heads, kv_heads, width] = p.sizes();
    let (n, kv, rows) = (batch * length * heads * width, batch * length * kv_heads * width, batch * length * heads);
    let [q, k, v] = [(0, n, 2.0), (1, kv, 2.0), (2, kv, 1.0)]
        .map(|(number, count, scale)| p.dtype().round(&fill(seed + number, count, scale)));
    let [q64, k64, v64] = [&q, &k, &v].map(|x| x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
    let (mut o, mut lse) = (vec![0.0; n], vec![0.0; rows]);
    Attention::reference(&p, Bindings::new(vec![&q64, &k64, &v64], vec![&mut o, &mut lse]));
    let [o, lse] = [o, lse].map(|x| x.into_iter().map(|v| v as f32).collect::<Vec<_>>());
    let inputs = [q, k, v, o, lse, fill(seed + 3, n, 1.0)].map(Data::F32).into();
    Case { params: p, inputs, outputs: vec![Data::Out(n), Data::Out(kv), Data::Out(kv), Data::Scratch(rows)] }
}

struct Inputs<'a> {
    p: &'a Params,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    o: &'a [f32],
    lse: &'a [f32],
    dout: &'a [f32],
}

impl Inputs<'_> {
    /// Those of one key head: dq `[length, heads sharing it, width]`, dk and dv `[length, width]`.
    fn gradients(&self, window: usize, kv_head: usize, dq: Strip, [mut dk, mut dv]: [Strip; 2]) {
        let [_, length, heads, kv_heads, width] = self.p.sizes();
        let (shared_by, q_row, kv_row) = (heads / kv_heads, heads * width, kv_heads * width);
        let kv_at = window * length * kv_row + kv_head * width;
        let (k, v) = (&self.k[kv_at..], &self.v[kv_at..]);
        let mut dq = dq.split(width);
        for row in 0..length {
            dk.row(row).fill(0.0);
            dv.row(row).fill(0.0);
        }
        for first in (0..length).step_by(TILE) {
            let rows = TILE.min(length - first);
            // Keys that a query of the tile sees.
            let low = self.p.first_seen(first);
            let seen = first + rows - low;
            let (k, v) = (&k[low * kv_row..], &v[low * kv_row..]);
            for (sharing, dq) in dq.iter_mut().enumerate() {
                let head = kv_head * shared_by + sharing;
                let q_at = (window * length + first) * q_row + head * width;
                let lse_at = (window * length + first) * heads + head;
                let rows_of = |data| Matrix { data, row: q_row, column: 1 };
                let across = |data| Matrix { data, row: 1, column: kv_row };
                let (q, dout, o) = (&self.q[q_at..], &self.dout[q_at..], &self.o[q_at..]);
                with_scratch([rows * seen; 2], |[weights, slopes]| {
                    let scores = [rows, seen, width];
                    gemm(scores, Strip::new(weights, seen, seen), rows_of(q), across(k), self.p.scale, false);
                    gemm(scores, Strip::new(slopes, seen, seen), rows_of(dout), across(v), 1.0, false);
                    let each = weights.chunks_exact_mut(seen).zip(slopes.chunks_exact_mut(seen)).enumerate();
                    for (row, (weights, slopes)) in each {
                        let [dout, o] = [dout, o].map(|x| &x[row * q_row..][..width]);
                        let own = first + row;
                        let visible = self.p.first_seen(own) - low..own + 1 - low;
                        score_gradients(weights, slopes, visible, dout, o, self.lse[lse_at + row * heads], self.p);
                    }
                    let (ds, p) = (&slopes[..], &weights[..]);
                    let down = |data| Matrix { data, row: 1, column: seen };
                    let keys = Matrix { data: k, row: kv_row, column: 1 };
                    let scores = Matrix { data: ds, row: seen, column: 1 };
                    gemm([rows, width, seen], dq.rows(first..first + rows), scores, keys, 1.0, false);
                    let [dk, dv] = [&mut dk, &mut dv].map(|d| d.rows(low..low + seen));
                    gemm([seen, width, rows], dk, down(ds), rows_of(q), 1.0, true);
                    gemm([seen, width, rows], dv, down(p), rows_of(dout), 1.0, true);
                });
            }
        }
    }
}

simd! {
    /// One row: scores become weights, slopes become gradients of the scores; both 0 outside what the row sees.
    fn score_gradients[simd](
        weights: &mut [f32], slopes: &mut [f32], seen: Range<usize>, dout: &[f32], o: &[f32], lse: f32, p: &Params,
    ) {
        bend(weights, p.cap);
        let delta = dot(simd, dout, o);
        let bent = if p.cap > 0.0 { 1.0 / (p.cap * p.cap) } else { 0.0 };
        if bent > 0.0 {
            slopes.iter_mut().zip(&*weights).for_each(|(s, w)| *s = (*s - delta) * (1.0 - w * w * bent) * p.scale);
        } else {
            slopes.iter_mut().for_each(|s| *s = (*s - delta) * p.scale);
        }
        // What overflows where the row sees nothing must not meet a weight of 0.
        slopes[..seen.start].fill(0.0);
        slopes[seen.end..].fill(0.0);
        mask(weights, seen);
        for (weight, slope) in weights.iter_mut().zip(slopes) {
            *weight = exp(*weight - lse);
            *slope *= *weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Token 1 weighs v = 8 and 16 by 1/4 and 3/4 (o = 14): ds = (1/4 (8 - 14), 3/4 (16 - 14)) = (-3/2, 3/2).
        let params = Params { batch: 1, length: 2, scale: 1.0, ..shapes(Sizes::Odd)[0] };
        let (mut dq, mut dk, mut dv, mut delta) = ([0.0; 2], [0.0; 2], [0.0; 2], [0.0; 2]);
        let ln3 = 3f64.ln();
        let (k, lse) = ([0.0, ln3], [0.0, 4f64.ln()]);
        let inputs: Vec<&[f64]> = vec![&[5.0, 1.0], &k, &[8.0, 16.0], &[8.0, 14.0], &lse, &[0.0, 1.0]];
        AttentionBackward::reference(&params, Bindings::new(inputs, vec![&mut dq, &mut dk, &mut dv, &mut delta]));
        approx::assert_relative_eq!(dq[1], 1.5 * ln3, epsilon = 1e-12);
        approx::assert_relative_eq!(dk[0], -1.5, epsilon = 1e-12);
        approx::assert_relative_eq!(dk[1], 1.5, epsilon = 1e-12);
        approx::assert_relative_eq!(dv[1], 0.75, epsilon = 1e-12);
    }

    #[test]
    fn what_a_row_does_not_see_may_overflow() {
        // Token 0's slope for token 1's value, which it does not see, is 1e40: no f32.
        let params = Params { batch: 1, length: 2, scale: 1.0, ..shapes(Sizes::Odd)[0] };
        let (mut dq, mut dk, mut dv, mut delta) = ([9.0; 2], [9.0; 2], [9.0; 2], [9.0; 2]);
        let inputs: Vec<&[f32]> =
            vec![&[0.0; 2], &[0.0; 2], &[0.0, 1e20], &[0.0, 5e19], &[0.0, std::f32::consts::LN_2], &[1e20, 0.0]];
        AttentionBackward::cpu(&params, Bindings::new(inputs, vec![&mut dq, &mut dk, &mut dv, &mut delta]));
        assert_eq!((dq, dk), ([0.0; 2], [0.0; 2]));
        assert!((dv[0] / 1e20 - 1.0).abs() < 1e-6 && dv[1] == 0.0, "{dv:?}");
    }
}
