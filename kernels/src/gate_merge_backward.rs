//! The fused gate merge, backward. With g = dL/dy, p the merge weights and s_k = <g, f_k>:
//!
//! ```text
//! df_k = p_k g,   dz_k = p_k (s_k - sum_j p_j s_j),   dx = dz W,   dW = dz^T x,   db = sum of dz.
//! ```
//!
//! Shapes as in [`crate::gate_merge`]; df like f, dz like p. What is frozen is neither computed nor written: each branch,
//! the gate (dW, db) and x have a switch of their own. With all of them it moves 2K + 3 units; launched apart, 6K + 2.

use crate::gate_merge::{MOST_BRANCHES, built_in, drawn, lanes, limit, piece, row, weighted_sum};
use crate::simd::{dot, simd};
use crate::stream::Stores;
use crate::strips::Strip;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

/// Tokens a partial sum of dW.
const CHUNK: usize = 64;

/// Elements of each operand, about, that a task works on before it turns to the next: few enough to stay in a cache.
const PIECE: usize = 1 << 15;

crate::kernel::params! {
    /// Parameters of [`GateMergeBackward`].
    pub struct Params {
        /// Tokens.
        pub tokens: u32,
        /// Width of the residual stream.
        pub width: u32,
        /// Branches, K.
        pub branches: u32,
        /// Elements from one branch's output to the next's.
        pub stride: u32,
        /// Bit k is set if branch k wants its gradient, k < 32.
        pub df_mask_0: u32,
        /// The same for branch 32 + k.
        pub df_mask_1: u32,
        /// The same for branch 64 + k.
        pub df_mask_2: u32,
        /// 1 if x wants its gradient.
        pub want_dx: u32,
        /// 1 if the gate's weight and bias want theirs.
        pub want_gate: u32,
        /// Tokens a partial sum of dW.
        pub chunk: u32,
        /// 1 to add to what `dweight` holds.
        pub add_weight: u32,
        /// 1 to add to what `dbias` holds.
        pub add_bias: u32,
        /// Threads that have a token's row, on a GPU.
        pub lanes: u32,
    }
}

impl Params {
    /// The masks of branches that want their gradients.
    pub fn masks(wanted: &[bool]) -> [u32; 3] {
        let mut masks = [0; 3];
        wanted
            .iter()
            .take(MOST_BRANCHES)
            .enumerate()
            .for_each(|(k, &wanted)| masks[k / 32] |= u32::from(wanted) << (k % 32));
        masks
    }

    fn wants(&self, k: usize) -> bool {
        [self.df_mask_0, self.df_mask_1, self.df_mask_2][k / 32] & (1 << (k % 32)) != 0
    }

    fn wanted(&self) -> u32 {
        [self.df_mask_0, self.df_mask_1, self.df_mask_2].into_iter().map(u32::count_ones).sum()
    }
}

/// The gradients to write. One that is not wanted may be a view of a single element.
pub struct Gradients<'a> {
    /// Of the branches, laid out like f.
    pub df: &'a View,
    /// Of the gate's logits `[tokens, branches]`.
    pub dz: &'a View,
    /// Of x.
    pub dx: &'a View,
    /// Of the gate's weight.
    pub dweight: &'a View,
    /// Of the gate's bias.
    pub dbias: &'a View,
}

/// The kernel.
pub struct GateMergeBackward;

/// All gradients of a merge that kept `p`. `params.chunk` and `params.lanes` are set here.
///
/// # Errors
/// As [`crate::gate_merge::gate_merge`].
pub fn gate_merge_backward(
    device: &Device,
    params: Params,
    [x, weight, f, p, g]: [&View; 5],
    to: &Gradients,
) -> Result<(), KernelError> {
    limit(GateMergeBackward::NAME, params.branches)?;
    let lanes = lanes(params.width, params.stride, &device.tuning());
    let params = Params { chunk: CHUNK as u32, lanes, ..params };
    let partial = View::whole(device.alloc(if params.want_gate == 0 { 1 } else { partial_len(&params) })?);
    let outputs = [to.df, to.dz, to.dx, &partial, to.dweight, to.dbias];
    launch::<GateMergeBackward>(device, &params, &[x, weight, f, p, g], &outputs)
}

fn partial_len(p: &Params) -> usize {
    p.tokens.div_ceil(p.chunk) as usize * p.branches as usize * (p.width as usize + 1)
}

/// Branches whose gates a thread sums, each piece of x read once for as many.
fn gates(p: &Params) -> u32 {
    p.branches.min(8)
}

