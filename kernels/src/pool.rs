//! Memory that is used again, and a count of what was not.
//!
//! Reuse keeps pages mapped: a fresh 8 MB buffer a step costs more in page faults than most kernels do. A training step takes
//! the same buffers in the same order each time, so from the second step on the pool has them all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a device has made since it was opened. A steady step changes none of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Buffers allocated.
    pub allocations: u64,
    /// Bytes that the device holds, in use or ready to be used again.
    pub bytes: u64,
    /// The most that they have been.
    pub peak_bytes: u64,
    /// Pipelines compiled; none but on a GPU.
    pub pipelines: u64,
    /// Bind groups made; none but on a GPU.
    pub bind_groups: u64,
}

/// Buffers that are free to be used again, by size class.
pub(crate) struct Pool<T> {
    free: Mutex<HashMap<usize, Vec<T>>>,
    /// Bytes of an item, a unit of its class.
    unit: u64,
    /// Which of the free items of a class is used next.
    next: fn(&[T]) -> usize,
    allocations: AtomicU64,
    bytes: AtomicU64,
    peak_bytes: AtomicU64,
}

impl<T> Pool<T> {
    /// An empty pool of items whose classes count `unit` bytes each; `next` tells which of some free items is used next.
    pub(crate) fn new(unit: usize, next: fn(&[T]) -> usize) -> Self {
        let (allocations, bytes, peak_bytes) = Default::default();
        Self { free: Mutex::default(), unit: unit as u64, next, allocations, bytes, peak_bytes }
    }

    /// A free item of size class `class`, else what `make` makes.
    pub(crate) fn take<E>(&self, class: usize, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if let Some(free) = self.free.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&class)
            && !free.is_empty()
        {
            let next = (self.next)(free);
            return Ok(free.swap_remove(next));
        }
        let item = make()?;
        let size = class as u64 * self.unit;
        self.allocations.fetch_add(1, Ordering::Relaxed);
        let bytes = size + self.bytes.fetch_add(size, Ordering::Relaxed);
        self.peak_bytes.fetch_max(bytes, Ordering::Relaxed);
        Ok(item)
    }

    /// Gives an item back.
    pub(crate) fn put(&self, class: usize, item: T) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).entry(class).or_default().push(item);
    }

    /// Frees everything that is not in use.
    pub(crate) fn clear(&self) {
        let free = std::mem::take(&mut *self.free.lock().unwrap_or_else(PoisonError::into_inner));
        let units: usize = free.iter().map(|(class, items)| class * items.len()).sum();
        self.bytes.fetch_sub(units as u64 * self.unit, Ordering::Relaxed);
    }

    /// What it has made.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            allocations: self.allocations.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            peak_bytes: self.peak_bytes.load(Ordering::Relaxed),
            ..Counters::default()
        }
    }
}

/// The item that came back last, which the CPU's caches know best.
pub(crate) fn last<T>(free: &[T]) -> usize {
    free.len() - 1
}

/// The item of the least number: the same set of free items gives the same one, in whatever order they came back, so that each step of a
/// loop gets the buffers that the step before it got, and a GPU its bind groups.
pub(crate) fn least<T>(free: &[T], number: fn(&T) -> u64) -> usize {
    (0..free.len()).min_by_key(|&i| number(&free[i])).unwrap_or_default()
}

/// The size class of `len` elements: rounded up to one of eight sizes per power of two, and to 64 elements. `None` for a
/// length that no memory holds.
pub(crate) fn size_class(len: usize) -> Option<usize> {
    let step = (len.checked_next_power_of_two()? / 16).max(64);
    len.div_ceil(step).checked_mul(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_used_again_and_nothing_is_counted_twice() {
        let pool = Pool::new(4, last);
        let make = || Ok::<_, ()>(());
        assert_eq!((pool.take(64, make), pool.take(64, make)), (Ok(()), Ok(())));
        pool.put(64, ());
        assert_eq!(pool.take(64, make), Ok(()));
        let counted = |allocations, bytes| Counters { allocations, bytes, peak_bytes: 512, ..Counters::default() };
        assert_eq!(pool.counters(), counted(2, 512));
        pool.put(64, ());
        pool.clear();
        assert_eq!(pool.counters(), counted(2, 256));
        assert_eq!(pool.take(128, || Err(())), Err(()));
        assert_eq!(pool.counters(), counted(2, 256));
    }
}
