//! Memory of one thread for the time of one task, kept for the next: fresh memory would cost more in page faults than most tasks do.

use std::cell::Cell;

/// Elements that a thread keeps at the most.
const MOST: usize = 1 << 22;

thread_local! {
    static KEPT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Runs `task` with slices of these lengths, contents undefined. A task within it gets memory of its own.
pub(crate) fn with_scratch<const N: usize, R>(lengths: [usize; N], task: impl FnOnce([&mut [f32]; N]) -> R) -> R {
    let mut kept = KEPT.take();
    let total = lengths.iter().sum::<usize>();
    if kept.len() < total {
        kept = vec![0.0; total];
    }
    let mut rest = &mut kept[..];
    let slices = lengths.map(|len| {
        let (slice, after) = std::mem::take(&mut rest).split_at_mut(len);
        rest = after;
        slice
    });
    let result = task(slices);
    if kept.len() <= MOST {
        KEPT.set(kept);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_within_tasks_have_their_own() {
        with_scratch([3, 2], |[a, b]| {
            assert_eq!((a.len(), b.len()), (3, 2));
            a.fill(1.0);
            with_scratch([5], |[c]| c.fill(2.0));
            assert_eq!(a, [1.0; 3]);
        });
    }
}
