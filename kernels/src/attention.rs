//! Causal attention, forward, without a stored length x length matrix (Dao et al., arXiv 2205.14135).
//!
//! o = softmax(scale q k^T + mask) v for each window and head, where a token sees itself and what came before it; q, o
//! `[batch, length, heads, width]`, k, v `[batch, past + length, kv_heads, width]`, lse `[batch, length, heads]`, the log sum
//! exp of each row of scores, kept for the backward kernel. past is 0 unless a cache holds the keys of tokens before q's.
//! heads / kv_heads query heads share a key head (grouped queries). With a window w a token sees the last w only, itself among
//! them (Beltagy et al., arXiv 2004.05150); with a cap c scores become c tanh(score / c) (Gemma 2, arXiv 2408.00118,
//! section 2). The CPU body holds the scores of 64 queries at a time.
//!
//! On a GPU a workgroup makes 64 rows of one head's output, or of wide heads 32, from tiles of 2,048 scores; or, of few queries a
//! window, one row. Either takes 16 KiB of workgroup memory. Where operands may be rounded to f16 there are cooperative
//! matrices: [`Tier`].

mod tier;

pub use tier::Tier;

use crate::gemm::{Matrix, gemm};
use crate::matmul::Precision;
use crate::scratch::with_scratch;
use crate::simd::{exp, max, simd, sum, tanh};
use crate::strips::Strip;
use crate::{
    Bindings, Capabilities, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, Tuning, View,
    fill_hash::fill, launch,
};
use rayon::prelude::*;
use std::ops::Range;

/// Queries whose scores the CPU bodies hold at once.
pub(crate) const TILE: usize = 64;

/// Multiplications of scores that are less work than to share it out.
const SMALL: usize = 1 << 18;

crate::kernel::params! {
    /// Parameters of [`Attention`] and of its backward kernel.
    pub struct Params {
        /// Windows.
        pub batch: u32,
        /// Tokens a window.
        pub length: u32,
        /// Query heads.
        pub heads: u32,
        /// Key and value heads, a divisor of `heads`.
        pub kv_heads: u32,
        /// Factor of the scores, usually 1 / sqrt(width).
        pub scale: f32,
        /// Keys a window before its first query's own; 0 for the backward kernel.
        pub past: u32,
        /// Tokens that a token sees, itself the last of them; 0 for all.
        pub window: u32,
        /// What scores are bent to stay below; 0 for none.
        pub cap: f32,
        /// Width of a head. In the WGSL a constant of the pipeline.
        pub width: u32,
        /// How it is computed on a GPU: [`Tier::code`]; the functions that launch the kernels choose it.
        pub tier: u32,
        /// What [`attention`] may choose: [`Precision::code`].
        pub precision: u32,
        /// How all but log sums are stored: [`Dtype::code`].
        pub dtype: u32,
    }
}

impl Params {
    pub(crate) fn sizes(&self) -> [usize; 5] {
        [self.batch, self.length, self.heads, self.kv_heads, self.width].map(|v| v as usize)
    }

    /// Keys and values a window.
    pub(crate) fn keys(&self) -> usize {
        (self.past + self.length) as usize
    }

    /// The first key that the query of position `own` sees.
    pub(crate) fn first_seen(&self, own: usize) -> usize {
        if self.window == 0 { 0 } else { (own + 1).saturating_sub(self.window as usize) }
    }

    /// A tile's constants.
    pub(crate) fn tile(&self, [x, y]: [u32; 2]) -> Vec<(&'static str, u32)> {
        vec![("HEAD", self.width), ("PIECE", self.piece()), ("X", x), ("Y", y)]
    }

    /// Elements of a head that shaders read and write at once.
    pub(crate) fn piece(&self) -> u32 {
        if self.width.is_multiple_of(4) { 4 } else { 1 }
    }

    /// The types of as many elements, in arithmetic and in buffers.
    pub(crate) fn types(&self) -> Vec<(&'static str, &'static str)> {
        let of = |dtype: Dtype| dtype.wgsl()[usize::from(self.piece() == 4)];
        vec![("Piece", of(Dtype::F32)), ("Stored", of(self.dtype()))]
    }

