//! How much one submission holds.
//!
//! A driver takes work that goes on for too long for a hang and resets the device; Windows waits for two seconds. What it counts is one
//! submission, so each is to be over in a quarter of that on the slowest GPU that somebody might train on. A launch alone that takes longer
//! can't be cut, but then it is alone.

use crate::Cost;

/// Launches of a submission at the most: each has a slot for its parameters.
pub(super) const MOST_LAUNCHES: usize = 128;
/// Seconds that a submission takes at the most, but for one of a single launch.
const MOST_SECONDS: f64 = 0.5;
/// What such a GPU does in a second: a quarter of the arithmetic and a third of the bandwidth of the graphics in a laptop's processor of 2016
/// (24 units of 16 FLOP at 1 GHz; two channels of DDR4-2133, 34 GB/s). A card does 50 times as much: a submission is then some ms, and costs
/// it far less than that.
const SLOW: Cost = Cost { flop: 1e11, bytes: 1e10 };

/// What has been recorded for a submission.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    launches: usize,
    seconds: f64,
}

impl Load {
    /// True if work of this cost belongs to the same submission; else that is to go first.
    pub(super) fn has_room(&self, cost: Cost) -> bool {
        self.launches < MOST_LAUNCHES && (self.seconds == 0.0 || self.seconds + seconds(cost) <= MOST_SECONDS)
    }

    /// Counts a launch.
    pub(super) fn launch(&mut self, cost: Cost) {
        self.launches += 1;
        self.seconds += seconds(cost);
    }

    /// Counts a copy of `bytes` bytes, which has no parameters.
    pub(super) fn copy(&mut self, bytes: u64) {
        self.seconds += seconds(of_copy(bytes));
    }
}

/// What a copy of `bytes` bytes costs.
pub(super) fn of_copy(bytes: u64) -> Cost {
    Cost { flop: 0.0, bytes: 2.0 * bytes as f64 }
}

/// How long a slow GPU takes, by what binds it.
fn seconds(cost: Cost) -> f64 {
    (cost.flop / SLOW.flop).max(cost.bytes / SLOW.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many submissions `launches` of this cost take.
    fn submissions(launches: usize, cost: Cost) -> usize {
        let (mut load, mut submissions) = (Load::default(), 1);
        for _ in 0..launches {
            if !load.has_room(cost) {
                (load, submissions) = (Load::default(), submissions + 1);
            }
            load.launch(cost);
        }
        submissions
    }

    #[test]
    fn a_submission_is_bounded_by_launches_and_by_what_they_cost() {
        let gflop = |count: f64| Cost { flop: 1e9 * count, bytes: 1.0 };
        assert_eq!([128, 129, 256, 257].map(|launches| submissions(launches, Cost::default())), [1, 2, 2, 3]);
        // 16 products of 1/32 s each fill half a second.
        assert_eq!([16, 17, 32, 33].map(|launches| submissions(launches, gflop(3.125))), [1, 2, 2, 3]);
        assert_eq!(submissions(10, Cost { flop: 0.0, bytes: 2.5e9 }), 5, "bandwidth binds as well");
        assert_eq!(submissions(3, gflop(1_000.0)), 3, "what can't be cut is alone");
        let mut load = Load::default();
        load.copy(2_600_000_000);
        assert!(!load.has_room(gflop(0.1)), "a copy counts, though it is no launch");
        assert_eq!(load.launches, 0);
    }
}
