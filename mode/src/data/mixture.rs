//! Training windows out of several corpora, each in proportion to its weight.
//!
//! A corpus is gone through in epochs: an epoch cuts it into windows that do not overlap, starting
//! at a random phase, and serves them in a random order. So every token of a small corpus is seen
//! as often as any other, and the cuts fall elsewhere each time. Where only so many examples of a corpus
//! are wanted, its windows are cut at one place, and that many of them drawn once: the same in all epochs.
//!
//! Every random choice is a function of the seed and of a counter (the draw, or the corpus and its
//! epoch) through a ChaCha8 stream of its own. The counters are therefore all the state there is.

use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::{DataError, Tokens};

/// How far a mixture has got; enough to go on from there with the same corpora and settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixtureState {
    /// The seed of all random choices.
    pub seed: u64,
    /// Windows served so far.
    pub draws: u64,
    /// For each corpus, the epoch (from 0) and the windows of it that were served.
    pub progress: Vec<(u64, u64)>,
}

/// Serves windows of token ids from weighted corpora, for ever.
pub struct Mixture {
    parts: Vec<Part>,
    len: usize,
    seed: u64,
    draws: u64,
}

struct Part {
    weight: f64,
    tokens: Tokens,
    /// Windows of it that are served; 0 for all.
    examples: usize,
    epoch: u64,
    /// Where the epoch's windows start, in the order they are served.
    order: Vec<usize>,
    served: usize,
}

impl Mixture {
    /// Mixes corpora with the given weights (shares of windows; they need not sum to 1) into
    /// windows of `len` ids. A trainer takes ids `0..len-1` as input and `1..len` as targets.
    ///
    /// # Errors
    /// [`DataError::TooShort`] names a corpus without a whole window; [`DataError::BadMixture`] for
    /// no corpora, a window of fewer than 2 ids, or weights that are not positive numbers.
    pub fn new(seed: u64, len: usize, parts: Vec<(f64, Tokens)>) -> Result<Self, DataError> {
        let bad = |reason: String| Err(DataError::BadMixture { reason });
        if parts.is_empty() {
            return bad("there is none: give at least one".into());
        }
        if len < 2 {
            return bad(format!("a window of {len} has no target: take a length of 2 or more"));
        }
        for (weight, tokens) in &parts {
            tokens.require_window(len)?;
            if !(weight.is_finite() && *weight > 0.0) {
                let name = &tokens.name;
                return bad(format!("{name} has weight {weight}: give a positive number"));
            }
        }
        let parts = parts.into_iter().map(|(weight, tokens)| Part {
            weight,
            tokens,
            examples: 0,
            epoch: 0,
            order: Vec::new(),
            served: 0,
        });
        let mut mixture = Self { parts: parts.collect(), len, seed, draws: 0 };
        mixture.arrange_all();
        Ok(mixture)
    }

    /// Serves so many windows of each corpus and no others, by corpus; 0 for all there are.
    pub fn of_examples(mut self, counts: impl IntoIterator<Item = usize>) -> Self {
        self.parts.iter_mut().zip(counts).for_each(|(part, count)| part.examples = count);
        self.arrange_all();
        self
    }

    /// The next `windows` windows, each of exactly `len` ids.
    pub fn batch(&mut self, windows: usize) -> Vec<Vec<u32>> {
        (0..windows).map(|_| self.window()).collect()
    }

    /// How far the mixture has got.
    pub fn state(&self) -> MixtureState {
        MixtureState {
            seed: self.seed,
            draws: self.draws,
            progress: self.parts.iter().map(|part| (part.epoch, part.served as u64)).collect(),
        }
    }

    /// Goes on from where another mixture of the same corpora and window length had got.
    ///
    /// # Errors
    /// [`DataError::BadMixture`] if the state belongs to other corpora; the mixture is then as it
    /// was before.
    pub fn restore(&mut self, state: &MixtureState) -> Result<(), DataError> {
        let fits = |part: &Part, served: u64| served.saturating_mul(self.len as u64) <= part.tokens.ids.len() as u64;
        let same = state.progress.len() == self.parts.len()
            && self.parts.iter().zip(&state.progress).all(|(part, p)| fits(part, p.1));
        if !same {
            let reason = "the saved position belongs to other corpora: resume with the corpora and \
                          window length the run began with";
            return Err(DataError::BadMixture { reason: reason.into() });
        }
        (self.seed, self.draws) = (state.seed, state.draws);
        for (part, &(epoch, served)) in self.parts.iter_mut().zip(&state.progress) {
            (part.epoch, part.served) = (epoch, served as usize);
        }
        self.arrange_all();
        Ok(())
    }

    fn window(&mut self) -> Vec<u32> {
        let chosen = self.choose();
        self.draws += 1;
        let part = &mut self.parts[chosen];
        if part.served >= part.order.len() {
            (part.epoch, part.served) = (part.epoch + 1, 0);
            part.arrange(chosen, self.len, self.seed);
        }
        let start = part.order[part.served];
        part.served += 1;
        part.tokens.ids[start..start + self.len].to_vec()
    }

    /// The corpus of this draw.
    fn choose(&self) -> usize {
        let total: f64 = self.parts.iter().map(|part| part.weight).sum();
        let mut left = total * stream(self.seed, 0, self.draws).random::<f64>();
        let chosen = self.parts.iter().position(|part| {
            left -= part.weight;
            left < 0.0
        });
        // Rounding may leave a crumb behind the last corpus.
        chosen.unwrap_or(self.parts.len() - 1)
    }

    fn arrange_all(&mut self) {
        for (index, part) in self.parts.iter_mut().enumerate() {
            part.arrange(index, self.len, self.seed);
        }
    }
}