    /// How all but log sums are stored.
    pub(crate) fn dtype(&self) -> Dtype {
        Dtype::activation(self.dtype)
    }

    /// FLOP of the two products of the forward pass over the full square of scores, as peers count them.
    pub(crate) fn flop(&self) -> f64 {
        let [batch, length, heads, _, width] = self.sizes().map(|v| v as f64);
        4.0 * batch * heads * length * self.keys() as f64 * width
    }
}

/// The kernel.
pub struct Attention;

/// o and lse.
///
/// # Errors
/// As [`crate::launch`]; a head so wide that its tiles do not fit the GPU's workgroup memory.
pub fn attention(
    device: &Device,
    params: Params,
    q: &View,
    k: &View,
    v: &View,
    o: &View,
    lse: &View,
) -> Result<(), KernelError> {
    let params = Params { dtype: q.dtype().code(), ..params };
    let tier = Tier::choose(&params, device.capabilities(), &device.tuning()).code();
    launch::<Attention>(device, &Params { tier, ..params }, &[q, k, v], &[o, lse])
}

impl Kernel for Attention {
    type Params = Params;
    const NAME: &'static str = "attention";
    const SHADERS: &'static [mode_shaders::Shader] =
        &[mode_shaders::ATTENTION, mode_shaders::ATTENTION_SHORT, mode_shaders::ATTENTION_COOPERATIVE];
    const INPUTS: &'static [&'static str] = &["q", "k", "v"];
    const OUTPUTS: &'static [&'static str] = &["o", "lse"];

    fn constants(p: &Params) -> Vec<(&'static str, u32)> {
        Tier::of(p).constants(p)
    }

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        Tier::of(p).types(p)
    }

    fn dtype(p: &Params, binding: usize) -> Dtype {
        if binding == 4 { Dtype::F32 } else { p.dtype() }
    }

    fn tier(p: &Params) -> usize {
        Tier::of(p).shader()
    }

    /// Weights p of values are rounded to f16, each by up to 2^-11 of itself (the least are no matter: LIFT in the shader). So an element
    /// of o is off by at most 2^-11 of the sum of p |v|, and that is no more than 2^-11 of the greatest value. The greatest output is as
    /// great where a row sees itself alone; where all see many, their roundings are as many, and cancel as their values do.
    fn rounding(p: &Params, output: usize) -> f64 {
        if Tier::of(p).size().is_some() && output == 0 { 1.0 / 2048.0 } else { 0.0 }
    }

    fn passes(p: &Params) -> Vec<Pass> {
        Tier::of(p).passes(p)
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([q, k, v], [o, lse]) = bindings.take();
        let [_, length, heads, kv_heads, width] = p.sizes();
        let (keys, past) = (p.keys(), p.past as usize);
        let (q_row, kv_row) = (heads * width, kv_heads * width);
        let mut tasks = Vec::new();
        let windows = o.chunks_mut(length * q_row).zip(lse.chunks_mut(length * heads));
        for (window, (o, lse)) in windows.enumerate() {
            let of_heads =
                Strip::new(o, q_row, q_row).split(width).into_iter().zip(Strip::new(lse, heads, heads).split(1));
            for (head, (o, lse)) in of_heads.enumerate() {
                let tiles = o.split_rows(TILE).into_iter().zip(lse.split_rows(TILE));
                tasks.extend(tiles.enumerate().map(|(tile, (o, lse))| (window, head, tile * TILE, o, lse)));
            }
        }
        // A query or two, as in decoding, are not worth a thread.
        let few = SMALL / (TILE.min(length) * keys * width);
        tasks.into_par_iter().with_min_len(1 + few).for_each(|(window, head, first, o, mut lse)| {
            let rows = TILE.min(length - first);
            // Keys that a query of the tile sees.
            let low = p.first_seen(past + first);
            let seen = past + first + rows - low;
            let q_at = (window * length + first) * q_row + head * width;
            let kv_at = (window * keys + low) * kv_row + head / (heads / kv_heads) * width;
            with_scratch([rows * seen], |[scores]| {
                let q = Matrix { data: &q[q_at..], row: q_row, column: 1 };
                let k = Matrix { data: &k[kv_at..], row: 1, column: kv_row };
                gemm([rows, seen, width], Strip::new(scores, seen, seen), q, k, p.scale, false);
                for (row, scores) in scores.chunks_exact_mut(seen).enumerate() {
                    let own = past + first + row;
                    lse.row(row)[0] = softmax(scores, p.first_seen(own) - low..own + 1 - low, p.cap);
                }
                let p = Matrix { data: scores, row: seen, column: 1 };
                let v = Matrix { data: &v[kv_at..], row: kv_row, column: 1 };
                gemm([rows, width, seen], o, p, v, 1.0, false);
            });
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([q, k, v], [o, lse]) = bindings.take();
        let [batch, length, heads, kv_heads, width] = p.sizes();
        for (b, h, t) in (0..batch).flat_map(|b| (0..heads).flat_map(move |h| (0..length).map(move |t| (b, h, t)))) {
            let q_at = ((b * length + t) * heads + h) * width;
            let kv_at = |s: usize| ((b * p.keys() + s) * kv_heads + h / (heads / kv_heads)) * width;
            let own = p.past as usize + t;
            let dot = |s: usize| (0..width).map(|i| q[q_at + i] * k[kv_at(s) + i]).sum::<f64>();
            let first = p.first_seen(own);
            let scores: Vec<f64> = (first..=own).map(|s| capped(f64::from(p.scale) * dot(s), p.cap)).collect();
            let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_sum = greatest + scores.iter().map(|s| (s - greatest).exp()).sum::<f64>().ln();
            lse[(b * length + t) * heads + h] = log_sum;
            for i in 0..width {
                o[q_at + i] = (first..=own).map(|s| (scores[s - first] - log_sum).exp() * v[kv_at(s) + i]).sum();
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let [batch, length, heads, kv_heads, width] = p.sizes().map(|v| v as f64);
        let moved = 2.0 * length * heads + 2.0 * p.keys() as f64 * kv_heads;
        Cost { flop: p.flop(), bytes: p.dtype().bytes() * batch * width * moved }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        // Keys of a cache: one query, and several whose own keys begin and end inside a tile.
        let cached = |(past, shape): (u32, usize)| Params { past, ..shapes(Sizes::Odd)[shape] };
        let cached = [(40, 0), (15, 1), (3, 2), (64, 3)].map(cached);
        let near = [Params { window: 18, ..cached[2] }, Params { window: 1, cap: 5.0, ..cached[1] }];
        // Few queries over more keys than a workgroup has threads, and the first one that is not among few.
        let few = [(5, 300, 0, 0.0, 1), (8, 515, 300, 1.5, 4), (2, 260, 3, 0.0, 7), (9, 270, 0, 0.0, 2)].map(
            |(length, past, window, cap, shape)| Params { length, past, window, cap, ..shapes(Sizes::Odd)[shape] },
        );
        // Scores whose exponentials alone no f32 holds.
        let steep = Params { scale: 30.0, length: 40, ..shapes(Sizes::Odd)[0] };
        let more = if sizes == Sizes::Odd { [&cached[..], &near, &few, &[steep]].concat() } else { Vec::new() };
        let plain = shapes(sizes).into_iter().chain(more).map(|p| Params { tier: plain(&p).code(), ..p });
        let cases = plain.chain(cooperative(sizes)).map(|p| case(p, seed)).collect();
        Case::and(cases, sizes, &[|p| Params { dtype: Dtype::F16.code(), ..p }])
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let past = if draw.bit() { 0 } else { draw.size(500) };
        let p = drawn(draw, past);
        let tiers = [plain(&p), Tier::Tiled, Tier::Wide, Tier::Cooperative8, Tier::Cooperative16];
        let tier = draw.one_of(if Tier::has_matrices_for(p.width) { &tiers } else { &tiers[..3] });
        let precision = if tier.size().is_some() { Precision::Half } else { Precision::F32 };
        case(Params { tier: tier.code(), precision: precision.code(), ..p }, draw.seed())
    }
}

/// The tier where operands are not rounded and nothing has been tuned.
fn plain(p: &Params) -> Tier {
    let device = Capabilities::default();
    Tier::choose(p, device, &Tuning::built_in(&device))
}

fn case(p: Params, seed: u32) -> Case<Params> {
    let [batch, length, heads, kv_heads, width] = p.sizes();
    let (n, kv) = (batch * length * heads * width, batch * p.keys() * kv_heads * width);
    let rounds = Tier::of(&p).size().is_some();
    let input = |seed, count, scale| {
        let values = fill(seed, count, scale);
        Data::F32(if rounds { Dtype::F16.round(&values) } else { values })
    };
    Case {
        params: p,
        inputs: vec![input(seed, n, 2.0), input(seed + 1, kv, 2.0), input(seed + 2, kv, 1.0)],
        outputs: vec![Data::Out(n), Data::Out(batch * length * heads)],
    }
}

/// A random shape after `past` tokens. The width of a head, which is compiled in, is one of few.
pub(crate) fn drawn(draw: &mut Draw, past: usize) -> Params {
    let (kv_heads, length) = (draw.size(3), draw.size(130));
    let width = draw.one_of(&[1, 2, 4, 13, 16, 32, 64, 66, 100, 128, 160, 255, 256]);
    let window = if draw.bit() { 0 } else { draw.size(past + length + 2) };
    let sizes = [draw.size(3), length, kv_heads * draw.size(4), kv_heads, past, window, width];
    let [batch, length, heads, kv_heads, past, window, width] = sizes.map(|size| size as u32);
    // Some scores are steep.
    let scale = draw.one_of(&[1.0, 1.0, 4.0]) / (width as f32).sqrt();
    let cap = draw.one_of(&[0.0, 0.0, 1.5, 30.0]);
    let (precision, dtype) = (Precision::F32.code(), draw.stored());
    Params { batch, length, heads, kv_heads, scale, past, window, cap, width, tier: 0, precision, dtype }
}

/// Shapes for the checks: one token, windows that no tile divides, odd and wide heads, shared key heads; long and many
/// windows.
pub(crate) fn shapes(sizes: Sizes) -> Vec<Params> {
    let shape = |(batch, length, heads, kv_heads, width): (u32, u32, u32, u32, u32)| Params {
        batch,
        length,
        heads,
        kv_heads,
        scale: 1.0 / (width as f32).sqrt(),
        past: 0,
        window: 0,
        cap: 0.0,
        width,
        tier: 0,
        precision: Precision::F32.code(),
        dtype: Dtype::F32.code(),
    };
    let odd = [
        (1, 1, 1, 1, 1),
        (2, 17, 4, 2, 12),
        (1, 67, 3, 1, 20),
        (3, 65, 2, 2, 64),
        (1, 33, 2, 1, 160),
        (1, 70, 1, 1, 128),
        (2, 35, 2, 1, 13),
        (1, 34, 1, 1, 255),
    ];
    let mut shapes: Vec<Params> =
        sizes.pick(odd, [(1, 1031, 3, 1, 64), (65_000, 2, 1, 1, 2)]).into_iter().map(shape).collect();
    if sizes == Sizes::Odd {
        // A window that ends inside a tile and one that spans several; capped scores; the widest head.
        shapes.push(Params { window: 7, ..shapes[1] });
        shapes.push(Params { window: 40, cap: 1.5, ..shapes[2] });
        shapes.push(Params { cap: 0.7, ..shape((1, 19, 2, 1, 256)) });
    }
    shapes
}

/// Those of cooperative matrices: windows that no tile divides, with and without a cache; one subgroup and two for the width of a head, and
/// widths that leave some of its matrices out; maxima that grow from tile to tile, and windows that leave tiles unseen.
fn cooperative(sizes: Sizes) -> Vec<Params> {
    let odd = [
        (1, 1, 1, 1, 16, 0, 0, 0.0),
        (2, 67, 4, 2, 32, 0, 0, 0.0),
        (1, 130, 3, 1, 64, 0, 0, 0.0),
        (1, 70, 2, 2, 64, 45, 33, 1.5),
        (1, 33, 2, 1, 48, 17, 0, 0.0),
        (1, 150, 1, 1, 80, 3, 7, 0.0),
        (1, 65, 2, 1, 112, 0, 0, 0.0),
        (1, 97, 2, 1, 128, 0, 40, 0.0),
    ];
    let of = |tier: Tier| {
        let shape = move |(batch, length, heads, kv_heads, width, past, window, cap)| Params {
            batch,
            length,
            heads,
            kv_heads,
            past,
            window,
            cap,
            scale: 1.0 / (width as f32).sqrt(),
            width,
            tier: tier.code(),
            precision: Precision::Half.code(),
            dtype: Dtype::F32.code(),
        };
        let mut shapes: Vec<Params> =
            sizes.pick(odd, [(1, 1_031, 3, 1, 64, 0, 0, 0.0)]).into_iter().map(shape).collect();
        if sizes == Sizes::Odd {
            shapes.push(Params { scale: 2.0, ..shapes[2] });
            shapes.push(Params { scale: 2.0, ..shapes[7] });
        }
        shapes
    };
    [Tier::Cooperative8, Tier::Cooperative16].into_iter().flat_map(of).collect()
}

/// A score bent by a cap, if there is one.
pub(crate) fn capped(score: f64, cap: f32) -> f64 {
    if cap > 0.0 { f64::from(cap) * (score / f64::from(cap)).tanh() } else { score }
}

/// Scores of what a row does not see: their exponentials are 0. Whole rows take fewer steps than parts that end anywhere.
#[inline(always)]
pub(crate) fn mask(scores: &mut [f32], seen: Range<usize>) {
    scores[..seen.start].fill(f32::NEG_INFINITY);
    scores[seen.end..].fill(f32::NEG_INFINITY);
}

/// Scores bent by a cap, if there is one.
#[inline(always)]
pub(crate) fn bend(scores: &mut [f32], cap: f32) {
    if cap > 0.0 {
        scores.iter_mut().for_each(|s| *s = cap * tanh(*s / cap));
    }
}

simd! {
    /// The scores in `seen` become weights that sum to 1, the rest 0; returns their log sum exp.
    fn softmax[simd](scores: &mut [f32], seen: Range<usize>, cap: f32) -> f32 {
        bend(scores, cap);
        mask(scores, seen);
        let greatest = max(simd, scores);
        scores.iter_mut().for_each(|s| *s = exp(*s - greatest));
        let total = sum(simd, scores);
        let inverse = 1.0 / total;
        scores.iter_mut().for_each(|s| *s *= inverse);
        greatest + total.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Two tokens, width 1. Token 0 sees itself; token 1 sees scores 0 and ln 3, so weights 1/4 and 3/4.
        let params = Params { batch: 1, length: 2, scale: 1.0, ..shapes(Sizes::Odd)[0] };
        let (mut o, mut lse) = ([0.0; 2], [0.0; 2]);
        let k = [0.0, 3f64.ln()];
        let bindings = Bindings::new(vec![&[5.0, 1.0], &k, &[8.0, 16.0]], vec![&mut o, &mut lse]);
        Attention::reference(&params, bindings);
        assert_eq!(o[0], 8.0);
        approx::assert_relative_eq!(o[1], 14.0, epsilon = 1e-12);
        approx::assert_relative_eq!(lse[1], 4f64.ln(), epsilon = 1e-12);
        // The same second token alone, with the first in a cache.
        let params = Params { length: 1, past: 1, ..params };
        let bindings = Bindings::new(vec![&[1.0], &k, &[8.0, 16.0]], vec![&mut o[..1], &mut lse[..1]]);
        Attention::reference(&params, bindings);
        approx::assert_relative_eq!(o[0], 14.0, epsilon = 1e-12);
        // Seeing itself alone, it weighs its own value by 1, and a cap of ln 3 bends ln 3 to ln 3 tanh 1.
        let params = Params { window: 1, cap: 3f32.ln(), ..params };
        let bindings = Bindings::new(vec![&[1.0], &k, &[8.0, 16.0]], vec![&mut o[..1], &mut lse[..1]]);
        Attention::reference(&params, bindings);
        assert_eq!(o[0], 16.0);
        approx::assert_relative_eq!(lse[0], 3f64.ln() * 1f64.tanh(), epsilon = 1e-6);
    }
}
