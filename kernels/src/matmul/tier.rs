//! Which shader a product runs on a GPU, and with what.
//!
//! | products | tier |
//! |---|---|
//! | up to 16 rows or columns of c: one token, a gate, LoRA's ranks | [`Tier::Narrow`]; beside very many, [`Tier::NarrowFour`] |
//! | operands may be rounded to f16, which the device has cooperative matrices of | [`Tier::Cooperative16`], [`Tier::Cooperative8`] |
//! | any, where a CPU runs a subgroup as a vector | [`Tier::Broadcast`], tiles of up to 128 x 32 |
//! | tiles of 128 x 128 fit as well as those of 64 x 64, and are enough to keep the device busy | [`Tier::Large`] |
//! | all others | [`Tier::Small`], tiles of 64 x 64 |
//!
//! How many are enough, and the other numbers of this choice, are the device's [`Tuning`]. Where a long sum has few tiles, as the
//! gradient of a weight has, parts of it are summed by workgroups of their own and then added in order ([`parts`]).

use super::{Params, Precision};
use crate::cooperative::matrices;
use crate::{Capabilities, Dtype, Pass, Tuning, grid};

/// How a launch computes its product on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Tiles of 64 x 64, 4 x 4 of them a thread.
    Small,
    /// Tiles of 128 x 128, 8 x 8 of them a thread.
    Large,
    /// Up to 16 rows or columns, bound by reading the other operand, of which a thread goes through one line.
    Narrow,
    /// Cooperative matrices of 8 x 8 in tiles of 64 x 64, f16 -> f32. Vulkan alone runs them.
    Cooperative8,
    /// Cooperative matrices of 16 x 16 in tiles of 128 x 128, f16 -> f32. Vulkan alone runs them.
    Cooperative16,
    /// As [`Tier::Narrow`], four lines a thread: the narrow operand is read less often, by fewer workgroups.
    NarrowFour,
    /// Rows that subgroups of up to 16 threads broadcast, in tiles of up to 128 x 32, 16 rows a subgroup.
    Broadcast,
}

/// Rows or columns of c that count as few.
pub(super) const FEW: u32 = 16;

impl Tier {
    /// All of them, by their codes in [`Params::tier`].
    pub const ALL: [Self; 7] = [
        Self::Small,
        Self::Large,
        Self::Narrow,
        Self::Cooperative8,
        Self::Cooperative16,
        Self::NarrowFour,
        Self::Broadcast,
    ];

    /// Its number in launches.
    pub fn code(self) -> u32 {
        self as u32
    }

    pub(super) fn of(p: &Params) -> Self {
        Self::ALL.get(p.tier as usize).copied().unwrap_or(Self::Small)
    }

    /// The tier of a product, by its shape and what the device can do.
    pub(super) fn choose(p: &Params, device: Capabilities, tuning: &Tuning) -> Self {
        let tiles = |side: u32| u64::from(p.batch) * u64::from(p.m.div_ceil(side)) * u64::from(p.n.div_ceil(side));
        let rounded = p.precision == Precision::Half.code()
            && p.m.min(p.n) >= 64
            && p.dtype != Dtype::BF16.code()
            && device.subgroup_size().is_some();
        if p.m.min(p.n) <= FEW {
            if p.m.max(p.n) >= tuning.four_lines { Self::NarrowFour } else { Self::Narrow }
        } else if rounded
            && tuning.matmul_cooperative >= 16
            && device.cooperative_16
            && device.workgroup_bytes >= 49_152
        {
            Self::Cooperative16
        } else if rounded && tuning.matmul_cooperative >= 8 && device.cooperative_8 && device.workgroup_bytes >= 22_528
        {
            Self::Cooperative8
        } else if tuning.matmul_broadcast != 0 && device.narrow_subgroups() {
            Self::Broadcast
        } else if 10 * tiles(128) <= 3 * tiles(64) && tiles(128) >= u64::from(tuning.large_tiles) {
            Self::Large
        } else {
            Self::Small
        }
    }

    /// True where it rounds its operands to f16.
    pub(super) fn rounds(self) -> bool {
        matches!(self, Self::Cooperative8 | Self::Cooperative16)
    }

    /// True for few rows or columns.
    pub(super) fn is_narrow(self) -> bool {
        matches!(self, Self::Narrow | Self::NarrowFour)
    }

