//! Cross-entropy where each device has a part of the vocabulary, as Megatron-LM computes it (arXiv 1909.08053, section 3): what a part's
//! logits say of each token, and, once that of all parts is known, their gradient in their place.
//!
//! Of logits c `[rows, vocabulary]`, those of the ids from `offset` on, or with a cap `cap tanh(logits / cap)`, the first pass keeps for
//! each token (greatest c, log sum exp(c), the target's c, code). code = 0 where the target is no id of the part, whose c is 0 then,
//! 1 where it is one, 2 where it is the first of the greatest as well. The sums of parts are joined outside: `lse_t = log sum exp(lse)`
//! over them. The second is given c and lse `[tokens]`, and makes of c
//! `dloss / tokens (exp(c - lse_t) - [column + offset = target_t]) (1 - (c / cap)^2)`, the last factor with a cap only.
//! A launch takes some of the tokens, as in [`mod@crate::cross_entropy`]: targets, of all parts, `[tokens]`, dloss `[1]`, stats
//! `[tokens, 4]`, which the second pass leaves as they are. Either moves 1 unit of logits there, and a cap or a gradient 1 back.

use crate::attention::bend;
use crate::bindings::as_ids;
use crate::cross_entropy::{
    GREAT, greatest_and_sum_exp, is_first_of_greatest, reference_gradient, reference_row, slope, softmax,
};
use crate::fill_hash::{fill, ids};
use crate::{Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, launch};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`CrossEntropyPart`].
    pub struct Params {
        /// Rows of logits.
        pub rows: u32,
        /// Logits a row: ids of the part.
        pub vocabulary: u32,
        /// The first of them.
        pub offset: u32,
        /// The first row's token.
        pub first: u32,
        /// Tokens in all.
        pub tokens: u32,
        /// Bound on a logit's size; 0 for none.
        pub cap: f32,
        /// 1 for the gradient in the place of bent logits, 0 for what comes before.
        pub gradient: u32,
    }
}

/// The kernel.
pub struct CrossEntropyPart;

/// Statistics of some tokens over a part of the vocabulary, or the gradient of its logits. Inputs are targets, dloss and lse, of which
/// statistics read the first alone; outputs are logits and stats.
///
/// # Errors
/// As [`crate::launch`].
pub fn cross_entropy_part(
    device: &Device,
    params: Params,
    inputs: [&View; 3],
    outputs: [&View; 2],
) -> Result<(), KernelError> {
    launch::<CrossEntropyPart>(device, &params, &inputs, &outputs)
}

impl Params {
    /// The tokens of a launch.
    fn span(&self) -> std::ops::Range<usize> {
        self.first as usize..(self.first + self.rows) as usize
    }

    /// The column of a target, if the part has it.
    fn column(&self, target: u32) -> Option<usize> {
        target.checked_sub(self.offset).filter(|column| *column < self.vocabulary).map(|column| column as usize)
    }
}

