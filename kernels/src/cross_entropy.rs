//! Cross-entropy of the next token, and whether it is the likeliest one; per token and as means; and, where it is wanted, the
//! gradient of the logits, in their place.
//!
//! `nll_t = lse_t - c_t[target_t]` with `lse_t = log sum exp(c_t)`; hit_t = 1 where the target has the greatest logit (the first of
//! equals). c are the logits, or with a cap `cap tanh(logits / cap)` (Gemma 2, arXiv 2408.00118, section 2). With dloss the gradient
//! of the mean nll, dlogits = dloss / tokens (softmax(c) - onehot(target)) (1 - (c / cap)^2), the last factor with a cap only.
//! A launch takes some of the tokens, so that no one needs the logits of all: logits `[rows, vocabulary]`, which become c, then
//! dlogits; targets, nll, hit `[tokens]`, dloss `[1]`, mean `[2]` = (mean nll, mean hit): the loss and the paper's next-token
//! accuracy, there after the last rows. Moves 1 unit of logits, 2 with a gradient.

use crate::attention::{bend, capped};
use crate::bindings::as_ids;
use crate::fill_hash::{fill, ids};
use crate::simd::{exp, max, simd, sum_exp};
use crate::{Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, launch};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`CrossEntropy`].
    pub struct Params {
        /// Rows of logits.
        pub rows: u32,
        /// Logits a row.
        pub vocabulary: u32,
        /// The first row's token.
        pub first: u32,
        /// Tokens in all.
        pub tokens: u32,
        /// Bound on a logit's size; 0 for none.
        pub cap: f32,
        /// 1 to put the gradient in the logits' place.
        pub gradient: u32,
    }
}

/// The kernel.
pub struct CrossEntropy;

/// nll and hit of some tokens, after the last of them the means, and the gradient if it is wanted.
///
/// # Errors
/// As [`crate::launch`].
pub fn cross_entropy(
    device: &Device,
    params: Params,
    [targets, dloss]: [&View; 2],
    outputs: [&View; 4],
) -> Result<(), KernelError> {
    launch::<CrossEntropy>(device, &params, &[targets, dloss], &outputs)
}

impl Params {
    /// The tokens of a launch.
    fn span(&self) -> std::ops::Range<usize> {
        self.first as usize..(self.first + self.rows) as usize
    }

    /// True if no tokens come after.
    fn is_last(&self) -> bool {
        self.first + self.rows == self.tokens
    }
}

