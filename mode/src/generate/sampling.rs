//! How the next token is chosen from its logits.
//!
//! p = softmax(z / temperature), of which the `top_k` likeliest are kept, and of those the likeliest that together reach `top_p`
//! (Holtzman et al., arXiv 1904.09751); drawn from what is left, scaled to sum to 1.

use crate::Error;
use crate::model::Random;

/// How a token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// The likeliest; of equals the lowest id.
    Greedy,
    /// Drawn at random.
    Random {
        /// What logits are divided by.
        temperature: f64,
        /// Tokens kept at the most; all if none.
        top_k: Option<usize>,
        /// Probability that the kept ones reach.
        top_p: f64,
        /// The same seed draws the same tokens.
        seed: u64,
    },
}

impl Sampling {
    pub(super) fn check(&self) -> Result<(), Error> {
        let Self::Random { temperature, top_k, top_p, .. } = self else { return Ok(()) };
        if !(temperature.is_finite() && *temperature > 0.0) {
            return Err(Error::Setting(format!(
                "a temperature of {temperature}; give a positive number, or 0 for greedy"
            )));
        }
        if !(*top_p > 0.0 && *top_p <= 1.0) {
            return Err(Error::Setting(format!("top-p is {top_p}; it lies above 0 and is 1 at the most")));
        }
        if *top_k == Some(0) {
            return Err(Error::Setting("top-k is 0; give 1 or more, or leave it out".into()));
        }
        Ok(())
    }
}

/// The chosen id.
pub(super) fn pick(logits: &[f32], sampling: &Sampling, random: &mut Random) -> u32 {
    match *sampling {
        Sampling::Greedy => greatest(logits),
        Sampling::Random { temperature, top_k, top_p, .. } => {
            let mut kept = candidates(logits, temperature, top_k, top_p);
            let total: f64 = kept.iter().map(|(_, p)| p).sum();
            let mut left = random.uniform() * total;
            let (last, _) = kept.pop().unwrap_or((0, 0.0));
            for (id, p) in kept {
                left -= p;
                if left < 0.0 {
                    return id;
                }
            }
            last
        }
    }
}

/// What may be drawn, likeliest first, with probabilities.
fn candidates(logits: &[f32], temperature: f64, top_k: Option<usize>, top_p: f64) -> Vec<(u32, f64)> {
    let most = f64::from(logits[greatest(logits) as usize]);
    let weight = |z: f32| ((f64::from(z) - most) / temperature).exp();
    let ids = order(logits, top_k.unwrap_or(logits.len()).min(logits.len()));
    let total: f64 = ids.iter().map(|&id| weight(logits[id as usize])).sum();
    let mut reached = 0.0;
    let needed = |kept: &(u32, f64)| {
        let before = reached;
        reached += kept.1;
        before < top_p
    };
    ids.into_iter().map(|id| (id, weight(logits[id as usize]) / total)).take_while(needed).collect()
}

/// The `count` greatest logits' ids, greatest first; of equals the lower id.
fn order(logits: &[f32], count: usize) -> Vec<u32> {
    let before = |&a: &u32, &b: &u32| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b));
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    if count < ids.len() && count > 0 {
        ids.select_nth_unstable_by(count - 1, before);
    }
    ids.truncate(count);
    ids.sort_unstable_by(before);
    ids
}

fn greatest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, z) in logits.iter().enumerate() {
        if *z > logits[best] {
            best = id;
        }
    }
    best as u32
}

/// The `count` greatest logits as ids and log-probabilities; the lower id first among equals.
pub(super) fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f64)> {
    let most = logits[greatest(logits) as usize];
    let total: f64 = logits.iter().map(|&z| f64::from(z - most).exp()).sum();
    order(logits, count).into_iter().map(|id| (id, f64::from(logits[id as usize] - most) - total.ln())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeliest_are_log_probabilities() {
        let top = likeliest(&[0.0, 3f32.ln(), 0.0], 2);
        assert_eq!((top[0].0, top[1].0), (1, 0));
        approx::assert_relative_eq!(top[0].1, 0.6f64.ln(), epsilon = 1e-6);
    }

    #[test]
    fn candidates_are_cut_by_rank_and_by_probability() {
        // Probabilities .5, .3, .15, .05.
        let logits = [0.3f32.ln(), 0.05f32.ln(), 0.5f32.ln(), 0.15f32.ln()];
        let ids = |k, p| candidates(&logits, 1.0, k, p).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(ids(None, 1.0), [2, 0, 3, 1]);
        assert_eq!(ids(Some(2), 1.0), [2, 0]);
        assert_eq!(ids(None, 0.75), [2, 0]);
        assert_eq!(ids(None, 0.85), [2, 0, 3]);
        // Of two the first has .5 / .8, which is enough for .6.
        assert_eq!(ids(Some(2), 0.6), [2]);
    }

    #[test]
    fn drawn_as_often_as_probable() {
        let logits = [0.3f32.ln(), 0.7f32.ln()];
        let sampling = Sampling::Random { temperature: 1.0, top_k: None, top_p: 1.0, seed: 0 };
        let mut random = Random::new(5);
        let drawn = (0..20_000).filter(|_| pick(&logits, &sampling, &mut random) == 0).count();
        assert!((5_800..6_200).contains(&drawn), "{drawn}");
        // At half the temperature odds are squared: .09 to .49.
        let sampling = Sampling::Random { temperature: 0.5, top_k: None, top_p: 1.0, seed: 0 };
        let drawn = (0..20_000).filter(|_| pick(&logits, &sampling, &mut random) == 0).count();
        assert!((2_850..3_400).contains(&drawn), "{drawn}");
    }
}