impl Kernel for CrossEntropyPart {
    type Params = Params;
    const NAME: &'static str = "cross_entropy_part";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::CROSS_ENTROPY_PART];
    const INPUTS: &'static [&'static str] = &["targets", "dloss", "lse"];
    const OUTPUTS: &'static [&'static str] = &["logits", "stats"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new(if p.gradient != 0 { "gradient" } else { "statistics" }, p.rows as usize)]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([targets, dloss, lse], [logits, stats]) = bindings.take();
        let rows = logits.par_chunks_mut(p.vocabulary as usize).zip(&as_ids(targets)[p.span()]).with_min_len(8);
        if p.gradient != 0 {
            let scale = dloss[0] / p.tokens as f32;
            rows.zip(&lse[p.span()]).for_each(|((z, &target), &lse)| {
                let own = p.column(target).map(|target| (target, scale * slope(z[target], p.cap)));
                softmax(z, lse, p.cap, scale);
                if let Some((target, own)) = own {
                    z[target] -= own;
                }
            });
            return;
        }
        let stats = &mut stats.as_chunks_mut::<4>().0[p.span()];
        stats.par_iter_mut().zip(rows).for_each(|(stats, (z, &target))| {
            let (greatest, total) = greatest_and_sum_exp(z, p.cap);
            let [own, code] = match p.column(target) {
                Some(target) if is_first_of_greatest(z, target, greatest) => [greatest, 2.0],
                Some(target) => [z[target], 1.0],
                None => [0.0; 2],
            };
            *stats = [greatest, greatest + total.ln(), own, code];
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([targets, dloss, lse], [logits, stats]) = bindings.take();
        for (row, token) in p.span().enumerate() {
            let target = p.column(targets[token] as u32);
            let z = &mut logits[row * p.vocabulary as usize..][..p.vocabulary as usize];
            if p.gradient != 0 {
                reference_gradient(z, lse[token], target, p.cap, dloss[0] / f64::from(p.tokens));
                continue;
            }
            let (greatest, lse) = reference_row(z, p.cap);
            let likeliest = z.iter().position(|&z| z == greatest);
            let code = match target {
                None => 0.0,
                Some(_) if target == likeliest => 2.0,
                Some(_) => 1.0,
            };
            let own = target.map_or(0.0, |target| z[target]);
            stats[4 * token..][..4].copy_from_slice(&[greatest, lse, own, code]);
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.vocabulary);
        let writes = p.gradient != 0 || p.cap > 0.0;
        let flop = 4.0 + if p.cap > 0.0 { 3.0 } else { 0.0 };
        Cost { flop: flop * n, bytes: if writes { 8.0 * n } else { 4.0 * n } }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        // The part in the middle of a vocabulary of twice its size.
        let case = |[rows, vocabulary]: [u32; 2], gradient: u32, scale: f32| {
            let params =
                Params { rows, vocabulary, offset: vocabulary / 2, first: 0, tokens: rows, cap: 0.0, gradient };
            with(params, 2 * vocabulary + 1, scale, seed)
        };
        let both = |shape, scale| [0, 1].map(|gradient| case(shape, gradient, scale));
        let odd = [[1, 1], [3, 2], [65, 63], [7, 1_001], [130, 257]];
        let shapes = sizes.pick(odd, [[66_000, 9], [257, 32_003]]).into_iter();
        let mut cases: Vec<_> = shapes.flat_map(|shape| both(shape, 9.0)).collect();
        if sizes == Sizes::Odd {
            let mut ties = case([8, 5], 0, 1.0).with(|params| Params { offset: 10, ..params });
            // Ids at both ends of the part, beside it and far from it.
            ties.inputs[0] = Data::U32(vec![10, 11, 12, 14, 9, 15, 0, u32::MAX]);
            ties.outputs[0] = Data::F32([2.0, 7.0, 7.0, 1.0, 7.0].repeat(8));
            cases.push(ties);
            cases.extend(both([9, 130], GREAT));
            let part = Params { rows: 9, vocabulary: 259, offset: 100, first: 4, tokens: 13, cap: 0.0, gradient: 1 };
            let bent = Params { cap: 5.0, ..part };
            let parts = [part, bent, Params { tokens: 14, gradient: 0, ..bent }, Params { offset: 0, ..bent }];
            cases.extend(parts.map(|params| with(params, 400, 9.0, seed)));
        }
        cases
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (rows, vocabulary) = draw.rows();
        let [before, after] = [(); 2].map(|()| if draw.bit() { draw.below(50) } else { 0 });
        let [offset, beyond] = [(); 2].map(|()| if draw.bit() { draw.size(2 * vocabulary) } else { 0 });
        let params = Params {
            rows: rows as u32,
            vocabulary: vocabulary as u32,
            offset: offset as u32,
            first: before as u32,
            tokens: (before + rows + after) as u32,
            cap: draw.one_of(&[0.0, 0.0, 5.0, 30.0]),
            gradient: draw.bit().into(),
        };
        // As in the loss over a whole vocabulary, a cap has no great logits to bend to one number.
        let scale = draw.one_of(&[1.0, 9.0, if params.cap > 0.0 { 9.0 } else { GREAT }]);
        with(params, (offset + vocabulary + beyond) as u32, scale, draw.seed())
    }
}

