//! Reproducible numbers from integers: the inputs of checks and benchmarks, the same in every language.
//!
//! For i in 0..n, in wrapping u32 arithmetic: `x = i * 2654435761 + seed * 40503 + 12345`, then two rounds of
//! `x = (x ^ x >> 16) * 0x045d9f3b`, then `x ^ x >> 16`. The value is `((x >> 8) / 2^23 - 1) * scale`.

/// The hash of index `i` under `seed`.
pub fn hash(seed: u32, i: u32) -> u32 {
    let mut x = i.wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503)).wrapping_add(12_345);
    x = (x ^ (x >> 16)).wrapping_mul(0x045d_9f3b);
    x = (x ^ (x >> 16)).wrapping_mul(0x045d_9f3b);
    x ^ (x >> 16)
}

/// `n` numbers in [-scale, scale).
///
/// ```
/// use mode_kernels::fill_hash::fill;
///
/// assert_eq!(fill(1, 100, 2.0)[..3], fill(1, 3, 2.0));
/// assert!(fill(1, 100, 2.0).iter().all(|value| (-2.0..2.0).contains(value)));
/// ```
pub fn fill(seed: u32, n: usize, scale: f32) -> Vec<f32> {
    (0..n as u32).map(|i| ((hash(seed, i) >> 8) as f32 / 8_388_608.0 - 1.0) * scale).collect()
}

/// `n` ids below `bound`.
pub fn ids(seed: u32, n: usize, bound: u32) -> Vec<u32> {
    (0..n as u32).map(|i| hash(seed, i) % bound).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spread_and_bounded() {
        let x = fill(1, 10_000, 2.0);
        assert!(x.iter().all(|v| (-2.0..2.0).contains(v)));
        let mean = x.iter().sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.05, "mean {mean}");
        assert_ne!(fill(1, 4, 1.0), fill(2, 4, 1.0));
    }
}
