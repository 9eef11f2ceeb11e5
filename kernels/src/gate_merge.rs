//! The fused gate merge, forward: y = sum_k p_k f_k with p = softmax(x W^T + b), per token (arXiv 2410.10181, section 2;
//! branch 0 is the backbone).
//!
//! With `top` < K a token is merged of the `top` branches of the greatest logits alone, of equals the first: the softmax is over those,
//! and p of the others is 0 (Shazeer et al., arXiv 1701.06538, equations 3 to 5, without noise). All branches are computed either way.
//!
//! x, y `[tokens, width]`, weight `[branches, width]`, bias `[branches]`, p `[tokens, branches]`, and f the K branches'
//! outputs in one buffer, branch k from element k * stride on. One pass moves K + 2 units of tokens x width; a gate, a
//! softmax and a multiply-add chain launched apart move 5K - 2.

use crate::simd::{dot, simd};
use crate::softmax::softmax_row;
use crate::stream::Stores;
use crate::{
    Bindings, Capabilities, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, Tuning, View,
    fill_hash::fill, launch,
};
use rayon::prelude::*;

/// The most branches that the kernels take, the backbone included.
pub const MOST_BRANCHES: usize = 65;

/// Tokens of a task.
const TASK: usize = 16;

crate::kernel::params! {
    /// Parameters of [`GateMerge`].
    pub struct Params {
        /// Tokens.
        pub tokens: u32,
        /// Width of the residual stream.
        pub width: u32,
        /// Branches, K.
        pub branches: u32,
        /// Elements from one branch's output to the next's.
        pub stride: u32,
        /// Branches that a token keeps; K for all.
        pub top: u32,
        /// Threads that have a token's row, on a GPU; [`gate_merge`] chooses them.
        pub lanes: u32,
    }
}

/// The kernel.
pub struct GateMerge;

/// Merges the branches and keeps the weights p.
///
/// # Errors
/// As [`crate::launch`]; no branches, or more than [`MOST_BRANCHES`]; none kept, or more than there are.
pub fn gate_merge(
    device: &Device,
    params: Params,
    [x, weight, bias, f]: [&View; 4],
    [y, p]: [&View; 2],
) -> Result<(), KernelError> {
    limit(GateMerge::NAME, params.branches)?;
    if !(1..=params.branches).contains(&params.top) {
        let what = format!("the top {} of {} branches; keep 1 to all of them", params.top, params.branches);
        return Err(KernelError::Launch { kernel: GateMerge::NAME, what });
    }
    let params = Params { lanes: lanes(params.width, params.stride, &device.tuning()), ..params };
    launch::<GateMerge>(device, &params, &[x, weight, bias, f], &[y, p])
}

/// How a shader's `lanes` threads hold a row of `width` elements, in tensors whose rows begin at multiples of `stride` and `width`:
/// its constants.
pub(crate) fn row(width: u32, stride: u32, lanes: u32) -> Vec<(&'static str, u32)> {
    vec![("PIECE", piece(width, stride).0), ("WIDTH", width), ("LANES", lanes)]
}

/// Threads for a row: about so many pieces each, for several reads under way and few threads to add up in the end, but no fewer
/// threads than a subgroup's.
pub(crate) fn lanes(width: u32, stride: u32, tuning: &Tuning) -> u32 {
    let pieces = tuning.merge_pieces.max(1) * piece(width, stride).0;
    width.div_ceil(pieces).next_power_of_two().clamp(tuning.merge_lanes.clamp(8, 256), 256)
}

/// What it reads and writes at once: elements and type.
pub(crate) fn piece(width: u32, stride: u32) -> (u32, &'static str) {
    if width.is_multiple_of(4) && stride.is_multiple_of(4) { (4, "vec4f") } else { (1, "f32") }
}