/// A case of logits up to `scale` and targets of a vocabulary of `all`; where a gradient is wanted, logits are bent, and the other
/// parts have some of the sum. What is of other launches' tokens stays.
fn with(params: Params, all: u32, scale: f32, seed: u32) -> Case<Params> {
    let tokens = params.tokens as usize;
    let mut logits = fill(seed, params.rows as usize * params.vocabulary as usize, scale);
    let mut lse = fill(seed + 2, tokens, 0.9);
    if params.gradient != 0 {
        bend(&mut logits, params.cap);
        for (lse, z) in lse[params.span()].iter_mut().zip(logits.chunks(params.vocabulary as usize)) {
            let mut z: Vec<f64> = z.iter().copied().map(f64::from).collect();
            *lse += 1.0 + reference_row(&mut z, 0.0).1 as f32;
        }
    }
    Case {
        params,
        inputs: vec![Data::U32(ids(seed + 1, tokens, all)), Data::F32(vec![3.0]), Data::F32(lse)],
        outputs: vec![Data::F32(logits), Data::F32(fill(seed + 3, 4 * tokens, 1.0))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Ids 3 and 4 of some, with logits 0 and ln 3: sums of 4. Targets are 4, the greatest; 3; and 2, which is elsewhere.
        let ln3 = 3f64.ln();
        let (targets, mut stats) = ([9.0, 4.0, 3.0, 2.0], [7.0; 16]);
        let mut logits = [0.0, ln3].repeat(3);
        let params = Params { rows: 3, vocabulary: 2, offset: 3, first: 1, tokens: 4, cap: 0.0, gradient: 0 };
        // What is 9 here is not read.
        let inputs: Vec<&[f64]> = vec![&targets, &[9.0], &[9.0]];
        CrossEntropyPart::reference(&params, Bindings::new(inputs, vec![&mut logits, &mut stats]));
        let ln4 = 4f64.ln();
        let want = [7.0, 7.0, 7.0, 7.0, ln3, ln4, ln3, 2.0, ln3, ln4, 0.0, 1.0, ln3, ln4, 0.0, 0.0];
        for (got, want) in stats.into_iter().zip(want) {
            approx::assert_relative_eq!(got, want, epsilon = 1e-12);
        }
        // The other parts have as much again: of 8, these have 1 and 3. Each token of four weighs 2 / 4.
        let (gradient, lse) = (Params { gradient: 1, ..params }, [9.0, 8f64.ln(), 8f64.ln(), 8f64.ln()]);
        let inputs: Vec<&[f64]> = vec![&targets, &[2.0], &lse];
        CrossEntropyPart::reference(&gradient, Bindings::new(inputs, vec![&mut logits, &mut stats]));
        for (got, want) in logits.iter().zip([1.0, -5.0, -7.0, 3.0, 1.0, 3.0]) {
            approx::assert_relative_eq!(*got, want / 16.0, epsilon = 1e-12);
        }
        assert_eq!(stats[..4], [7.0; 4]);
        approx::assert_relative_eq!(stats[5], ln4, epsilon = 1e-12);
    }

    #[test]
    fn by_hand_with_a_cap() {
        // Capped at c = ln 3 the logit atanh(1/2) c becomes c / 2, where the slope is 3/4.
        let cap = 3f32.ln();
        let (mut logits, mut stats) = ([0.0, 0.5f64.atanh() * f64::from(cap)], [0.0; 4]);
        let params = Params { rows: 1, vocabulary: 2, offset: 0, first: 0, tokens: 1, cap, gradient: 0 };
        let root = 3f64.sqrt();
        CrossEntropyPart::reference(&params, Bindings::new(vec![&[1.0], &[], &[]], vec![&mut logits, &mut stats]));
        for (got, want) in stats.into_iter().zip([root.ln(), (1.0 + root).ln(), root.ln(), 2.0]) {
            approx::assert_relative_eq!(got, want, epsilon = 1e-6);
        }
        // Bent already, they are not bent again: of a sum of 2 (1 + sqrt 3), these have 1 and sqrt 3.
        let (gradient, lse) = (Params { gradient: 1, ..params }, (2.0 + 2.0 * root).ln());
        let inputs: Vec<&[f64]> = vec![&[1.0], &[3.0], std::slice::from_ref(&lse)];
        CrossEntropyPart::reference(&gradient, Bindings::new(inputs, vec![&mut logits, &mut stats]));
        approx::assert_relative_eq!(logits[0], 3.0 / (2.0 + 2.0 * root), epsilon = 1e-6);
        approx::assert_relative_eq!(logits[1], 3.0 * 0.75 * (root / (2.0 + 2.0 * root) - 1.0), epsilon = 1e-6);
    }
}
