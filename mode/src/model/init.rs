//! How new parameters start.

use super::config::Config;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// How an expert's layers start in stage 1. The paper says only "uninitialised" (random) against trained ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpertInit {
    /// Random matrices. The merged stream is off by a_j (f_j - f_bb) at first.
    Random,
    /// Random, but what each layer adds to the stream starts at zero (the output and down projections are 0, or the factor of the norms
    /// behind them): f_j = x, so y = x + a_bb Delta_bb, near the backbone and equal to it where a_bb = 1.
    ZeroOutput,
    /// Copies of the block's last layers. With as many layers as the block f_j = f_bb, and the fresh model is the backbone
    /// exactly, whatever the gate says; with fewer it is off by a_j (f_j - f_bb).
    Copy,
}

/// How a parameter starts when it is not read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Start {
    /// Normal with this standard deviation.
    Normal(f64),
    /// All the same.
    Constant(f32),
}

/// How the matrices that write to the stream start.
pub(crate) fn stream_start(config: &Config) -> Start {
    Start::Normal((config.width as f64 * 2.0 * config.layers as f64).powf(-0.5))
}

/// A source of random numbers that is the same everywhere.
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream number `seed`.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Another stream, begun where this one stands.
    pub fn fork(&mut self) -> Self {
        Self::new(self.0.next_u64())
    }

    /// A number in (0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (f64::from(self.0.next_u32()) + 0.5) / 4_294_967_296.0
    }

    pub(crate) fn values(&mut self, count: usize, start: Start) -> Vec<f32> {
        match start {
            Start::Constant(value) => vec![value; count],
            Start::Normal(deviation) => (0..count).map(|_| (self.normal() * deviation) as f32).collect(),
        }
    }

    /// A standard normal number, by Box and Muller's formula.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_the_right_moments() {
        let x = Random::new(3).values(100_000, Start::Normal(2.0));
        let mean = x.iter().sum::<f32>() / 1e5;
        let variance = x.iter().map(|v| v * v).sum::<f32>() / 1e5;
        assert!(mean.abs() < 0.03 && (variance - 4.0).abs() < 0.1, "{mean} {variance}");
        assert_eq!(Random::new(3).values(4, Start::Normal(1.0)), Random::new(3).values(4, Start::Normal(1.0)));
    }
}
