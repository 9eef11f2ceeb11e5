//! How sure a difference is: intervals over seeds and over text, and the smallest difference that a design can show.
//!
//! Two methods are compared seed by seed: the same seed gives both the same base model and the same order of the data, so what
//! seeds have in common cancels. The interval of the mean difference D over n seeds and m texts is
//!
//! > D ± √(t(n - 1)² s²/n + Σ t(k - 1)² e² / m²)
//!
//! where s is the seeds' standard deviation of the difference, and e the standard error that comes of a test text being a sample: that of the
//! mean over its k stretches, each stretch's difference averaged over seeds. t(f) is Student's quantile of f degrees of freedom. With few seeds
//! Welch's and Satterthwaite's common t holds the truth only 92 times in 100 where both parts are alike; this one errs to the other
//! side, at 97. With an interval that reaches h to each side a true difference of h (1 + t(n - 1; 0.8) / t(n - 1; 0.975)) is found four times
//! in five, as by the paired t test where the text adds nothing.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// How often an interval is to hold what it is for.
pub const CONFIDENCE: f64 = 0.95;

/// How often a difference as great as the smallest detectable one is to be found.
pub const POWER: f64 = 0.8;

/// Windows of test text that lie beside each other are of the same documents; so many of them are one draw.
const STRETCH: usize = 8;

/// A mean with what lies on each side of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The estimate.
    pub mean: f64,
    /// Half the interval's length; infinite where nothing is known, as of one seed.
    pub half: f64,
}

impl Interval {
    /// True if zero lies outside.
    pub fn excludes_zero(&self) -> bool {
        self.mean.abs() > self.half
    }

    /// Mean, and the interval of one more draw, from a sample of a normal distribution: mean ± t s √(1 + 1/n).
    pub fn of_another(sample: &[f64]) -> Self {
        let n = sample.len() as f64;
        if sample.len() < 2 {
            return Self { mean: mean(sample), half: f64::INFINITY };
        }
        Self { mean: mean(sample), half: t(CONFIDENCE, n - 1.0) * deviation(sample) * (1.0 + 1.0 / n).sqrt() }
    }

    /// Mean of a sample, and where the true one is: mean ± t s / √n.
    pub fn of_mean(sample: &[f64]) -> Self {
        Self::of_difference(sample, &[])
    }

    /// Mean of differences, from one difference a seed, and the differences by text, seed and window.
    ///
    /// `seeds[s]` is what is estimated, of seed s: the mean over texts; `texts[d][s][w]` the same over window w of text d alone.
    pub fn of_difference(seeds: &[f64], texts: &[Vec<Vec<f64>>]) -> Self {
        let n = seeds.len() as f64;
        if seeds.len() < 2 {
            return Self { mean: mean(seeds), half: f64::INFINITY };
        }
        let mut squares = t(CONFIDENCE, n - 1.0).powi(2) * deviation(seeds).powi(2) / n;
        for windows in texts {
            let stretches = stretches(windows);
            let count = stretches.len() as f64;
            if stretches.len() > 1 {
                let error = deviation(&stretches).powi(2) / count / (texts.len() as f64).powi(2);
                squares += t(CONFIDENCE, count - 1.0).powi(2) * error;
            }
        }
        Self { mean: mean(seeds), half: squares.sqrt() }
    }
}

/// Each stretch's mean over seeds and windows. Windows of a stretch are of one length but for the last of a text.
fn stretches(windows: &[Vec<f64>]) -> Vec<f64> {
    let count = windows.iter().map(Vec::len).min().unwrap_or(0);
    let over_seeds: Vec<f64> =
        (0..count).map(|w| windows.iter().map(|seed| seed[w]).sum::<f64>() / windows.len() as f64).collect();
    over_seeds.chunks(STRETCH).map(mean).collect()
}

/// How likely a difference as great as this one is over so many seeds where there is none: p = 2 (1 - T(t |mean| / half)).
pub fn chance(difference: Interval, seeds: usize) -> f64 {
    let freedom = seeds as f64 - 1.0;
    let ratio = t(CONFIDENCE, freedom) * difference.mean.abs() / difference.half;
    match StudentsT::new(0.0, 1.0, freedom) {
        Ok(t) if ratio.is_finite() => 2.0 * (1.0 - t.cdf(ratio)),
        // All seeds alike, and not zero.
        Ok(_) if ratio.is_infinite() => 0.0,
        _ => 1.0,
    }
}

/// Which of several differences are none of chance, so that with [`CONFIDENCE`] not one of them is: Holm's way (Scand. J. Statist. 6, 1979), the
/// least likely first, against as many as are left.
pub fn hold(chances: &[f64]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_by(|&a, &b| chances[a].total_cmp(&chances[b]));
    let is_held = |&(rank, &i): &(usize, &usize)| chances[i] * (chances.len() - rank) as f64 <= 1.0 - CONFIDENCE;
    let mut held = vec![false; chances.len()];
    order.iter().enumerate().take_while(is_held).for_each(|(_, &i)| held[i] = true);
    held
}

/// The smallest difference that is found with [`POWER`] where intervals of so many seeds reach `half` to each side.
pub fn detectable(half: f64, seeds: usize) -> f64 {
    let freedom = seeds as f64 - 1.0;
    half * (1.0 + t(2.0 * POWER - 1.0, freedom) / t(CONFIDENCE, freedom))
}

/// Half an interval over seeds alone, of so many whose differences deviate by `deviation`.
pub fn half_over_seeds(deviation: f64, seeds: usize) -> f64 {
    t(CONFIDENCE, seeds as f64 - 1.0) * deviation / (seeds as f64).sqrt()
}