    /// Lines of the wide operand that a thread goes through, where they lie along k.
    fn wide_lines(self) -> u32 {
        if self == Self::NarrowFour { 4 } else { 1 }
    }

    /// Its shader's place in the kernel's list.
    pub(super) fn shader(self) -> usize {
        match self {
            Self::Small | Self::Large => 0,
            Self::Narrow | Self::NarrowFour => 1,
            Self::Cooperative8 | Self::Cooperative16 => 2,
            Self::Broadcast => 3,
        }
    }

    /// Rows and columns of a workgroup's tile.
    fn tile(self, p: &Params) -> [u32; 2] {
        match self {
            Self::Broadcast => [ROWS * subgroups(p), 32],
            Self::Large | Self::Cooperative16 => [128; 2],
            _ => [64; 2],
        }
    }

    pub(super) fn constants(self, p: &Params) -> Vec<(&'static str, u32)> {
        let (a, b) = (Operand::a(p), Operand::b(p));
        let mut constants = vec![
            ("A_ALONG_K", a.along_k().into()),
            ("A_FOURS", a.fours().into()),
            ("B_ALONG_K", b.along_k().into()),
            ("B_FOURS", b.fours().into()),
        ];
        match self {
            Self::Small | Self::Large => constants.extend([("DTYPE", p.dtype), ("BLOCKS", self.tile(p)[0] / 64)]),
            Self::Broadcast => {
                let [rows, width] = self.tile(p);
                constants.extend([("DTYPE", p.dtype), ("SUBGROUPS", rows / ROWS), ("ROWS", ROWS), ("WIDTH", width)]);
            }
            Self::Narrow | Self::NarrowFour => constants.extend([
                ("DTYPE", p.dtype),
                ("COLUMNS", few_columns(p).into()),
                ("LINES", p.m.min(p.n).next_power_of_two()),
                ("WIDE", self.wide_lines()),
            ]),
            Self::Cooperative8 | Self::Cooperative16 => {
                constants.push(("SIZE", self.tile(p)[0] / 8));
            }
        }
        constants
    }

    pub(super) fn types(self, p: &Params) -> Vec<(&'static str, &'static str)> {
        let [a, c] = [Dtype::activation(p.a_dtype).wgsl()[1], Dtype::activation(p.c_dtype).wgsl()[0]];
        let mut types = vec![("StoredA", a), ("StoredC", c)];
        if self.rounds() {
            types.extend(matrices(self.tile(p)[0] / 8));
            types.push(("Stored", Dtype::activation(p.dtype).wgsl()[1]));
        }
        types
    }

    pub(super) fn passes(self, p: &Params) -> Vec<Pass> {
        if !self.is_narrow() {
            let [rows, columns] = self.tile(p);
            return vec![Pass { entry: "main", groups: [p.n.div_ceil(columns), p.m.div_ceil(rows), p.batch] }];
        }
        let wide = if few_columns(p) { Operand::a(p) } else { Operand::b(p) };
        let (entry, lines) = if wide.along_k() { ("along_k", 8 * self.wide_lines()) } else { ("across", 128) };
        let [x, y, _] = grid(wide.lines.div_ceil(lines) as usize);
        vec![Pass { entry, groups: [x, y, p.batch] }]
    }
}

/// Rows of a subgroup of [`Tier::Broadcast`].
const ROWS: u32 = 16;

/// Subgroups of one of its workgroups: eight at the most, and as many in each as share the rows evenly.
fn subgroups(p: &Params) -> u32 {
    let all = p.m.div_ceil(ROWS);
    all.div_ceil(all.div_ceil(8))
}

/// True where c has few columns rather than few rows.
fn few_columns(p: &Params) -> bool {
    p.n < p.m
}

/// An operand as it lies in memory: `lines` rows of a or columns of b, of `k` terms.
struct Operand {
    lines: u32,
    k: [u32; 2],
    /// Elements from a product, a line and a term to the next.
    strides: [u32; 3],
}

impl Operand {
    fn a(p: &Params) -> Self {
        Self { lines: p.m, k: [p.k, p.k_last], strides: [p.a_batch, p.a_row, p.a_column] }
    }

    fn b(p: &Params) -> Self {
        Self { lines: p.n, k: [p.k, p.k_last], strides: [p.b_batch, p.b_column, p.b_row] }
    }