impl Kernel for GateMergeBackward {
    type Params = Params;
    const NAME: &'static str = "gate_merge_backward";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::GATE_MERGE_BACKWARD];
    const INPUTS: &'static [&'static str] = &["x", "weight", "f", "p", "g"];
    const OUTPUTS: &'static [&'static str] = &["df", "dz", "dx", "partial", "dweight", "dbias"];

    fn constants(p: &Params) -> Vec<(&'static str, u32)> {
        [row(p.width, p.stride, p.lanes), vec![("MOST", MOST_BRANCHES as u32), ("GATES", gates(p))]].concat()
    }

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        vec![("Piece", piece(p.width, p.stride).1)]
    }

    fn passes(p: &Params) -> Vec<Pass> {
        let mut passes = vec![Pass::new("rows", p.tokens as usize)];
        if p.want_gate != 0 {
            let across = (p.width / piece(p.width, p.stride).0 + 1).div_ceil(64);
            let groups = p.tokens.div_ceil(p.chunk) * p.branches.div_ceil(gates(p)) * across;
            passes.push(Pass::new("chunks", groups as usize));
            passes.push(Pass::new("finish", (p.branches as usize * (p.width as usize + 1)).div_ceil(64)));
        }
        passes
    }

    fn cpu(params: &Params, bindings: Bindings<f32>) {
        let ([x, weight, f, p, g], [df, dz, dx, partial, dweight, dbias]) = bindings.take();
        let [width, branches, stride, chunk] =
            [params.width, params.branches, params.stride, params.chunk].map(|v| v as usize);
        // A task has some tokens' rows of everything, and reads each from memory once.
        let df = if params.wanted() > 0 {
            let strips = Strip::new(df, params.tokens as usize * width, stride).split(chunk * width);
            strips.into_iter().map(Some).collect()
        } else {
            dz.chunks(chunk * branches).map(|_| None).collect::<Vec<_>>()
        };
        let mut dx = (params.want_dx != 0).then(|| dx.chunks_mut(chunk * width));
        let mut sums = (params.want_gate != 0).then(|| partial.chunks_mut(branches * (width + 1)));
        let tasks = df.into_iter().zip(dz.chunks_mut(chunk * branches)).zip(p.chunks(chunk * branches)).enumerate();
        let tasks = tasks.map(|(i, ((df, dz), p))| Tokens {
            first: i * chunk,
            p,
            dz,
            df,
            dx: dx.as_mut().and_then(Iterator::next),
            sums: sums.as_mut().and_then(Iterator::next),
        });
        let tasks: Vec<_> = tasks.collect();
        tasks.into_par_iter().for_each(|tokens| tokens.gradients(params, x, weight, f, g));
        if params.want_gate == 0 {
            return;
        }
        for (sum, add) in [(&mut *dweight, params.add_weight), (&mut *dbias, params.add_bias)] {
            if add == 0 {
                sum.fill(0.0);
            }
        }
        for sum in partial.chunks_exact(branches * (width + 1)) {
            for (k, sum) in sum.chunks_exact(width + 1).enumerate() {
                dweight[k * width..][..width].iter_mut().zip(sum).for_each(|(dw, sum)| *dw += sum);
                dbias[k] += sum[width];
            }
        }
    }

    fn reference(params: &Params, bindings: Bindings<f64>) {
        let ([x, weight, f, p, g], [df, dz, dx, _, dweight, dbias]) = bindings.take();
        let [tokens, width, branches, stride] =
            [params.tokens, params.width, params.branches, params.stride].map(|v| v as usize);
        let gate = params.want_gate != 0;
        if gate && params.add_weight == 0 {
            dweight.fill(0.0);
        }
        if gate && params.add_bias == 0 {
            dbias.fill(0.0);
        }
        for t in 0..tokens {
            let p = &p[t * branches..][..branches];
            let slope = |k: usize| (0..width).map(|i| g[t * width + i] * f[k * stride + t * width + i]).sum::<f64>();
            let s: Vec<f64> = (0..branches).map(slope).collect();
            let mean: f64 = (0..branches).map(|k| p[k] * s[k]).sum();
            for k in 0..branches {
                let d = p[k] * (s[k] - mean);
                dz[t * branches + k] = d;
                if gate {
                    dbias[k] += d;
                }
                for i in 0..width {
                    if gate {
                        dweight[k * width + i] += d * x[t * width + i];
                    }
                    if params.wants(k) {
                        df[k * stride + t * width + i] = p[k] * g[t * width + i];
                    }
                }
            }
            if params.want_dx != 0 {
                for i in 0..width {
                    dx[t * width + i] = (0..branches).map(|k| dz[t * branches + k] * weight[k * width + i]).sum();
                }
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let (n, k) = (f64::from(p.tokens) * f64::from(p.width), f64::from(p.branches));
        let (written, dx, gate) = (f64::from(p.wanted()), f64::from(p.want_dx), f64::from(p.want_gate));
        Cost {
            flop: n * (2.0 * k + written + 2.0 * k * dx + 2.0 * k * gate),
            bytes: 4.0 * n * (1.0 + k + written + gate + dx),
        }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [
            ([1, 1, 2, 0], 0b11, 1, 1),
            ([3, 63, 2, 5], 0b10, 0, 1),
            ([65, 65, 3, 0], 0b111, 1, 1),
            ([130, 33, 5, 1], 0b10110, 1, 0),
            ([2, 17, 65, 64], (1 << 64) | 0xffff_0000_ff00, 0, 1),
            ([66, 5, 2, 0], 0, 1, 0),
            ([67, 68, 9, 4], 0b1_1011_0111, 1, 2),
            ([5, 516, 65, 0], (1 << 65) - 1, 1, 1),
            ([3, 64, 3, 2], 0b111, 1, 3),
        ];
        let large =
            [([66_000, 5, 3, 0], 0b110, 1, 1), ([1025, 2049, 3, 63], 0b111, 1, 1), ([515, 2052, 9, 0], 0b111, 1, 1)];
        sizes
            .pick(odd, large)
            .into_iter()
            .map(|(shape, wanted, dx, gate)| case(shape, built_in(shape), wanted, [dx, gate], seed))
            .collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (shape, lanes) = drawn(draw);
        let some = (0..shape[2]).fold(0, |mask, k| mask | u128::from(draw.bit()) << k);
        let wanted = draw.one_of(&[0, some, some, (1 << shape[2]) - 1]);
        case(shape, lanes, wanted, [2, 4].map(|bound| draw.below(bound) as u32), draw.seed())
    }
}

fn case(
    [tokens, width, branches, gap]: [usize; 4],
    lanes: u32,
    wanted: u128,
    [want_dx, want_gate]: [u32; 2],
    seed: u32,
) -> Case<Params> {
    let stride = tokens * width + gap;
    // What is not wanted, and gaps, must stay as they were. A gate number 2 adds to its weight's gradient, 3 to its bias'.
    let [add_weight, add_bias] = [2, 3].map(|number| u32::from(want_gate == number));
    let gate = |seed: u32, n: usize, add: u32| {
        if want_gate > 0 && add == 0 { Data::Out(n) } else { Data::F32(fill(seed, n, 1.0)) }
    };
    let params = Params {
        tokens: tokens as u32,
        width: width as u32,
        branches: branches as u32,
        stride: stride as u32,
        df_mask_0: wanted as u32,
        df_mask_1: (wanted >> 32) as u32,
        df_mask_2: (wanted >> 64) as u32,
        want_dx,
        want_gate: want_gate.min(1),
        chunk: CHUNK as u32,
        add_weight,
        add_bias,
        lanes,
    };
    Case {
        params,
        inputs: vec![
            Data::F32(fill(seed, tokens * width, 1.0)),
            Data::F32(fill(seed + 1, branches * width, 1.0)),
            Data::F32(fill(seed + 2, branches * stride, 1.0)),
            Data::F32(fill(seed + 3, tokens * branches, 1.0)),
            Data::F32(fill(seed + 4, tokens * width, 1.0)),
        ],
        outputs: vec![
            Data::F32(fill(seed + 5, branches * stride, 1.0)),
            Data::Out(tokens * branches),
            Data::F32(fill(seed + 6, tokens * width, 1.0)),
            Data::Scratch(partial_len(&params)),
            gate(seed + 7, branches * width, add_weight),
            gate(seed + 8, branches, add_bias),
        ],
    }
}

/// Some tokens' part of everything.
struct Tokens<'a> {
    /// The number of the first.
    first: usize,
    p: &'a [f32],
    dz: &'a mut [f32],
    /// `[branches, tokens * width]`.
    df: Option<Strip<'a>>,
    dx: Option<&'a mut [f32]>,
    /// Their sums for dW and db `[branches, width + 1]`.
    sums: Option<&'a mut [f32]>,
}

