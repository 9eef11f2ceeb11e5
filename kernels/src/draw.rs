//! What a kernel throws a random launch with: the same seed, the same launch.

use crate::Dtype;
use crate::fill_hash::hash;

/// Elements of long vectors at the most: more than one task of a CPU body, and more than 256 workgroups.
const LONG: usize = 70_000;

/// Below this lie the seeds of draws, and those that may be given for them.
pub const SEEDS: u32 = 4_000_000_001;

/// Random choices of one draw.
///
/// ```
/// use mode_kernels::Draw;
///
/// let sizes = |seed| { let mut draw = Draw::new(seed); [(); 3].map(|()| draw.size(100)) };
/// assert_eq!(sizes(7), sizes(7));
/// ```
pub struct Draw {
    seed: u32,
    thrown: u32,
}

impl Draw {
    /// The draw of this seed.
    pub fn new(seed: u32) -> Self {
        Self { seed, thrown: 0 }
    }

    /// The seed of draw number `number` of those that begin with `first`, which is its own draw number 0.
    pub fn nth_seed(first: u32, number: u32) -> u32 {
        // Contents have a few seeds that follow one another.
        ((u64::from(first) + 1_000 * u64::from(number)) % u64::from(SEEDS)) as u32
    }

    /// The seed of the launch's contents.
    pub fn seed(&self) -> u32 {
        self.seed
    }

    /// One of the numbers below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.thrown += 1;
        // Not the numbers that contents are made of.
        hash(!self.seed, self.thrown) as usize % bound.max(1)
    }

    /// True or false.
    pub fn bit(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of `values`, of which there is one at least.
    pub fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// A size of 1 to `most`: each power of two is as likely as the next; many are multiples of four, which vec4s are read of, and
    /// some lie on a power of two or beside it, where tiles end.
    pub fn size(&mut self, most: usize) -> usize {
        let power = 1 << self.below(most.max(1).ilog2() as usize + 1);
        let size = match self.below(8) {
            0 => power + self.below(3) - 1,
            1..=4 => (power + self.below(power)).next_multiple_of(4),
            _ => power + self.below(power),
        };
        size.clamp(1, most.max(1))
    }

    /// How what mixed precision stores as f16, and all else as f32, is stored: [`Dtype::code`].
    pub fn stored(&mut self) -> u32 {
        self.one_of(&[Dtype::F32, Dtype::F16]).code()
    }

    /// Elements of a long vector.
    pub fn count(&mut self) -> usize {
        self.size(LONG)
    }

    /// Rows, and elements a row.
    pub fn rows(&mut self) -> (usize, usize) {
        let rows = self.size(2_000);
        (rows, self.size((2 * LONG / rows).min(2_000)))
    }

    /// Elements between two neighbours in memory: often none.
    pub fn gap(&mut self) -> usize {
        if self.bit() { 0 } else { self.size(70) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_reach_both_ends_and_everything_between() {
        let mut draw = Draw::new(5);
        let sizes: Vec<usize> = (0..30_000).map(|_| draw.size(130)).collect();
        assert!((1..=130).all(|size| sizes.contains(&size)));
        assert!(sizes.iter().all(|size| (1..=130).contains(size)));
        assert!((0..100).all(|_| draw.size(1) == 1 && draw.below(3) < 3));
    }

    #[test]
    fn a_draw_can_be_thrown_again_alone() {
        let nth = |first, number| Draw::nth_seed(first, number);
        assert_eq!([nth(7, 0), nth(7, 3), nth(nth(7, 3), 0)], [7, 3_007, 3_007]);
        assert_eq!(nth(4_000_000_000, 1), 999);
    }
}