    /// True where the terms of a line are neighbours rather than the lines.
    fn along_k(&self) -> bool {
        self.strides[2] == 1 || self.strides[1] != 1
    }

    /// True where any four neighbours, counted from a multiple of four on, are one vec4 of the buffer.
    fn fours(&self) -> bool {
        let fours = |numbers: &[u32]| numbers.iter().all(|number| number.is_multiple_of(4));
        let [product, line, term] = self.strides;
        if self.along_k() {
            term == 1 && fours(&[self.k[0], self.k[1], product, line])
        } else {
            fours(&[self.lines, product, term])
        }
    }
}

/// The number of parts that a product's sum is made in: several, where it is long and there are few tiles.
pub(super) fn parts(p: &Params, tier: Tier, tuning: &Tuning) -> u32 {
    const LEAST: u32 = 256;
    let groups: u32 = tier.passes(p).iter().map(|pass| pass.groups.iter().product::<u32>()).sum();
    if p.batch > 1 { 1 } else { (tuning.parted_groups / groups.max(1)).min(p.k / LEAST).clamp(1, 32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_by_shape() {
        let none = Capabilities { workgroups: 256, ..Capabilities::default() };
        let subgroup = Some([32, 32]);
        let both =
            Capabilities { cooperative_8: true, cooperative_16: true, subgroup, workgroup_bytes: 49_152, ..none };
        let eight = Capabilities { workgroup_bytes: 32_768, ..both };
        let vectors = Capabilities { software: true, workgroups: 8, subgroup: Some([8, 8]), ..none };
        let chosen = |m, n, half: bool, device| {
            let precision = if half { Precision::Half } else { Precision::F32 };
            Tier::choose(
                &Params { precision: precision.code(), ..Params::new(1, m, n, 1_024, false, true) },
                device,
                &Tuning::built_in(&device),
            )
        };
        for (m, n, half, device, tier) in [
            (1, 4_095, false, none, Tier::Narrow),
            (4_096, 16, true, both, Tier::NarrowFour),
            (17, 17, true, both, Tier::Small),
            (1_024, 1_024, false, both, Tier::Small),
            (1_024, 2_048, false, both, Tier::Large),
            (1_024, 1_024, false, Capabilities { workgroups: 8, ..none }, Tier::Large),
            (4_160, 4_160, false, none, Tier::Large),
            (192, 16_384, false, none, Tier::Small),
            (1_024, 1_024, true, both, Tier::Cooperative16),
            (1_024, 1_024, true, eight, Tier::Cooperative8),
            (1_024, 1_024, true, Capabilities { subgroup: Some([32, 64]), ..both }, Tier::Small),
            (1_024, 1_024, true, none, Tier::Small),
            (17, 17, false, vectors, Tier::Broadcast),
            (16, 1_024, false, vectors, Tier::Narrow),
            (1_024, 1_024, false, Capabilities { software: false, ..vectors }, Tier::Large),
            (1_024, 1_024, false, Capabilities { subgroup, ..vectors }, Tier::Large),
        ] {
            assert_eq!(chosen(m, n, half, device), tier, "{m} x {n}");
        }
    }

    #[test]
    fn parts_of_long_sums() {
        let parts = |m, n, k| {
            let device = Capabilities { workgroups: 256, ..Capabilities::default() };
            let p = Params::new(1, m, n, k, true, false);
            let tuning = Tuning::built_in(&device);
            parts(&p, Tier::choose(&p, device, &tuning), &tuning)
        };
        assert_eq!([parts(256, 256, 4_096), parts(256, 256, 511), parts(2_048, 2_048, 4_096)], [16, 1, 1]);
    }

    #[test]
    fn how_operands_lie() {
        let lie = |p: &Params| [Operand::a(p), Operand::b(p)].map(|o| (o.along_k(), o.fours()));
        assert_eq!(lie(&Params::new(1, 64, 68, 72, false, false)), [(true, true), (false, true)]);
        assert_eq!(lie(&Params::new(1, 64, 68, 72, true, true)), [(false, true), (true, true)]);
        assert_eq!(lie(&Params::new(2, 65, 67, 72, false, false)), [(true, true), (false, false)]);
        assert_eq!(lie(&Params::new(1, 65, 68, 70, true, true)), [(false, false), (true, false)]);
    }
}
