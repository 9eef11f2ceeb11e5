//! The learning rate over a run.

use serde::{Deserialize, Serialize};

/// The shape of the learning rate after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Half a cosine down to a tenth.
    Cosine,
    /// A line down to a tenth.
    Linear,
    /// The same throughout.
    Constant,
}

impl Schedule {
    /// The factor of the learning rate at `step` (from 1) of `steps`, of which the first `warmup` rise from 0.
    pub fn factor(self, step: u64, steps: u64, warmup: u64) -> f64 {
        const LEAST: f64 = 0.1;
        if step <= warmup {
            return step as f64 / warmup as f64;
        }
        let done = (step - warmup) as f64 / (steps.saturating_sub(warmup)).max(1) as f64;
        match self {
            Self::Cosine => LEAST + (1.0 - LEAST) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Self::Linear => 1.0 - (1.0 - LEAST) * done,
            Self::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_to_a_tenth() {
        for schedule in [Schedule::Cosine, Schedule::Linear] {
            assert_eq!(schedule.factor(5, 100, 10), 0.5);
            assert_eq!(schedule.factor(10, 100, 10), 1.0);
            approx::assert_relative_eq!(schedule.factor(100, 100, 10), 0.1, epsilon = 1e-12);
            assert!(schedule.factor(60, 100, 10) < schedule.factor(50, 100, 10));
        }
        assert_eq!(Schedule::Constant.factor(100, 100, 0), 1.0);
    }
}