/// The fewest seeds with which a difference is found with [`POWER`], up to `most`: more of them narrow what seeds add to an interval that
/// reaches `half` to each side now, and leave what the text adds.
pub fn seeds_for(difference: f64, half: f64, (deviation, now): (f64, usize), most: usize) -> Option<usize> {
    let of_text = (half.powi(2) - half_over_seeds(deviation, now).powi(2)).max(0.0);
    let found = |&seeds: &usize| {
        let half = (half_over_seeds(deviation, seeds).powi(2) + of_text).sqrt();
        detectable(half, seeds) <= difference.abs()
    };
    (2..=most).find(found)
}

/// The t of a two-sided interval of this confidence; infinite without a degree of freedom.
fn t(confidence: f64, freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(0.5 + confidence / 2.0))
}

/// The mean; NaN of nothing.
pub fn mean(sample: &[f64]) -> f64 {
    sample.iter().sum::<f64>() / sample.len() as f64
}

/// The sample's standard deviation, with n - 1; 0 of fewer than two.
pub fn deviation(sample: &[f64]) -> f64 {
    if sample.len() < 2 {
        return 0.0;
    }
    let mean = mean(sample);
    (sample.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (sample.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    /// A draw that is nearly normal: the sum of twelve uniform ones.
    fn normal(random: &mut ChaCha8Rng) -> f64 {
        (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0
    }

    #[test]
    fn quantiles_are_those_of_tables() {
        for (freedom, expected) in [(1.0, 12.706), (2.0, 4.303), (4.0, 2.776), (30.0, 2.042)] {
            assert_relative_eq!(t(0.95, freedom), expected, max_relative = 1e-3);
        }
        assert!(t(0.95, 0.0).is_infinite());
    }

    #[test]
    fn another_draw_lies_within_as_often_as_it_should() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for n in [3, 5] {
            let trials = 4_000;
            let within = (0..trials)
                .filter(|_| {
                    let sample: Vec<f64> = (0..n).map(|_| normal(&mut random)).collect();
                    let interval = Interval::of_another(&sample);
                    (normal(&mut random) - interval.mean).abs() <= interval.half
                })
                .count();
            let share = within as f64 / f64::from(trials);
            assert!((share - CONFIDENCE).abs() < 0.015, "{n} seeds: {share}");
        }
    }

    #[test]
    fn a_difference_lies_within_its_interval_as_often_as_it_should() {
        // Seeds and stretches of text both vary: a true difference of 0.3, seeds by 1, windows by 2 in common stretches.
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let trials = 1_000;
        let within = (0..trials)
            .filter(|_| {
                let text: Vec<f64> =
                    (0..40).flat_map(|_| std::iter::repeat_n(2.0 * normal(&mut random), STRETCH)).collect();
                let windows: Vec<Vec<f64>> = (0..3)
                    .map(|_| {
                        let seed = 0.3 + normal(&mut random);
                        text.iter().map(|text| seed + text).collect()
                    })
                    .collect();
                let seeds: Vec<f64> = windows.iter().map(|windows| mean(windows)).collect();
                let interval = Interval::of_difference(&seeds, &[windows]);
                (0.3 - interval.mean).abs() <= interval.half
            })
            .count();
        let share = within as f64 / f64::from(trials);
        assert!((0.94..0.99).contains(&share), "{share}");
    }

    #[test]
    fn the_detectable_difference_is_found_four_times_in_five() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let (seeds, trials) = (5, 4_000);
        let difference = detectable(half_over_seeds(1.0, seeds), seeds);
        let found = (0..trials)
            .filter(|_| {
                let sample: Vec<f64> = (0..seeds).map(|_| difference + normal(&mut random)).collect();
                Interval::of_difference(&sample, &[]).excludes_zero()
            })
            .count();
        let share = found as f64 / f64::from(trials);
        // Adding the quantiles of two central distributions is a little off for few seeds.
        assert!((0.75..0.88).contains(&share), "{share}");
        let half = half_over_seeds(1.0, seeds);
        assert_eq!(seeds_for(difference, half, (1.0, seeds), 100), Some(seeds));
        assert_eq!(seeds_for(0.0, half, (1.0, seeds), 100), None);
        // What the text adds stays: no number of seeds finds a difference that lies below it.
        assert!(seeds_for(difference, 1.1 * half, (1.0, seeds), 100).is_some_and(|more| more > seeds));
        assert_eq!(seeds_for(0.5 * half, 1.5 * half, (1.0, seeds), 100), None);
    }

    #[test]
    fn what_chance_alone_shows_is_told_from_what_it_does_not() {
        // At the end of an interval 95 in 100 lie within.
        assert_relative_eq!(chance(Interval { mean: -0.2, half: 0.2 }, 5), 0.05, epsilon = 1e-6);
        assert!(
            chance(Interval { mean: 0.4, half: 0.2 }, 5) < 0.01 && chance(Interval { mean: 0.0, half: 0.2 }, 5) == 1.0
        );
        let of = |mean, half, seeds| chance(Interval { mean, half }, seeds);
        assert_eq!(
            [of(0.3, f64::INFINITY, 1), of(0.0, 0.0, 5), of(0.1, 0.0, 5), of(f64::NAN, 0.1, 0)],
            [1.0, 1.0, 0.0, 1.0]
        );
        assert_eq!(hold(&[0.03, 0.01, 0.02]), [true, true, true]);
        // The second is held against two, and none after it.
        assert_eq!(hold(&[0.04, 0.01, 0.03]), [false, true, false]);
        assert!(hold(&[]).is_empty());
    }

    #[test]
    fn one_seed_shows_nothing() {
        assert!(Interval::of_another(&[0.3]).half.is_infinite());
        assert!(!Interval::of_difference(&[0.3], &[vec![vec![0.3]]]).excludes_zero());
    }
}
