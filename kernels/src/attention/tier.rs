//! Which shader attention runs forward on a GPU, and with what.
//!
//! | windows and heads | tier |
//! |---|---|
//! | few queries a window, as of one token that is decoded | [`Tier::Short`] |
//! | heads up to 128 wide, a multiple of 16, whose operands may be rounded to f16, which the device has cooperative matrices of | [`Tier::Cooperative16`], [`Tier::Cooperative8`] |
//! | all others, and all backward | [`Tier::Tiled`], for wide heads [`Tier::Wide`] |
//!
//! How many queries are few, how wide a head is wide, and which matrices are used, are the device's [`Tuning`].

use super::Params;
use crate::cooperative::matrices;
use crate::{Capabilities, Pass, Tuning, matmul::Precision};

/// How a launch attends on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// A workgroup makes 64 rows of one head's output, from 64 x 32 scores at a time.
    Tiled,
    /// A workgroup makes one row, for which its threads share out the keys.
    Short,
    /// Cooperative matrices of 8 x 8, f16 -> f32: 32 rows a workgroup. Vulkan alone runs them.
    Cooperative8,
    /// The same of 16 x 16: 64 rows.
    Cooperative16,
    /// As [`Tier::Tiled`], 32 rows from 32 x 64 scores: the wider a head, the fewer rows of it fit.
    Wide,
}

impl Tier {
    /// All of them, by their codes in [`Params::tier`].
    pub const ALL: [Self; 5] = [Self::Tiled, Self::Short, Self::Cooperative8, Self::Cooperative16, Self::Wide];

    /// Its number in launches.
    pub fn code(self) -> u32 {
        self as u32
    }

    pub(crate) fn of(p: &Params) -> Self {
        Self::ALL.get(p.tier as usize).copied().unwrap_or(Self::Tiled)
    }

    /// The tier for some windows and heads, by what the device can do.
    pub(crate) fn choose(p: &Params, device: Capabilities, tuning: &Tuning) -> Self {
        let fits = |tier: Self, size: u32, has: bool| {
            let threads = device.subgroup_size().is_some_and(|threads| (size..=size * size / 2).contains(&threads));
            has && threads && tier.workgroup_bytes(p) <= device.workgroup_bytes
        };
        let rounded = p.precision == Precision::Half.code() && Self::has_matrices_for(p.width);
        if p.length <= tuning.short_queries && p.width <= 256 * p.piece() {
            Self::Short
        } else if rounded && tuning.attention_cooperative >= 16 && fits(Self::Cooperative16, 16, device.cooperative_16)
        {
            Self::Cooperative16
        } else if rounded && tuning.attention_cooperative >= 8 && fits(Self::Cooperative8, 8, device.cooperative_8) {
            Self::Cooperative8
        } else {
            Self::tiled(p.width, tuning.tall_forward)
        }
    }

    /// The tiles of heads as wide as `width`, which have more rows than columns to `tall`.
    pub(crate) fn tiled(width: u32, tall: u32) -> Self {
        if width > tall { Self::Wide } else { Self::Tiled }
    }

    /// Threads of a tile's workgroup in x and y: each has four rows of scores by four columns, and four rows of a share of the
    /// head's width, which is smaller the more there are in x.
    pub(crate) fn threads(self) -> [u32; 2] {
        if self == Self::Wide { [16, 8] } else { [8, 16] }
    }

    /// True if cooperative matrices of either size make heads of this width.
    pub(super) fn has_matrices_for(width: u32) -> bool {
        width.is_multiple_of(16) && width <= 128
    }

    /// Rows and columns of its cooperative matrices.
    pub(super) fn size(self) -> Option<u32> {
        match self {
            Self::Tiled | Self::Wide | Self::Short => None,
            Self::Cooperative8 => Some(8),
            Self::Cooperative16 => Some(16),
        }
    }

    /// Bytes of workgroup memory that cooperative matrices take, as `attention_cooperative.wgsl` declares it.
    fn workgroup_bytes(self, p: &Params) -> u32 {
        let Some(size) = self.size() else { return 0 };
        let parts = p.width.div_ceil(8 * size);
        let (rows, keys) = (4 * size, 2 * size * parts);
        let (line, scores) = (p.width / 4 + 2, keys / 4 + 2);
        8 * (rows + keys) * line + 24 * rows * scores + 4 * (rows + 4 * parts)
    }

    /// Its shader's place in the kernel's list.
    pub(super) fn shader(self) -> usize {
        match self {
            Self::Tiled | Self::Wide => 0,
            Self::Short => 1,
            Self::Cooperative8 | Self::Cooperative16 => 2,
        }
    }

    pub(super) fn constants(self, p: &Params) -> Vec<(&'static str, u32)> {
        match (self, self.size()) {
            (_, Some(size)) => vec![("SIZE", size), ("HEAD", p.width)],
            (Self::Short, _) => vec![("HEAD", p.width), ("PIECE", p.piece())],
            _ => p.tile(self.threads()),
        }
    }

    pub(super) fn types(self, p: &Params) -> Vec<(&'static str, &'static str)> {
        match self.size() {
            Some(size) => matrices(size).into_iter().chain([("Stored", p.dtype().wgsl()[1])]).collect(),
            None => p.types(),
        }
    }

    pub(super) fn passes(self, p: &Params) -> Vec<Pass> {
        let rows = match (self, self.size()) {
            (_, Some(size)) => 4 * size,
            (Self::Short, _) => 1,
            _ => 4 * self.threads()[1],
        };
        vec![Pass { entry: "main", groups: [p.length.div_ceil(rows), p.heads, p.batch] }]
    }
}

#[cfg(test)]
mod tests {
    use super::super::shapes;
    use super::*;
    use crate::Sizes;

    #[test]
    fn tiers_by_shape_and_device() {
        let none = Capabilities::default();
        let both = Capabilities {
            cooperative_8: true,
            cooperative_16: true,
            subgroup: Some([32, 32]),
            workgroup_bytes: 49_152,
            ..none
        };
        let small = Capabilities { workgroup_bytes: 32_768, ..both };
        let wide = Capabilities { subgroup: Some([64, 64]), ..both };
        let chosen = |length, width, precision: Precision, device| {
            let p = Params { length, width, precision: precision.code(), ..shapes(Sizes::Odd)[0] };
            Tier::choose(&p, device, &Tuning::built_in(&device))
        };
        let half = Precision::Half;
        for (length, width, precision, device, tier) in [
            (8, 64, half, both, Tier::Short),
            (9, 64, half, both, Tier::Cooperative16),
            (9, 128, half, both, Tier::Cooperative16),
            (9, 128, half, small, Tier::Cooperative8),
            (9, 64, half, small, Tier::Cooperative16),
            (9, 64, half, wide, Tier::Cooperative16),
            (9, 64, half, Capabilities { cooperative_16: false, ..wide }, Tier::Tiled),
            (9, 64, half, Capabilities { subgroup: Some([16, 32]), ..both }, Tier::Tiled),
            (9, 64, Precision::F32, both, Tier::Tiled),
            (9, 144, half, both, Tier::Wide),
            (9, 72, half, both, Tier::Tiled),
            (9, 64, half, none, Tier::Tiled),
        ] {
            assert_eq!(chosen(length, width, precision, device), tier, "{length} x {width}");
        }
    }
}