/// The shaders keep the branches' weights in workgroup memory of fixed size.
pub(crate) fn limit(kernel: &'static str, branches: u32) -> Result<(), KernelError> {
    if (1..=MOST_BRANCHES).contains(&(branches as usize)) {
        return Ok(());
    }
    let what = format!("{branches} branches; 1 to {MOST_BRANCHES} can be merged, the backbone and its experts");
    Err(KernelError::Launch { kernel, what })
}

impl Kernel for GateMerge {
    type Params = Params;
    const NAME: &'static str = "gate_merge";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::GATE_MERGE];
    const INPUTS: &'static [&'static str] = &["x", "weight", "bias", "f"];
    const OUTPUTS: &'static [&'static str] = &["y", "p"];

    fn constants(p: &Params) -> Vec<(&'static str, u32)> {
        [row(p.width, p.stride, p.lanes), vec![("MOST", MOST_BRANCHES as u32)]].concat()
    }

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        vec![("Piece", piece(p.width, p.stride).1)]
    }

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", p.tokens as usize)]
    }

    fn cpu(params: &Params, bindings: Bindings<f32>) {
        let ([x, weight, bias, f], [y, p]) = bindings.take();
        let [width, branches, stride] = [params.width, params.branches, params.stride].map(|v| v as usize);
        let written = y.len();
        let tasks = y.par_chunks_mut(TASK * width).zip(p.par_chunks_mut(TASK * branches)).enumerate();
        tasks.for_each(|(task, (y, p))| {
            let stores = Stores::of(written);
            let rows = y.chunks_exact_mut(width).zip(p.chunks_exact_mut(branches));
            for (token, (y, p)) in (TASK * task..).zip(rows) {
                weigh(p, &x[token * width..][..width], weight, bias, params.top as usize);
                stores.row(y, |y| weighted_sum(y, p, &f[token * width..], stride));
            }
        });
    }

    fn reference(params: &Params, bindings: Bindings<f64>) {
        let ([x, weight, bias, f], [y, p]) = bindings.take();
        let [tokens, width, branches, stride] =
            [params.tokens, params.width, params.branches, params.stride].map(|v| v as usize);
        for token in 0..tokens {
            let x = &x[token * width..][..width];
            let logit = |k: usize| bias[k] + (0..width).map(|i| x[i] * weight[k * width + i]).sum::<f64>();
            let mut logits: Vec<f64> = (0..branches).map(logit).collect();
            keep_greatest(&mut logits, params.top as usize, f64::NEG_INFINITY);
            let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = logits.iter().map(|z| (z - greatest).exp()).sum();
            for k in 0..branches {
                p[token * branches + k] = (logits[k] - greatest).exp() / total;
            }
            for i in 0..width {
                y[token * width + i] =
                    (0..branches).map(|k| p[token * branches + k] * f[k * stride + token * width + i]).sum();
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let (n, k) = (f64::from(p.tokens) * f64::from(p.width), f64::from(p.branches));
        Cost { flop: n * (4.0 * k - 1.0), bytes: 4.0 * n * (k + 2.0) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [
            [1, 1, 2, 0],
            [3, 63, 2, 5],
            [65, 65, 3, 0],
            [7, 257, 9, 1],
            [2, 33, 65, 64],
            [5, 516, 7, 4],
            [3, 68, 65, 0],
            [4, 64, 3, 2],
        ];
        let large = [[66_000, 5, 3, 0], [1025, 2049, 3, 63], [515, 2052, 9, 0], [4_100, 2_049, 2, 0]];
        let cases = sizes.pick(odd, large).into_iter().map(|shape| case(shape, built_in(shape), 0.0, seed));
        let far = [FAR, -FAR].map(|shift| case([3, 63, 3, 5], LANES[1], shift, seed));
        let few = [([7, 64, 3, 0], 1), ([65, 65, 9, 1], 2), ([5, 516, 65, 4], 8), ([300, 4, 3, 0], 2)];
        let few = few.map(|(shape, top)| sparse(case(shape, built_in(shape), 0.0, seed), top));
        cases.chain(far).chain(few).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (shape, lanes) = drawn(draw);
        let case = case(shape, lanes, draw.one_of(&[0.0, FAR, -FAR]), draw.seed());
        let branches = case.params.branches as usize;
        if draw.bit() { case } else { sparse(case, draw.size(branches)) }
    }
}

/// Biases so great that the exponentials of logits alone are in no f32.
const FAR: f32 = 100.0;

/// Threads of a row in draws.
const LANES: [u32; 4] = [8, 32, 64, 256];

/// Tokens, width, branches and gap of a draw, and threads of a row. Width and threads, which are compiled in, are some of few.
pub(crate) fn drawn(draw: &mut Draw) -> ([usize; 4], u32) {
    let width = draw.one_of(&[1, 3, 4, 33, 64, 65, 128, 257, 516, 1030]);
    let shape = [draw.size((20_000 / width).min(200)), width, draw.size(MOST_BRANCHES), draw.gap()];
    (shape, draw.one_of(&LANES))
}

/// The threads of a row where nothing has been tuned.
pub(crate) fn built_in([tokens, width, _, gap]: [usize; 4]) -> u32 {
    lanes(width as u32, (tokens * width + gap) as u32, &Tuning::built_in(&Capabilities::default()))
}

fn case([tokens, width, branches, gap]: [usize; 4], lanes: u32, shift: f32, seed: u32) -> Case<Params> {
    let stride = tokens * width + gap;
    Case {
        params: Params {
            tokens: tokens as u32,
            width: width as u32,
            branches: branches as u32,
            stride: stride as u32,
            top: branches as u32,
            lanes,
        },
        inputs: vec![
            Data::F32(fill(seed, tokens * width, 1.0)),
            Data::F32(fill(seed + 1, branches * width, (3.0 / width as f32).sqrt())),
            Data::F32(fill(seed + 2, branches, 0.1).into_iter().map(|bias| bias + shift).collect()),
            Data::F32(fill(seed + 3, branches * stride, 1.0)),
        ],
        outputs: vec![Data::Out(tokens * width), Data::Out(tokens * branches)],
    }
}

/// The case with the `top` branches kept, and gates of round numbers: their logits are the same however they are rounded, and often equal.
fn sparse(mut case: Case<Params>, top: usize) -> Case<Params> {
    case.params.top = top as u32;
    for (input, parts) in case.inputs.iter_mut().zip([8.0, 64.0, 64.0]) {
        if let Data::F32(values) = input {
            values.iter_mut().for_each(|value| *value = (*value * parts).round() / parts);
        }
    }
    case
}

/// Leaves the `top` greatest logits, of equals the first, and makes all others the `lowest`.
fn keep_greatest<T: Copy + PartialOrd>(logits: &mut [T], top: usize, lowest: T) {
    let mut is_kept = [true; MOST_BRANCHES];
    for (k, is_kept) in is_kept[..logits.len()].iter_mut().enumerate() {
        let before = |&(j, z): &(usize, &T)| *z > logits[k] || (*z == logits[k] && j < k);
        *is_kept = logits.iter().enumerate().filter(before).count() < top;
    }
    logits.iter_mut().zip(is_kept).filter(|(_, is_kept)| !is_kept).for_each(|(z, _)| *z = lowest);
}

simd! {
    /// p of one token.
    fn weigh[simd](p: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32], top: usize) {
        for ((p, weight), bias) in p.iter_mut().zip(weight.chunks_exact(x.len())).zip(bias) {
            *p = dot(simd, x, weight) + bias;
        }
        if top < p.len() {
            keep_greatest(p, top, f32::NEG_INFINITY);
        }
        softmax_row(p);
    }

    /// y = sum_k p_k f_k, where f_k is the row that begins k * stride elements into f.
    pub(crate) fn weighted_sum(y: &mut [f32], p: &[f32], f: &[f32], stride: usize) {
        let row = |k: usize| &f[k * stride..][..y.len()];
        // Some at a time, so that y passes through the registers once for as many.
        match p.len() {
            1 => add_rows(y, [p[0]], [row(0)], false),
            2 => add_rows(y, [p[0], p[1]], [row(0), row(1)], false),
            _ => add_rows(y, [p[0], p[1], p[2]], [row(0), row(1), row(2)], false),
        }
        for k in 3..p.len() {
            add_rows(y, [p[k]], [&f[k * stride..][..y.len()]], true);
        }
    }
}

/// y = sum_n p_n f_n, or += with `accumulate`.
#[inline(always)]
fn add_rows<const N: usize>(y: &mut [f32], p: [f32; N], f: [&[f32]; N], accumulate: bool) {
    let f = f.map(|f| &f[..y.len()]);
    for i in 0..y.len() {
        let mut sum = p[0] * f[0][i];
        for n in 1..N {
            sum += p[n] * f[n][i];
        }
        y[i] = if accumulate { y[i] + sum } else { sum };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate_merge_backward::GateMergeBackward;
    use crate::stream::MANY;

    #[test]
    fn some_cases_are_written_around_the_caches() {
        let y = |case: &Case<Params>| case.outputs[0].count();
        assert!(GateMerge::cases(Sizes::Large, 1).iter().any(|case| y(case) >= MANY));
        let gradients = |p: &crate::gate_merge_backward::Params| (p.branches + p.want_dx) * p.tokens * p.width;
        let backward = GateMergeBackward::cases(Sizes::Large, 1);
        assert!(backward.iter().any(|case| gradients(&case.params) as usize >= MANY));
    }

    #[test]
    fn by_hand() {
        // Logits ln 3 and 0: weights 3/4 and 1/4 of branches 8 and 4.
        let (mut y, mut p) = ([0.0], [0.0; 2]);
        let params = Params { tokens: 1, width: 1, branches: 2, stride: 1, top: 2, lanes: 32 };
        let inputs: Vec<&[f64]> = vec![&[1.0], &[1.0, 0.0], &[0.098_612_288_668_109_78, 0.0], &[8.0, 4.0]];
        GateMerge::reference(&params, Bindings::new(inputs, vec![&mut y, &mut p]));
        approx::assert_relative_eq!(p[0], 0.75, epsilon = 1e-12);
        approx::assert_relative_eq!(y[0], 7.0, epsilon = 1e-12);
    }

    #[test]
    fn the_greatest_are_kept_and_of_equals_the_first() {
        let kept = |top| {
            let mut logits = [1.0, 3.0, 1.0, 3.0, -2.0];
            keep_greatest(&mut logits, top, f64::NEG_INFINITY);
            logits.map(f64::is_finite)
        };
        assert_eq!(kept(1), [false, true, false, false, false]);
        assert_eq!(kept(2), [false, true, false, true, false]);
        assert_eq!(kept(3), [true, true, false, true, false]);
        // Logits 0, 0, 1: of the top two the last and the first are left, e / (1 + e) and 1 / (1 + e).
        let (mut y, mut p) = ([0.0], [0.0; 3]);
        let params = Params { tokens: 1, width: 1, branches: 3, stride: 1, top: 2, lanes: 32 };
        let inputs: Vec<&[f64]> = vec![&[1.0], &[0.0, 0.0, 1.0], &[0.0; 3], &[1.0, 100.0, 2.0]];
        GateMerge::reference(&params, Bindings::new(inputs, vec![&mut y, &mut p]));
        let share = 1f64.exp() / (1.0 + 1f64.exp());
        approx::assert_relative_eq!(p[..], [1.0 - share, 0.0, share], epsilon = 1e-12);
        approx::assert_relative_eq!(y[0], 1.0 + share, epsilon = 1e-12);
    }
}