impl Tokens<'_> {
    fn gradients(mut self, params: &Params, x: &[f32], weight: &[f32], f: &[f32], g: &[f32]) {
        let (width, stride) = (params.width as usize, params.stride as usize);
        if let Some(sums) = &mut self.sums {
            sums.fill(0.0);
        }
        let branches = params.branches as usize;
        let stores = Stores::of(params.tokens as usize * width * (params.wanted() + params.want_dx) as usize);
        // One operand after the other, for memory is read fastest in long pieces; g and x stay in a cache meanwhile.
        let tokens = self.p.len() / branches;
        let piece = (PIECE / width).max(1);
        for first in (0..tokens).step_by(piece) {
            let last = tokens.min(first + piece);
            let at = |i: usize| (self.first + i) * width;
            let row = |i: usize| i * branches..(i + 1) * branches;
            for i in first..last {
                slopes(&mut self.dz[row(i)], &self.p[row(i)], &g[at(i)..][..width], &f[at(i)..], stride);
            }
            if let Some(df) = &mut self.df {
                for k in (0..branches).filter(|&k| params.wants(k)) {
                    let df = df.row(k)[first * width..].chunks_exact_mut(width).take(last - first);
                    for (i, df) in (first..).zip(df) {
                        let p = &self.p[i * branches + k..][..1];
                        stores.row(df, |df| weighted_sum(df, p, &g[at(i)..], width));
                    }
                }
            }
            if let Some(dx) = &mut self.dx {
                for i in first..last {
                    stores.row(&mut dx[i * width..][..width], |dx| weighted_sum(dx, &self.dz[row(i)], weight, width));
                }
            }
            if let Some(sums) = &mut self.sums {
                for i in first..last {
                    add_outer_product(sums, &self.dz[row(i)], &x[at(i)..][..width]);
                }
            }
        }
    }
}

