//! Cross-entropy of the next token, and whether it is the likeliest one; per row and as means over rows.
//!
//! `nll_t = lse_t - logits_t[target_t]` with `lse_t = log sum exp(logits_t)`; hit_t = 1 where the target has the greatest logit
//! (the first of equals). logits `[rows, vocabulary]`, targets, nll, hit, lse `[rows]`, mean `[2]` = (mean nll, mean hit):
//! the loss and the paper's next-token accuracy. Moves 1 unit of logits.

use crate::bindings::as_ids;
use crate::fill_hash::{fill, ids};
use crate::simd::{max, simd, sum_exp};
use crate::{Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, launch};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`CrossEntropy`].
    pub struct Params {
        /// Rows.
        pub rows: u32,
        /// Logits a row.
        pub vocabulary: u32,
    }
}

impl Params {
    /// Of `rows` rows of logits.
    pub fn new(logits: &View, targets: &View) -> Self {
        Self { rows: targets.len as u32, vocabulary: (logits.len / targets.len.max(1)) as u32 }
    }
}

/// The kernel.
pub struct CrossEntropy;

/// nll, hit, lse and the means.
///
/// # Errors
/// As [`crate::launch`].
pub fn cross_entropy(
    device: &Device,
    logits: &View,
    targets: &View,
    [nll, hit, lse, mean]: [&View; 4],
) -> Result<(), KernelError> {
    launch::<CrossEntropy>(device, &Params::new(logits, targets), &[logits, targets], &[nll, hit, lse, mean])
}

impl Kernel for CrossEntropy {
    type Params = Params;
    const NAME: &'static str = "cross_entropy";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::CROSS_ENTROPY];
    const INPUTS: &'static [&'static str] = &["logits", "targets"];
    const OUTPUTS: &'static [&'static str] = &["nll", "hit", "lse", "mean"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("rows", p.rows as usize), Pass::new("means", 1)]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([logits, targets], [nll, hit, lse, mean]) = bindings.take();
        let outputs = nll.par_iter_mut().zip(hit.par_iter_mut()).zip(lse.par_iter_mut());
        let rows = logits.par_chunks(p.vocabulary as usize).zip(as_ids(targets)).with_min_len(8);
        outputs.zip(rows).for_each(|(((nll, hit), lse), (logits, &target))| {
            let (greatest, total) = greatest_and_sum_exp(logits);
            *lse = greatest + total.ln();
            let own = logits[target as usize];
            *nll = *lse - own;
            let first_of_equals = own == greatest && !logits[..target as usize].contains(&greatest);
            *hit = if first_of_equals { 1.0 } else { 0.0 };
        });
        mean[0] = (nll.iter().map(|&v| f64::from(v)).sum::<f64>() / f64::from(p.rows)) as f32;
        mean[1] = (hit.iter().map(|&v| f64::from(v)).sum::<f64>() / f64::from(p.rows)) as f32;
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([logits, targets], [nll, hit, lse, mean]) = bindings.take();
        let (rows, vocabulary) = (p.rows as usize, p.vocabulary as usize);
        for row in 0..rows {
            let logits = &logits[row * vocabulary..][..vocabulary];
            let target = targets[row] as usize;
            let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            lse[row] = greatest + logits.iter().map(|z| (z - greatest).exp()).sum::<f64>().ln();
            nll[row] = lse[row] - logits[target];
            hit[row] = if logits.iter().position(|&z| z == greatest) == Some(target) { 1.0 } else { 0.0 };
        }
        mean[0] = nll.iter().sum::<f64>() / rows as f64;
        mean[1] = hit.iter().sum::<f64>() / rows as f64;
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.vocabulary);
        Cost { flop: 4.0 * n, bytes: 4.0 * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let case = |shape: (usize, usize)| case(shape, 9.0, seed);
        let mut ties = case((4, 5));
        ties.inputs = vec![Data::F32([2.0, 7.0, 7.0, 1.0, 7.0].repeat(4)), Data::U32(vec![0, 1, 2, 4])];
        let great = self::case((9, 130), GREAT, seed);
        let odd = [(1, 1), (3, 2), (65, 63), (7, 1001), (130, 257)];
        let mut cases: Vec<_> = sizes.pick(odd, [(66_000, 9), (257, 32_003)]).into_iter().map(case).collect();
        if sizes == Sizes::Odd {
            cases.extend([ties, great]);
        }
        cases
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(draw.rows(), draw.one_of(&[1.0, 9.0, GREAT]), draw.seed())
    }
}

/// Logits to here: without the shift by the greatest their exponentials would be infinite.
const GREAT: f32 = 300.0;

fn case((rows, vocabulary): (usize, usize), scale: f32, seed: u32) -> Case<Params> {
    Case {
        params: Params { rows: rows as u32, vocabulary: vocabulary as u32 },
        inputs: vec![
            Data::F32(fill(seed, rows * vocabulary, scale)),
            Data::U32(ids(seed + 1, rows, vocabulary as u32)),
        ],
        outputs: vec![Data::Out(rows), Data::Out(rows), Data::Out(rows), Data::Out(2)],
    }
}

simd! {
    fn greatest_and_sum_exp[simd](logits: &[f32]) -> (f32, f32) {
        let greatest = max(simd, logits);
        (greatest, sum_exp(logits, greatest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // softmax(0, ln 3) = (1/4, 3/4).
        let (mut nll, mut hit, mut lse, mut mean) = ([0.0; 2], [0.0; 2], [0.0; 2], [0.0; 2]);
        let ln3 = 3f64.ln();
        let logits = [0.0, ln3, 0.0, ln3];
        let bindings = Bindings::new(vec![&logits, &[0.0, 1.0]], vec![&mut nll, &mut hit, &mut lse, &mut mean]);
        CrossEntropy::reference(&Params { rows: 2, vocabulary: 2 }, bindings);
        approx::assert_relative_eq!(nll[0], 4f64.ln(), epsilon = 1e-12);
        approx::assert_relative_eq!(nll[1], (4.0f64 / 3.0).ln(), epsilon = 1e-12);
        assert_eq!(hit, [0.0, 1.0]);
        assert_eq!(mean[1], 0.5);
    }
}
