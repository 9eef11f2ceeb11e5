//! Dynamic loss scaling (Micikevicius et al., arXiv 1710.03740, section 3.2): gradients of f16 end at 65,504 above and at 6e-8
//! below, and most of a model's lie low, so the loss is scaled before the backward pass, and the optimizer takes the scale off again.
//!
//! A step whose gradients are no finite numbers is skipped and halves the scale; [`GOOD`] steps without one double it. All scales
//! are powers of two, which change no bit of a number that neither overflows nor underflows.
//!
//! The scale of step n follows from the outcomes of steps up to n - 2, whether that of n - 1 is known by then or not: it is the same
//! whether steps are waited for one by one or two are in flight, and wherever a run is stopped and goes on. What a step at a scale
//! that has been left behind overflows at says nothing new: it is skipped, and changes nothing else.

/// The first scale: PyTorch's `GradScaler` begins there too.
pub const START: f32 = 65_536.0;
/// Bounds of the scale. Without any scale at all, an overflow is the gradients' own; the upper one keeps room in f32's sums of squares.
pub const BOUNDS: [f32; 2] = [1.0, 16_777_216.0];
/// Good steps in a row that double the scale: the section's N = 2000.
pub const GOOD: u32 = 2_000;
/// Skipped steps in a row at the least scale after which no scale is hoped for.
pub const PATIENCE: u32 = 20;

/// How a step ended: its number, its scale, and whether its gradients were finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Number of the step, from 1.
    pub step: u64,
    /// Its scale.
    pub scale: f32,
    /// False if it was skipped.
    pub finite: bool,
}

/// The scale and what it follows from: all that a run needs to go on.
#[derive(Debug, Clone, PartialEq)]
pub struct LossScale {
    /// The scale.
    pub scale: f32,
    /// Good steps in a row at this scale, or since it was doubled last.
    pub good: u32,
    /// Steps skipped so far.
    pub skipped: u64,
    /// Skipped steps in a row at the least scale.
    pub hopeless: u32,
    /// Outcomes that the scale does not follow from yet, in order: one or two.
    pub recent: Vec<Outcome>,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { scale: START, good: 0, skipped: 0, hopeless: 0, recent: Vec::new() }
    }
}

impl LossScale {
    /// The scale of step number `step`, whose forerunners up to the last but one have been [learned](LossScale::learn) of.
    pub fn at(&mut self, step: u64) -> f32 {
        while let Some(outcome) = self.recent.first().copied().filter(|outcome| outcome.step + 2 <= step) {
            self.recent.remove(0);
            self.adapt(outcome);
        }
        self.scale
    }

    /// Takes note of how a step ended.
    pub fn learn(&mut self, outcome: Outcome) {
        self.recent.push(outcome);
        let least = outcome.scale <= BOUNDS[0];
        self.hopeless = if least && !outcome.finite { self.hopeless + 1 } else { 0 };
        self.skipped += u64::from(!outcome.finite);
    }

    /// True once no scale helps.
    pub fn is_hopeless(&self) -> bool {
        self.hopeless >= PATIENCE
    }

    fn adapt(&mut self, outcome: Outcome) {
        if outcome.scale != self.scale {
            return;
        }
        self.good = if outcome.finite { self.good + 1 } else { 0 };
        if !outcome.finite {
            self.scale = (self.scale / 2.0).max(BOUNDS[0]);
        } else if self.good == GOOD {
            (self.scale, self.good) = ((self.scale * 2.0).min(BOUNDS[1]), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scales of as many steps, of which those overflow whose scale is above `limit`, each learned of `late` steps later.
    fn scales(steps: u64, limit: impl Fn(u64) -> f32, late: u64) -> (Vec<f32>, LossScale) {
        let (mut scale, mut scales) = (LossScale::default(), Vec::new());
        let outcome = |step: u64, scale: f32| Outcome { step, scale, finite: scale <= limit(step) };
        for step in 1..=steps {
            scales.push(scale.at(step));
            if let Some(earlier) = step.checked_sub(late).filter(|&earlier| earlier > 0) {
                scale.learn(outcome(earlier, scales[earlier as usize - 1]));
            }
        }
        (scales, scale)
    }

    #[test]
    fn an_overflow_halves_it_once_and_two_thousand_good_steps_double_it() {
        let (first, scale) = scales(8, |_| 20_000.0, 0);
        // The second step has the first one's scale, and its overflow says nothing new.
        assert_eq!(first, [65_536.0, 65_536.0, 32_768.0, 32_768.0, 16_384.0, 16_384.0, 16_384.0, 16_384.0]);
        assert_eq!((scale.skipped, scale.is_hopeless()), (4, false));
        let (all, _) = scales(u64::from(GOOD) + 2, |_| f32::MAX, 0);
        assert!(all[..GOOD as usize + 1].iter().all(|&scale| scale == START));
        assert_eq!(all[GOOD as usize + 1], 2.0 * START);
    }

    #[test]
    fn it_does_not_matter_when_an_outcome_is_known() {
        let limit = |step: u64| if step % 1_900 == 7 { 100.0 } else { 1e6 };
        assert_eq!(scales(9_000, limit, 0).0, scales(9_000, limit, 1).0);
    }

    #[test]
    fn it_has_bounds_and_an_end() {
        let (all, scale) = scales(33 + u64::from(PATIENCE), |_| 0.0, 0);
        assert!(all.iter().all(|&scale| scale >= BOUNDS[0]) && all.last() == Some(&BOUNDS[0]));
        assert!(scale.is_hopeless());
        let (all, _) = scales(12 * u64::from(GOOD), |_| f32::MAX, 0);
        assert_eq!(all.last(), Some(&BOUNDS[1]));
    }
}