simd! {
    /// dz of one token; its branches' outputs are `stride` elements apart in f.
    fn slopes[simd](dz: &mut [f32], p: &[f32], g: &[f32], f: &[f32], stride: usize) {
        let mut mean = 0.0;
        for (k, (dz, p)) in dz.iter_mut().zip(p).enumerate() {
            *dz = dot(simd, g, &f[k * stride..][..g.len()]);
            mean += p * *dz;
        }
        dz.iter_mut().zip(p).for_each(|(dz, p)| *dz = p * (*dz - mean));
    }

    /// sums `[branches, width + 1]` += dz_k x, and dz_k at the end of each row.
    fn add_outer_product(sums: &mut [f32], dz: &[f32], x: &[f32]) {
        let width = x.len();
        for (sum, dz) in sums.chunks_exact_mut(width + 1).zip(dz) {
            sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += dz * x);
            sum[width] += dz;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Params = Params {
        tokens: 1,
        width: 1,
        branches: 2,
        stride: 1,
        df_mask_0: 3,
        df_mask_1: 0,
        df_mask_2: 0,
        want_dx: 1,
        want_gate: 1,
        chunk: 64,
        add_weight: 0,
        add_bias: 0,
        lanes: 32,
    };

    #[test]
    fn a_frozen_gate_is_one_pass() {
        let passes = |want_gate| {
            let params = Params { tokens: 9, want_gate, ..ONE };
            GateMergeBackward::passes(&params).iter().map(|pass| pass.entry).collect::<Vec<_>>()
        };
        assert_eq!(passes(0), ["rows"]);
        assert_eq!(passes(1), ["rows", "chunks", "finish"]);
    }

    #[test]
    fn by_hand() {
        // p = (3/4, 1/4), f = (8, 4), g = 2: s = (16, 8), mean 14, dz = (3/2, -3/2).
        let inputs: Vec<&[f64]> = vec![&[5.0], &[2.0, 1.0], &[8.0, 4.0], &[0.75, 0.25], &[2.0]];
        let (mut df, mut dz, mut dx, mut partial) = ([0.0; 2], [0.0; 2], [0.0], [0.0; 4]);
        let (mut dw, mut db) = ([9.0; 2], [9.0; 2]);
        let outputs: Vec<&mut [f64]> = vec![&mut df, &mut dz, &mut dx, &mut partial, &mut dw, &mut db];
        GateMergeBackward::reference(&Params { add_bias: 1, ..ONE }, Bindings::new(inputs, outputs));
        assert_eq!((df, dz, dx, dw, db), ([1.5, 0.5], [1.5, -1.5], [1.5], [7.5, -7.5], [10.5, 7.5]));
    }
}