impl Kernel for CrossEntropy {
    type Params = Params;
    const NAME: &'static str = "cross_entropy";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::CROSS_ENTROPY];
    const INPUTS: &'static [&'static str] = &["targets", "dloss"];
    const OUTPUTS: &'static [&'static str] = &["logits", "nll", "hit", "mean"];

    fn passes(p: &Params) -> Vec<Pass> {
        let means = p.is_last().then(|| Pass::new("means", 1));
        std::iter::once(Pass::new("rows", p.rows as usize)).chain(means).collect()
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([targets, dloss], [logits, nll, hit, mean]) = bindings.take();
        let scale = if p.gradient != 0 { Some(dloss[0] / p.tokens as f32) } else { None };
        let rows = logits.par_chunks_mut(p.vocabulary as usize).zip(&as_ids(targets)[p.span()]).with_min_len(8);
        let results = nll[p.span()].par_iter_mut().zip(&mut hit[p.span()]);
        results.zip(rows).for_each(|((nll, hit), (z, &target))| {
            let target = target as usize;
            let (greatest, total) = greatest_and_sum_exp(z, p.cap);
            let own = z[target];
            *nll = greatest + total.ln() - own;
            *hit = if is_first_of_greatest(z, target, greatest) { 1.0 } else { 0.0 };
            if let Some(scale) = scale {
                softmax(z, greatest, p.cap, scale / total);
                z[target] -= scale * slope(own, p.cap);
            }
        });
        if p.is_last() {
            let means = [nll, hit].map(|x| x.iter().map(|&v| f64::from(v)).sum::<f64>() / f64::from(p.tokens));
            mean.copy_from_slice(&means.map(|mean| mean as f32));
        }
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([targets, dloss], [logits, nll, hit, mean]) = bindings.take();
        let (vocabulary, tokens) = (p.vocabulary as usize, f64::from(p.tokens));
        for (row, token) in p.span().enumerate() {
            let target = targets[token] as usize;
            let z = &mut logits[row * vocabulary..][..vocabulary];
            let (greatest, lse) = reference_row(z, p.cap);
            nll[token] = lse - z[target];
            hit[token] = if z.iter().position(|&z| z == greatest) == Some(target) { 1.0 } else { 0.0 };
            if p.gradient != 0 {
                reference_gradient(z, lse, Some(target), p.cap, dloss[0] / tokens);
            }
        }
        if p.is_last() {
            mean[0] = nll.iter().sum::<f64>() / tokens;
            mean[1] = hit.iter().sum::<f64>() / tokens;
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.vocabulary);
        let writes = p.gradient != 0 || p.cap > 0.0;
        let flop = 4.0 + if p.gradient != 0 { 3.0 } else { 0.0 } + if p.cap > 0.0 { 3.0 } else { 0.0 };
        Cost { flop: flop * n, bytes: if writes { 8.0 * n } else { 4.0 * n } }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let case = |rows: usize, vocabulary: usize, gradient: bool| {
            let (rows, gradient) = (rows as u32, gradient.into());
            let params = Params { rows, vocabulary: vocabulary as u32, first: 0, tokens: rows, cap: 0.0, gradient };
            with(params, fill(seed, rows as usize * vocabulary, 9.0), seed)
        };
        let odd = [(1, 1), (3, 2), (65, 63), (7, 1001), (130, 257)];
        let shapes = sizes.pick(odd, [(66_000, 9), (257, 32_003)]).into_iter();
        let mut cases: Vec<_> = shapes.flat_map(|(m, n)| [false, true].map(|gradient| case(m, n, gradient))).collect();
        if sizes == Sizes::Odd {
            let mut ties = case(4, 5, false);
            ties.inputs[0] = Data::U32(vec![0, 1, 2, 4]);
            ties.outputs[0] = Data::F32([2.0, 7.0, 7.0, 1.0, 7.0].repeat(4));
            let mut great = case(9, 130, true);
            great.outputs[0] = Data::F32(fill(seed, 9 * 130, GREAT));
            let part = Params { rows: 9, vocabulary: 259, first: 4, tokens: 13, cap: 0.0, gradient: 1 };
            let bent = Params { cap: 5.0, ..part };
            let parts = [part, bent, Params { tokens: 14, gradient: 0, ..bent }];
            cases.extend([ties, great]);
            cases.extend(parts.map(|params| with(params, fill(seed, 9 * 259, 9.0), seed)));
        }
        cases
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (rows, vocabulary) = draw.rows();
        let [before, after] = [(); 2].map(|()| if draw.bit() { draw.below(50) } else { 0 });
        let params = Params {
            rows: rows as u32,
            vocabulary: vocabulary as u32,
            first: before as u32,
            tokens: (before + rows + after) as u32,
            cap: draw.one_of(&[0.0, 0.0, 5.0, 30.0]),
            gradient: draw.bit().into(),
        };
        // A cap bends all great logits to itself, in f32 to the same number, and then the first of equals is another.
        let scale = draw.one_of(&[1.0, 9.0, if params.cap > 0.0 { 9.0 } else { GREAT }]);
        with(params, fill(draw.seed(), rows * vocabulary, scale), draw.seed())
    }
}

/// Logits to here: without the shift by the greatest their exponentials would be infinite.
pub(crate) const GREAT: f32 = 300.0;

/// A case of these logits; what other launches have left of tokens that are not its own stays.
fn with(params: Params, logits: Vec<f32>, seed: u32) -> Case<Params> {
    let tokens = params.tokens as usize;
    let kept = |seed| Data::F32(fill(seed, tokens, 1.0));
    Case {
        params,
        inputs: vec![Data::U32(ids(seed + 1, tokens, params.vocabulary)), Data::F32(vec![3.0])],
        outputs: vec![Data::F32(logits), kept(seed + 2), kept(seed + 3), Data::F32(vec![1.0, 2.0])],
    }
}

/// Bends a row of logits in its place, for references; its greatest and its log sum exp.
pub(crate) fn reference_row(z: &mut [f64], cap: f32) -> (f64, f64) {
    z.iter_mut().for_each(|z| *z = capped(*z, cap));
    let greatest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (greatest, greatest + z.iter().map(|z| (z - greatest).exp()).sum::<f64>().ln())
}

