//! Gradient of the mean [cross-entropy](crate::cross_entropy): dlogits = (softmax(logits) - onehot(target)) dmean / rows.
//!
//! logits, dlogits `[rows, vocabulary]`, targets, lse `[rows]`, dmean `[2]`, of which the first is the loss's gradient (the
//! accuracy has none). Moves 2 units.

use crate::bindings::as_ids;
use crate::fill_hash::{fill, ids};
use crate::simd::{exp, simd};
use crate::{Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, launch};
use rayon::prelude::*;

pub use crate::cross_entropy::Params;

/// The kernel.
pub struct CrossEntropyBackward;

/// dlogits.
///
/// # Errors
/// As [`crate::launch`].
pub fn cross_entropy_backward(
    device: &Device,
    logits: &View,
    targets: &View,
    lse: &View,
    dmean: &View,
    dlogits: &View,
) -> Result<(), KernelError> {
    let params = Params::new(logits, targets);
    launch::<CrossEntropyBackward>(device, &params, &[logits, targets, lse, dmean], &[dlogits])
}

impl Kernel for CrossEntropyBackward {
    type Params = Params;
    const NAME: &'static str = "cross_entropy_backward";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::CROSS_ENTROPY_BACKWARD];
    const INPUTS: &'static [&'static str] = &["logits", "targets", "lse", "dmean"];
    const OUTPUTS: &'static [&'static str] = &["dlogits"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.rows as usize * p.vocabulary as usize).div_ceil(256))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([logits, targets, lse, dmean], [dlogits]) = bindings.take();
        let vocabulary = p.vocabulary as usize;
        let scale = dmean[0] / p.rows as f32;
        let rows = logits.par_chunks(vocabulary).zip(as_ids(targets)).zip(lse).with_min_len(8);
        dlogits.par_chunks_mut(vocabulary).zip(rows).for_each(|(dlogits, ((logits, &target), &lse))| {
            softmax(dlogits, logits, lse, scale);
            dlogits[target as usize] -= scale;
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([logits, targets, lse, dmean], [dlogits]) = bindings.take();
        let (rows, vocabulary) = (p.rows as usize, p.vocabulary as usize);
        for row in 0..rows {
            for i in 0..vocabulary {
                let p = (logits[row * vocabulary + i] - lse[row]).exp();
                let own = if i == targets[row] as usize { 1.0 } else { 0.0 };
                dlogits[row * vocabulary + i] = (p - own) * dmean[0] / rows as f64;
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.vocabulary);
        Cost { flop: 3.0 * n, bytes: 8.0 * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, 1), (3, 2), (65, 63), (7, 1001)];
        sizes.pick(odd, [(66_000, 9), (257, 32_003)]).into_iter().map(|shape| case(shape, 9.0, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(draw.rows(), draw.one_of(&[1.0, 9.0]), draw.seed())
    }
}

fn case((rows, vocabulary): (usize, usize), scale: f32, seed: u32) -> Case<Params> {
    let logits = fill(seed, rows * vocabulary, scale);
    // In f64, so that one class alone has a gradient of exactly nothing.
    let lse = |row: &[f32]| row.iter().map(|&z| f64::from(z).exp()).sum::<f64>().ln() as f32;
    let lse = logits.chunks(vocabulary).map(lse).collect();
    let targets = Data::U32(ids(seed + 1, rows, vocabulary as u32));
    Case {
        params: Params { rows: rows as u32, vocabulary: vocabulary as u32 },
        inputs: vec![Data::F32(logits), targets, Data::F32(lse), Data::F32(vec![3.0, 0.0])],
        outputs: vec![Data::Out(rows * vocabulary)],
    }
}

simd! {
    fn softmax(d: &mut [f32], logits: &[f32], lse: f32, scale: f32) {
        d.iter_mut().zip(logits).for_each(|(d, z)| *d = exp(z - lse) * scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut d = [0.0; 2];
        let (logits, lse) = ([0.0, 3f64.ln()], [4f64.ln()]);
        let bindings = Bindings::new(vec![&logits, &[0.0], &lse, &[2.0, 9.0]], vec![&mut d]);
        CrossEntropyBackward::reference(&Params { rows: 1, vocabulary: 2 }, bindings);
        approx::assert_relative_eq!(d[0], -1.5, epsilon = 1e-12);
        approx::assert_relative_eq!(d[1], 1.5, epsilon = 1e-12);
    }
}
