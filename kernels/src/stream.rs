//! Stores around the caches, for rows that are written once and not read soon: a line that is written whole need not be read before,
//! which without them is a third of what a copy moves.
//!
//! Where they pay has been measured (`benches/record/NOTES.md`, "On the CPU"): on an Intel Xeon, by a quarter of a launch that writes 200 MB.
//! On a Zen 5 they gained nothing, so that AMD's processors do without.

use crate::scratch::with_scratch;

/// Numbers that a launch writes from which on they go around the caches: 32 MiB, more than two cores' own hold.
pub(crate) const MANY: usize = 1 << 23;

/// How the rows of some results are written.
pub(crate) struct Stores {
    around: bool,
}

impl Stores {
    /// For a launch that writes `count` numbers.
    pub(crate) fn of(count: usize) -> Self {
        Self { around: count >= MANY && pays() }
    }

    /// Has `body` fill a row. It writes all of it and reads none of what was there.
    pub(crate) fn row(&self, row: &mut [f32], body: impl FnOnce(&mut [f32])) {
        if self.around {
            with_scratch([row.len()], |[values]| {
                body(values);
                store(row, values);
            });
        } else {
            body(row);
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Stores {
    fn drop(&mut self) {
        if self.around {
            // SAFETY: every x86-64 has SSE. What went around the caches may pass other stores, and must not pass the one by which this
            // task says that it is done.
            unsafe { std::arch::x86_64::_mm_sfence() }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn pays() -> bool {
    static INTEL: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let maker = std::arch::x86_64::__cpuid(0);
        [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
    });
    *INTEL
}

#[cfg(not(target_arch = "x86_64"))]
fn pays() -> bool {
    false
}

/// Copies `values` around the caches.
#[cfg(target_arch = "x86_64")]
fn store(row: &mut [f32], values: &[f32]) {
    use std::arch::x86_64::{__m128, _mm_loadu_ps, _mm_stream_ps};
    let values = &values[..row.len()];
    // SAFETY: any bits are an __m128 as they are an f32.
    let (head, vectors, tail) = unsafe { row.align_to_mut::<__m128>() };
    let (first, rest) = values.split_at(head.len());
    let (fours, last) = rest.split_at(4 * vectors.len());
    head.copy_from_slice(first);
    for (vector, four) in vectors.iter_mut().zip(fours.chunks_exact(4)) {
        // SAFETY: `vector` is aligned and its own, `four` has four numbers; `Stores` is dropped, with a fence, before its task ends.
        unsafe { _mm_stream_ps(std::ptr::from_mut(vector).cast(), _mm_loadu_ps(four.as_ptr())) }
    }
    tail.copy_from_slice(last);
}

#[cfg(not(target_arch = "x86_64"))]
fn store(row: &mut [f32], values: &[f32]) {
    row.copy_from_slice(values);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_length_from_anywhere() {
        for around in [false, true] {
            let mut all = vec![-1.0; 64];
            for (start, len) in [(0, 0), (0, 3), (3, 1), (4, 8), (13, 30)] {
                let number = |i: usize| (start + i) as f32;
                Stores { around }.row(&mut all[start..][..len], |row| (0..len).for_each(|i| row[i] = number(i)));
                let wrong = (0..len).find(|&i| all[start + i].to_bits() != number(i).to_bits());
                assert_eq!((wrong, all[start + len].to_bits()), (None, (-1.0f32).to_bits()));
            }
        }
        assert!(!Stores::of(MANY - 1).around);
    }
}
