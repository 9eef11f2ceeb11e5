//! Which shader attention runs forward on a GPU, and with what.
//!
//! | windows and heads | tier |
//! |---|---|
//! | up to 8 queries a window, as of one token that is decoded | [`Tier::Short`] |
//! | heads up to 128 wide, a multiple of 16, whose operands may be rounded to f16, which the device has cooperative matrices of | [`Tier::Cooperative16`], [`Tier::Cooperative8`] |
//! | all others | [`Tier::Tiled`] |

use super::{NARROW, Params};
use crate::cooperative::matrices;
use crate::{Capabilities, Pass, matmul::Precision};

/// Queries a window, at the most, that a workgroup each is for.
pub(super) const SHORT: u32 = 8;

/// How a launch attends on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// A workgroup makes 64 rows of one head's output, of heads wider than 128 32.
    Tiled,
    /// A workgroup makes one row, for which its threads share out the keys.
    Short,
    /// Cooperative matrices of 8 x 8, f16 -> f32: 32 rows a workgroup. Vulkan alone runs them.
    Cooperative8,
    /// The same of 16 x 16: 64 rows.
    Cooperative16,
}

impl Tier {
    /// All of them, by their codes in [`Params::tier`].
    pub const ALL: [Self; 4] = [Self::Tiled, Self::Short, Self::Cooperative8, Self::Cooperative16];

    /// Its number in launches.
    pub fn code(self) -> u32 {
        self as u32
    }

    pub(super) fn of(p: &Params) -> Self {
        Self::ALL.get(p.tier as usize).copied().unwrap_or(Self::Tiled)
    }

    /// The tier for some windows and heads, by what the device can do.
    pub(super) fn choose(p: &Params, device: Capabilities) -> Self {
        let fits = |tier: Self, size: u32, has: bool| {
            let threads = device.subgroup_size().is_some_and(|threads| (size..=size * size / 2).contains(&threads));
            has && threads && tier.workgroup_bytes(p) <= device.workgroup_bytes
        };
        let rounded = p.precision == Precision::Half.code() && Self::has_matrices_for(p.width);
        if p.length <= SHORT && p.width <= 256 * p.piece() {
            Self::Short
        } else if rounded && fits(Self::Cooperative16, 16, device.cooperative_16) {
            Self::Cooperative16
        } else if rounded && fits(Self::Cooperative8, 8, device.cooperative_8) {
            Self::Cooperative8
        } else {
            Self::Tiled
        }
    }

    /// True if cooperative matrices of either size make heads of this width.
    pub(super) fn has_matrices_for(width: u32) -> bool {
        width.is_multiple_of(16) && width <= 128
    }

    /// Rows and columns of its cooperative matrices.
    pub(super) fn size(self) -> Option<u32> {
        match self {
            Self::Tiled | Self::Short => None,
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
            Self::Tiled => 0,
            Self::Short => 1,
            Self::Cooperative8 | Self::Cooperative16 => 2,
        }
    }

    pub(super) fn constants(self, p: &Params) -> Vec<(&'static str, u32)> {
        match (self, self.size()) {
            (_, Some(size)) => vec![("SIZE", size), ("HEAD", p.width)],
            (Self::Short, _) => vec![("HEAD", p.width), ("PIECE", p.piece())],
            _ => p.tile(p.threads(NARROW)),
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
            _ => 4 * p.threads(NARROW)[1],
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
            Tier::choose(&p, device)
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
            (9, 144, half, both, Tier::Tiled),
            (9, 72, half, both, Tier::Tiled),
            (9, 64, half, none, Tier::Tiled),
        ] {
            assert_eq!(chosen(length, width, precision, device), tier, "{length} x {width}");
        }
    }
}