impl Part {
    /// Lays out the windows of the current epoch; there is always at least one.
    fn arrange(&mut self, index: usize, len: usize, seed: u64) {
        let mut random = stream(seed, 1 + index as u64, self.epoch);
        let slack = self.tokens.ids.len() - len;
        if self.examples == 0 {
            let phase = random.random_range(0..=slack.min(len - 1));
            self.order = (phase..=slack).step_by(len).collect();
        } else {
            self.order = (0..=slack).step_by(len).collect();
            self.order.shuffle(&mut stream(seed, u64::MAX - index as u64, 0));
            self.order.truncate(self.examples);
        }
        self.order.shuffle(&mut random);
    }
}

/// The random numbers that belong to one counter of one purpose.
fn stream(seed: u64, purpose: u64, counter: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&purpose.to_le_bytes());
    key[16..24].copy_from_slice(&counter.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// Windows of n + 1 ids as inputs (all but the last) and targets (all but the first), each joined.
pub(crate) fn shifted(windows: &[Vec<u32>]) -> (Vec<u32>, Vec<u32>) {
    let inputs = windows.iter().flat_map(|window| &window[..window.len() - 1]).copied().collect();
    let targets = windows.iter().flat_map(|window| &window[1..]).copied().collect();
    (inputs, targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn tokens(name: &str, ids: std::ops::Range<u32>) -> Tokens {
        Tokens { name: name.into(), vocab: 100_000, tokenizer: [0; 32], ids: ids.collect() }
    }

    fn mixture(seed: u64) -> Mixture {
        let parts = vec![(3.0, tokens("A", 0..1000)), (1.0, tokens("B", 50_000..50_100))];
        Mixture::new(seed, 16, parts).unwrap()
    }

    #[test]
    fn windows_are_consecutive_and_weights_are_kept() {
        let batch = mixture(1).batch(4000);
        for window in &batch {
            assert_eq!(window.len(), 16);
            assert!(window.windows(2).all(|pair| pair[1] == pair[0] + 1));
        }
        let from_b = batch.iter().filter(|window| window[0] >= 50_000).count();
        assert!((850..1150).contains(&from_b), "{from_b}");
    }

    #[test]
    fn a_small_corpus_is_seen_evenly() {
        let mut mixture = Mixture::new(5, 16, vec![(1.0, tokens("B", 0..100))]).unwrap();
        let mut seen = HashMap::new();
        for id in mixture.batch(1500).concat() {
            *seen.entry(id).or_insert(0) += 1;
        }
        // 1500 windows are 250 epochs or somewhat more; only the ends are cut off by the phase.
        assert!((16..84).all(|id| (240..=300).contains(&seen[&id])), "{seen:?}");
        assert!(seen.len() == 100);
    }

    #[test]
    fn one_epoch_repeats_nothing() {
        let mut mixture = Mixture::new(9, 10, vec![(1.0, tokens("A", 0..1000))]).unwrap();
        let mut ids = mixture.batch(99).concat();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 990);
    }

    #[test]
    fn examples_are_the_same_in_all_epochs_and_lie_all_over_the_corpus() {
        let of = |seed, count| {
            let corpus = || vec![(1.0, tokens("A", 0..1000))];
            let batch = Mixture::new(seed, 10, corpus()).unwrap().of_examples([count]).batch(4 * count);
            let mut starts: Vec<u32> = batch.iter().map(|window| window[0]).collect();
            let epochs: Vec<u32> = starts[..count].to_vec();
            starts.sort_unstable();
            starts.dedup();
            (starts, epochs)
        };
        let (few, first_epoch) = of(1, 5);
        assert!(few.len() == 5 && few.iter().all(|start| start % 10 == 0), "{few:?}");
        assert!(few.windows(2).any(|pair| pair[1] - pair[0] > 10), "{few:?}");
        assert!(few.iter().all(|start| first_epoch.contains(start)));
        let (more, _) = of(1, 50);
        assert!(more.len() == 50 && few.iter().all(|start| more.contains(start)), "{more:?}");
        assert_ne!(of(2, 5).0, few);
        assert_eq!(of(1, 500).0.len(), 100);
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(mixture(7).batch(50), mixture(7).batch(50));
        assert_ne!(mixture(7).batch(50), mixture(8).batch(50));
    }

    #[test]
    fn a_restored_mixture_goes_on() {
        let mut whole = mixture(3);
        whole.batch(333);
        let saved = serde_json::to_string(&whole.state()).unwrap();
        let mut resumed = mixture(99);
        resumed.restore(&serde_json::from_str(&saved).unwrap()).unwrap();
        assert_eq!(resumed.batch(500), whole.batch(500));
        assert_eq!(resumed.state(), whole.state());
    }

    #[test]
    fn nonsense_is_refused_and_short_corpora_are_named() {
        let said = |len, parts| Mixture::new(0, len, parts).map(|_| ()).unwrap_err().to_string();
        assert!(said(16, vec![(1.0, tokens("Tiny", 0..15))]).contains("Tiny has 15 tokens"));
        assert!(said(16, vec![]).contains("at least one"));
        assert!(said(1, vec![(1.0, tokens("A", 0..15))]).contains("2 or more"));
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(said(4, vec![(weight, tokens("A", 0..15))]).contains("positive"));
        }
        let other = MixtureState { seed: 0, draws: 0, progress: vec![(0, 0)] };
        assert!(mixture(0).restore(&other).is_err());
        let beyond = MixtureState { seed: 0, draws: 0, progress: vec![(0, 900), (0, 0)] };
        assert!(mixture(0).restore(&beyond).is_err());
        assert!(Mixture::new(0, 16, vec![(1.0, tokens("Exact", 0..16))]).is_ok());
    }
}