/// Puts the gradient in the place of a row of bent logits, for references; the target may be none of them.
pub(crate) fn reference_gradient(z: &mut [f64], lse: f64, target: Option<usize>, cap: f32, scale: f64) {
    for (i, z) in z.iter_mut().enumerate() {
        let own = if Some(i) == target { 1.0 } else { 0.0 };
        let slope = if cap > 0.0 { 1.0 - (*z / f64::from(cap)).powi(2) } else { 1.0 };
        *z = scale * ((*z - lse).exp() - own) * slope;
    }
}

/// True if the target has the greatest of these logits, and no other before it has.
pub(crate) fn is_first_of_greatest(z: &[f32], target: usize, greatest: f32) -> bool {
    z[target] == greatest && !z[..target].contains(&greatest)
}

/// The slope of a cap where it gave `bent`.
#[inline(always)]
pub(crate) fn slope(bent: f32, cap: f32) -> f32 {
    if cap > 0.0 { 1.0 - (bent / cap) * (bent / cap) } else { 1.0 }
}

simd! {
    /// Of logits, bent by the cap in their place.
    pub(crate) fn greatest_and_sum_exp[simd](logits: &mut [f32], cap: f32) -> (f32, f32) {
        bend(logits, cap);
        let greatest = max(simd, logits);
        (greatest, sum_exp(logits, greatest))
    }

    /// Exponentials in the place of bent logits, which `shift` is taken from before, times `scale` and the slope of the cap.
    pub(crate) fn softmax(z: &mut [f32], shift: f32, cap: f32, scale: f32) {
        if cap > 0.0 {
            z.iter_mut().for_each(|z| *z = exp(*z - shift) * slope(*z, cap) * scale);
        } else {
            z.iter_mut().for_each(|z| *z = exp(*z - shift) * scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // softmax(0, ln 3) = (1/4, 3/4); two tokens of three, so that each weighs a third.
        let (mut nll, mut hit, mut mean) = ([0.0, 0.0, 7.0], [0.0, 0.0, 1.0], [0.0; 2]);
        let ln3 = 3f64.ln();
        let mut logits = [0.0, ln3, 0.0, ln3];
        let first = Params { rows: 2, vocabulary: 2, first: 0, tokens: 3, cap: 0.0, gradient: 1 };
        let outputs: Vec<&mut [f64]> = vec![&mut logits, &mut nll, &mut hit, &mut mean];
        CrossEntropy::reference(&first, Bindings::new(vec![&[0.0, 1.0, 0.0], &[2.0]], outputs));
        approx::assert_relative_eq!(nll[0], 4f64.ln(), epsilon = 1e-12);
        approx::assert_relative_eq!(nll[1], (4.0f64 / 3.0).ln(), epsilon = 1e-12);
        assert_eq!((nll[2], hit, mean), (7.0, [0.0, 1.0, 1.0], [0.0; 2]), "the third token comes later");
        for (d, want) in logits.into_iter().zip([-0.5, 0.5, 1.0 / 6.0, -1.0 / 6.0]) {
            approx::assert_relative_eq!(d, want, epsilon = 1e-12);
        }
        // The last: capped at c = ln 3 the logit atanh(1/2) c becomes c / 2, where the slope is 3/4; probabilities of 0 and
        // c / 2 are as 1 to sqrt 3.
        let mut logits = [0.0, 0.5f64.atanh() * f64::from(3f32.ln())];
        let last = Params { rows: 1, first: 2, cap: 3f32.ln(), ..first };
        let outputs: Vec<&mut [f64]> = vec![&mut logits, &mut nll, &mut hit, &mut mean];
        CrossEntropy::reference(&last, Bindings::new(vec![&[0.0, 1.0, 0.0], &[3.0]], outputs));
        approx::assert_relative_eq!(nll[2], (1.0 + 3f64.sqrt()).ln(), epsilon = 1e-6);
        approx::assert_relative_eq!(logits[1], 0.75 * 3f64.sqrt() / (1.0 + 3f64.sqrt()), epsilon = 1e-6);
        approx::assert_relative_eq!(mean[0], nll.iter().sum::<f64>() / 3.0, epsilon = 1e-12);
        approx::assert_relative_eq!(mean[1], 1.0 / 3.0, epsilon = 1e-12);
    }
}
