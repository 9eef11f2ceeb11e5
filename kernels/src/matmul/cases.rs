//! Products on which the bodies of [`Matmul`](super::Matmul) must agree.

use super::tier::FEW;
use super::{Params, Tier};
use crate::fill_hash::{fill, hash};
use crate::{Case, Data, Dtype, Sizes};

/// The shape of a case, and how it is to be computed.
#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    transpose_a: bool,
    transpose_b: bool,
    keep: bool,
    dtype: Dtype,
    /// How a and c are stored.
    around: [Dtype; 2],
    tier: Tier,
    /// Terms that the last product of a batch has less.
    less: usize,
}

impl Shape {
    fn new(tier: Tier, [batch, m, n, k]: [usize; 4], [transpose_a, transpose_b]: [bool; 2]) -> Self {
        Self {
            batch,
            m,
            n,
            k,
            transpose_a,
            transpose_b,
            keep: false,
            dtype: Dtype::F32,
            around: [Dtype::F32; 2],
            tier,
            less: 0,
        }
    }

    fn keep(self) -> Self {
        Self { keep: true, ..self }
    }

    fn stored(self, dtype: Dtype) -> Self {
        Self { dtype, ..self }
    }

    fn around(self, around: [Dtype; 2]) -> Self {
        Self { around, ..self }
    }

    fn case(self, seed: u32) -> Case<Params> {
        let Self { batch, m, n, k, .. } = self;
        // Numbers that f16 holds, where a tier rounds to it.
        let rounded = |values: Vec<f32>| if self.tier.rounds() { Dtype::F16.round(values) } else { values };
        Case {
            params: Params {
                k_last: (k - self.less) as u32,
                alpha: 0.5,
                accumulate: self.keep.into(),
                dtype: self.dtype.code(),
                a_dtype: self.around[0].code(),
                c_dtype: self.around[1].code(),
                tier: self.tier.code(),
                ..Params::new(batch, m, n, k, self.transpose_a, self.transpose_b)
            },
            inputs: vec![
                Data::F32(rounded(fill(seed, batch * m * k, 1.0))),
                Data::F32(rounded(fill(seed + 1, batch * k * n, 1.0))),
            ],
            outputs: vec![if self.keep {
                Data::F32(fill(seed + 2, batch * m * n, 1.0))
            } else {
                Data::Out(batch * m * n)
            }],
        }
    }
}

const TRANSPOSES: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];

pub(super) fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
    let shapes = if sizes == Sizes::Large { large() } else { odd() };
    shapes.into_iter().map(|shape| shape.case(seed)).collect()
}

fn odd() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for tier in Tier::ALL {
        let (odd, fours) =
            if tier == Tier::Narrow { ([2, 5, 131, 33], [3, 72, 12, 52]) } else { ([1, 65, 67, 33], [3, 68, 132, 52]) };
        shapes.push(Shape::new(tier, [1, 1, 1, 1], [false, false]));
        let dtypes = [Dtype::F32, Dtype::F16, Dtype::BF16];
        let dtypes = if tier.rounds() { &dtypes[..2] } else { &dtypes };
        for transposes in TRANSPOSES {
            // Nothing divides the first; four divides the second, of which the last product is short.
            for &dtype in if transposes[0] { &dtypes[..1] } else { dtypes } {
                shapes.push(Shape::new(tier, odd, transposes).stored(dtype).keep());
                shapes.push(Shape { less: 32, ..Shape::new(tier, fours, transposes).stored(dtype) });
            }
        }
        // Mixed precision: a product forward, of what was stored as f16 with a weight; dx, of the stream's gradient; dW.
        let (f32, f16) = (Dtype::F32, Dtype::F16);
        for (transposes, a, dtype, c) in
            [([false, true], f16, f32, f16), ([false, false], f32, f16, f16), ([true, false], f16, f16, f32)]
        {
            shapes.push(Shape::new(tier, odd, transposes).stored(dtype).around([a, c]).keep());
            shapes.push(Shape { less: 32, ..Shape::new(tier, fours, transposes).stored(dtype).around([a, c]) });
        }
    }
    // The CPU's path for few rows, up to one past its end; and one token, as it is decoded.
    for (m, dtype) in [(1, Dtype::F32), (5, Dtype::BF16), (16, Dtype::F16), (3, Dtype::F32), (1, Dtype::BF16)] {
        shapes.push(Shape::new(Tier::Narrow, [2, m, 71, 100], [false, true]).stored(dtype));
    }
    shapes.push(Shape::new(Tier::Small, [2, 17, 71, 100], [false, true]));
    shapes
}

fn large() -> Vec<Shape> {
    let square = TRANSPOSES.map(|transposes| Shape::new(Tier::Small, [1, 515, 1_027, 769], transposes));
    let tall = Shape::new(Tier::Narrow, [1, 66_000, 7, 5], [false, true]).keep();
    // A weight that the CPU widens in several parts, both ways round.
    let weight =
        [true, false].map(|tb| Shape::new(Tier::Large, [1, 67, 2_051, 1_539], [false, tb]).stored(Dtype::BF16).keep());
    let rest =
        [Tier::Cooperative8, Tier::Cooperative16].map(|tier| Shape::new(tier, [1, 300, 260, 1_000], [false, true]));
    square.into_iter().chain([tall]).chain(weight).chain(rest).collect()
}

/// `count` cases of random shape, transposition, storage and tier.
pub fn draws(count: usize, seed: u32) -> Vec<Case<Params>> {
    (0..count as u32).map(|i| draw(seed.wrapping_add(1_000 * i))).collect()
}

fn draw(seed: u32) -> Case<Params> {
    // Half of all sizes are multiples of four, for those are read otherwise.
    let size = |i: u32, most: u32| {
        let size = 1 + hash(seed, i) % most;
        if hash(seed, i + 50).is_multiple_of(2) { size.next_multiple_of(4) as usize } else { size as usize }
    };
    let bit = |i: u32| hash(seed, 100 + i).is_multiple_of(2);
    let tier = Tier::ALL[hash(seed, 0) as usize % Tier::ALL.len()];
    let dtypes = if tier.rounds() { 2 } else { 3 };
    let (long, k) = (size(1, 200), size(2, 150));
    let short = if tier == Tier::Narrow { 1 + hash(seed, 3) as usize % FEW as usize } else { size(3, 200) };
    let (m, n) = if bit(0) { (long, short) } else { (short, long) };
    let around = [4, 5].map(|i| if bit(i) { Dtype::F16 } else { Dtype::F32 });
    let shape = Shape::new(tier, [1 + hash(seed, 4) as usize % 3, m, n, k], [bit(1), bit(2)]);
    Shape {
        keep: bit(3),
        dtype: [Dtype::F32, Dtype::F16, Dtype::BF16][hash(seed, 5) as usize % dtypes],
        around,
        less: hash(seed, 6) as usize % k,
        ..shape
    }
    .case(seed)
}
