//! Products on which the bodies of [`Matmul`](super::Matmul) must agree.

use super::tier::FEW;
use super::{Params, Tier};
use crate::fill_hash::fill;
use crate::{Case, Data, Draw, Dtype, Sizes};

/// The number of an epilogue with a bias, a residual and GELU by tanh.
const ALL: u32 = 3 | 2 << 2;

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
    alpha: f32,
    /// Elements between two lines of a and of b as they are stored.
    gaps: [usize; 2],
    /// What becomes of the product: an [`Epilogue`](crate::epilogue::Epilogue)'s number.
    epilogue: u32,
}

impl Shape {
    fn new(tier: Tier, [batch, m, n, k]: [usize; 4], [transpose_a, transpose_b]: [bool; 2]) -> Self {
        let (keep, dtype, around, less) = (false, Dtype::F32, [Dtype::F32; 2], 0);
        let (alpha, gaps, epilogue) = (0.5, [0; 2], 0);
        Self { batch, m, n, k, transpose_a, transpose_b, keep, dtype, around, tier, less, alpha, gaps, epilogue }
    }

    fn keep(self) -> Self {
        Self { keep: true, ..self }
    }

    fn plain(self) -> Self {
        Self { alpha: 1.0, ..self }
    }

    fn ending(self) -> Self {
        Self { epilogue: ALL, ..self }
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
        let rounded = |values: Vec<f32>| if self.tier.rounds() { Dtype::F16.round(&values) } else { values };
        let mut params = Params {
            k_last: (k - self.less) as u32,
            alpha: self.alpha,
            accumulate: self.keep.into(),
            dtype: self.dtype.code(),
            a_dtype: self.around[0].code(),
            c_dtype: self.around[1].code(),
            tier: self.tier.code(),
            epilogue: self.epilogue,
            ..Params::new(batch, m, n, k, self.transpose_a, self.transpose_b)
        };
        let lines = [if self.transpose_a { k } else { m }, if self.transpose_b { n } else { k }];
        let [a_more, b_more] = [0, 1].map(|i| (lines[i] * self.gaps[i]) as u32);
        let [a_gap, b_gap] = self.gaps.map(|gap| gap as u32);
        *if self.transpose_a { &mut params.a_column } else { &mut params.a_row } += a_gap;
        *if self.transpose_b { &mut params.b_column } else { &mut params.b_row } += b_gap;
        if batch > 1 {
            params.a_batch += a_more;
            params.b_batch += b_more;
        }
        let [a, b] = [m * k + a_more as usize, k * n + b_more as usize].map(|product| batch * product);
        Case {
            params,
            inputs: vec![
                Data::F32(rounded(fill(seed, a, 1.0))),
                Data::F32(rounded(fill(seed + 1, b, 1.0))),
                Data::F32(fill(seed + 3, n, 1.0)),
                Data::F32(fill(seed + 4, batch * m * n, 1.0)),
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
            if tier.is_narrow() { ([2, 5, 131, 33], [3, 72, 12, 52]) } else { ([1, 65, 67, 33], [3, 68, 132, 52]) };
        shapes.push(Shape::new(tier, [1, 1, 1, 1], [false, false]));
        let dtypes = [Dtype::F32, Dtype::F16, Dtype::BF16];
        let dtypes = if tier.rounds() { &dtypes[..2] } else { &dtypes };
        for transposes in TRANSPOSES {
            // Nothing divides the first; four divides the second, of which the last product is short.
            for &dtype in if transposes[0] { &dtypes[..1] } else { dtypes } {
                shapes.push(Shape::new(tier, odd, transposes).stored(dtype).keep());
                shapes.push(Shape::new(tier, odd, transposes).stored(dtype).ending());
                shapes.push(Shape { less: 32, ..Shape::new(tier, fours, transposes).stored(dtype) });
            }
        }
        // Mixed precision: a product forward, of what was stored as f16 with a weight; dx, of the stream's gradient; dW.
        let (f32, f16) = (Dtype::F32, Dtype::F16);
        for (transposes, a, dtype, c) in
            [([false, true], f16, f32, f16), ([false, false], f32, f16, f16), ([true, false], f16, f16, f32)]
        {
            shapes.push(Shape::new(tier, odd, transposes).stored(dtype).around([a, c]).keep());
            shapes.push(Shape::new(tier, odd, transposes).stored(dtype).around([a, c]).ending());
            shapes.push(Shape { less: 32, ..Shape::new(tier, fours, transposes).stored(dtype).around([a, c]) });
        }
    }
    // The CPU's path for few rows, up to one past its end; and one token, as it is decoded.
    for (m, dtype) in [(1, Dtype::F32), (5, Dtype::BF16), (16, Dtype::F16), (3, Dtype::F32), (1, Dtype::BF16)] {
        shapes.push(Shape::new(Tier::Narrow, [2, m, 71, 100], [false, true]).stored(dtype));
    }
    shapes.push(Shape::new(Tier::Small, [2, 17, 71, 100], [false, true]));
    // Its paths for few columns and few terms, which take no factor.
    for (sizes, transpose_b) in
        [([2, 70, 3, 100], true), ([1, 40, 16, 33], true), ([2, 17, 71, 3], false), ([1, 300, 67, 1], false)]
    {
        shapes.push(Shape::new(Tier::Small, sizes, [false, transpose_b]).plain());
    }
    // A bias or a residual alone, each activation alone, and what is added to what is there; the CPU's tasks of some columns.
    let one = Shape::new(Tier::Small, [1, 33, 300, 21], [false, true]);
    shapes.extend([1, 2, 1 << 2, 2 << 2, 3 << 2, 4 << 2, 5 << 2].map(|epilogue| Shape { epilogue, ..one }));
    shapes.push(one.ending().keep());
    shapes.push(Shape::new(Tier::Narrow, [2, 3, 71, 100], [false, true]).ending().keep());
    shapes
}

fn large() -> Vec<Shape> {
    let square = TRANSPOSES.map(|transposes| Shape::new(Tier::Small, [1, 515, 1_027, 769], transposes));
    let tall = Shape::new(Tier::NarrowFour, [1, 66_000, 7, 5], [false, true]).keep();
    // A weight that the CPU widens in several parts, both ways round.
    let weight =
        [true, false].map(|tb| Shape::new(Tier::Large, [1, 67, 2_051, 1_539], [false, tb]).stored(Dtype::BF16).keep());
    let weight = weight.into_iter().flat_map(|shape| [shape, shape.ending()]);
    let rest =
        [Tier::Cooperative8, Tier::Cooperative16].map(|tier| Shape::new(tier, [1, 300, 260, 1_000], [false, true]));
    square.into_iter().chain([tall]).chain(weight).chain(rest).collect()
}

/// Any shape, transposition, storage, tier and epilogue.
pub(super) fn draw(draw: &mut Draw) -> Case<Params> {
    let tier = draw.one_of(&Tier::ALL);
    let (long, k) = (draw.size(300), draw.size(200));
    let short = draw.size(if tier.is_narrow() { FEW as usize } else { 300 });
    let [m, n] = draw.one_of(&[[short, long], [long, short]]);
    let dtypes = if tier.rounds() { &Dtype::ALL[..2] } else { &Dtype::ALL };
    let shape = Shape::new(tier, [draw.size(3), m, n, k], [draw.bit(), draw.bit()]);
    let (keep, less, gaps) = (draw.bit(), draw.below(k), [draw.gap(), draw.gap()]);
    let (dtype, alpha) = (draw.one_of(dtypes), draw.one_of(&[0.5, 1.0]));
    let around = [(); 2].map(|()| draw.one_of(&Dtype::ALL[..2]));
    let epilogue = draw.one_of(&[0, 0, 0, 1, 2, 3, ALL]);
    Shape { keep, dtype, around, less, gaps, alpha, epilogue, ..shape }.case(draw.seed())
}
