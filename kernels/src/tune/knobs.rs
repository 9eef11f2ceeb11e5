//! The numbers of a [`Tuning`], what may be put in their places, and the launches that decide.

use super::launches::{Launch, attend, attend_backward, merge, merge_backward, product};
use crate::{Capabilities, Draw, Dtype, Tuning};

/// One number of [`Tuning`] and what may be put in its place.
pub struct Knob {
    /// Its name.
    pub name: &'static str,
    /// The kernels whose launches it changes.
    pub kernels: &'static [&'static str],
    /// What it decides, for a person.
    pub what: &'static str,
    candidates: &'static [u32],
    /// What the choice is timed on.
    pub(super) shapes: fn(hardware: bool) -> Vec<Launch>,
    /// A random launch; with a number, one that it decides, if that is small.
    pub(super) draw: fn(&mut Draw, Option<u32>) -> Launch,
}

/// What the numbers mean, counted: raised when the code that goes by one changes, so that what was found before is not believed.
pub const RULES: u32 = 2;

/// Never: for numbers from which on something is done.
const NEVER: u32 = u32::MAX;

const COOPERATIVE: &str = "side of the cooperative matrices where operands may be rounded to f16; 0 for none";

const BROADCAST: &str = "matmul_broadcast";

/// All of them.
pub const KNOBS: &[Knob] = &[
    Knob {
        name: "matmul_cooperative",
        kernels: &["matmul"],
        what: COOPERATIVE,
        candidates: &[0, 8, 16],
        shapes: |hardware| {
            let sizes: &[_] = if hardware { &[[2_048, 4_096, 4_096], [8_192, 576, 1_536]] } else { &[[256, 512, 256]] };
            sizes.iter().map(|&size| product(size, [false, true], Dtype::F16, true)).collect()
        },
        draw: |draw, _| {
            let size = [64 + draw.size(100), 64 + draw.size(100), draw.size(100)];
            product(size, [draw.bit(), draw.bit()], draw.one_of(&[Dtype::F32, Dtype::F16]), true)
        },
    },
    Knob {
        name: BROADCAST,
        kernels: &["matmul"],
        what: "1 if subgroups broadcast rows of a product, which is for software; 0 for tiles in workgroup memory",
        candidates: &[0, 1],
        shapes: |hardware| {
            let sizes: &[_] = if hardware { &[[1_024, 1_024, 1_024]] } else { &[[128, 256, 128], [256, 512, 256]] };
            sizes.iter().map(|&size| product(size, [false, true], Dtype::F32, false)).collect()
        },
        draw: |draw, _| {
            let size = [17 + draw.size(150), 17 + draw.size(150), draw.size(200)];
            product(size, [draw.bit(), draw.bit()], Dtype::F32, false)
        },
    },
    Knob {
        name: "large_tiles",
        kernels: &["matmul"],
        what: "tiles of 128 x 128 from which on a product is made of them; fewer are made of 64 x 64",
        candidates: &[1, 4, 16, 32, 64, 128, 256, 512, NEVER],
        shapes: |hardware| {
            let sizes: &[_] = if hardware {
                &[[512, 512, 1_024], [1_024, 1_024, 1_024], [2_048, 1_536, 576], [2_048, 4_096, 1_024]]
            } else {
                &[[128, 256, 128], [256, 512, 256], [512, 512, 128]]
            };
            sizes.iter().map(|&size| product(size, [false, true], Dtype::F32, false)).collect()
        },
        draw: |draw, tiles| {
            let size = match tiles.filter(|tiles| *tiles <= 512) {
                Some(tiles) => [100 + draw.size(20), 128 * tiles as usize, draw.size(40)],
                None => [100 + draw.size(200), 100 + draw.size(200), draw.size(100)],
            };
            product(size, [draw.bit(), draw.bit()], Dtype::F32, false)
        },
    },
    Knob {
        name: "parted_groups",
        kernels: &["matmul"],
        what: "workgroups that a long sum is made in parts for, as a weight's gradient",
        candidates: &[1, 8, 32, 64, 128, 256, 512, 1_024],
        shapes: |hardware| {
            let sizes: &[_] = if hardware {
                &[[576, 576, 4_096], [1_536, 576, 8_192], [8, 512, 4_096], [1_024, 1_024, 4_096]]
            } else {
                &[[128, 128, 1_024], [8, 256, 2_048], [192, 256, 1_024]]
            };
            sizes.iter().map(|&size| product(size, [true, false], Dtype::F32, false)).collect()
        },
        draw: |draw, _| {
            let size = [8 + draw.size(120), 8 + draw.size(56), 512 + draw.size(700)];
            product(size, [draw.bit(), draw.bit()], Dtype::F32, false)
        },
    },
    Knob {
        name: "four_lines",
        kernels: &["matmul"],
        what: "lines of the wide operand from which on a thread goes through four, where the other has 16 or fewer",
        candidates: &[1, 512, 1_024, 2_048, 4_096, 8_192, 16_384, NEVER],
        shapes: |hardware| {
            let sizes: &[_] = if hardware {
                &[
                    [1, 576, 576],
                    [1, 1_536, 576],
                    [1, 4_096, 4_096],
                    [1, 49_152, 576],
                    [8, 4_096, 1_024],
                    [8_192, 4, 1_536],
                ]
            } else {
                &[[1, 576, 576], [1, 1_536, 576], [1, 8_192, 256], [8, 2_048, 256], [2_048, 4, 256]]
            };
            sizes.iter().map(|&size| product(size, [false, true], Dtype::BF16, false)).collect()
        },
        draw: |draw, lines| {
            let lines = lines.filter(|lines| *lines <= 16_384).map_or(500, |lines| lines as usize) + draw.size(3_000);
            product([draw.size(16), lines, draw.size(60)], [false, true], draw.one_of(&Dtype::ALL), false)
        },
    },
    Knob {
        name: "attention_cooperative",
        kernels: &["attention"],
        what: COOPERATIVE,
        candidates: &[0, 8, 16],
        shapes: |hardware| {
            let (batch, length) = if hardware { (4, 1_024) } else { (1, 128) };
            [64, 128].map(|width| attend([batch, length, 4, 4, width], 0, true)).into()
        },
        draw: |draw, _| {
            let sizes = [draw.size(2), 33 + draw.size(50), 2 * draw.size(2), 2, draw.one_of(&[32, 64, 112, 128])];
            attend(sizes, draw.size(60), true)
        },
    },
    Knob {
        name: "short_queries",
        kernels: &["attention"],
        what: "queries a window up to which each has a workgroup of its own",
        candidates: &[0, 1, 2, 4, 8, 16, 32],
        shapes: |hardware| {
            let heads = if hardware { 16 } else { 4 };
            [1, 2, 4, 8, 16, 32]
                .map(|length| attend([1, length, heads, heads, 64], if hardware { 2_048 } else { 256 }, false))
                .into()
        },
        draw: |draw, queries| {
            let length = queries.map_or_else(|| draw.size(32), |queries| queries.clamp(1, 32) as usize);
            attend([draw.size(2), length, 2 * draw.size(2), 2, draw.one_of(&[64, 20])], draw.size(300), false)
        },
    },
    Knob {
        name: "tall_forward",
        kernels: &["attention"],
        what: "width of heads up to which a tile has 64 queries and 32 keys; of wider ones 32 and 64",
        candidates: &[0, 64, 128, 256],
        shapes: |hardware| {
            let (batch, length) = if hardware { (4, 1_024) } else { (1, 128) };
            [64, 128, 256].map(|width| attend([batch, length, 4, 4, width], 0, false)).into()
        },
        draw: |draw, width| attend(drawn_heads(draw, width), 0, false),
    },
    Knob {
        name: "tall_backward",
        kernels: &["attention_backward"],
        what: "width of heads up to which a tile has 64 rows and 32 columns of scores; of wider ones 32 and 64",
        candidates: &[0, 64, 128, 256],
        shapes: |hardware| {
            let (batch, length) = if hardware { (4, 1_024) } else { (1, 96) };
            [64, 128, 256].map(|width| attend_backward([batch, length, 4, 4, width])).into()
        },
        draw: |draw, width| attend_backward(drawn_heads(draw, width)),
    },
    Knob {
        name: "merge_pieces",
        kernels: &["gate_merge", "gate_merge_backward"],
        what: "pieces of a token's row that a thread of a gate merge has",
        candidates: &[1, 2, 4, 8, 16, 32],
        shapes: merges,
        draw: drawn_merge,
    },
    Knob {
        name: "merge_lanes",
        kernels: &["gate_merge", "gate_merge_backward"],
        what: "threads of a token's row in a gate merge, at the least",
        candidates: &[8, 16, 32, 64, 128],
        shapes: merges,
        draw: drawn_merge,
    },
];

fn merges(hardware: bool) -> Vec<Launch> {
    let tokens = if hardware { 4_096 } else { 256 };
    let sizes = [[tokens, 128, 3], [tokens, 576, 2], [tokens, 1_536, 3], [tokens / 4, 2_048, 9]];
    sizes.into_iter().flat_map(|size| [merge(size), merge_backward(size)]).collect()
}

/// Windows, more queries than count as few, heads, key heads and their width.
fn drawn_heads(draw: &mut Draw, width: Option<u32>) -> [usize; 5] {
    let width = width.map_or_else(|| draw.one_of(&[32, 128, 200]), |width| width.clamp(16, 256) as usize);
    [draw.size(2), 33 + draw.size(50), 2 * draw.size(2), 2, width]
}

fn drawn_merge(draw: &mut Draw, _: Option<u32>) -> Launch {
    let branches = 1 + draw.size(8);
    let size = [draw.size(20), draw.one_of(&[64, 65, 576, 1_030]), branches];
    if draw.bit() { merge(size) } else { merge_backward(size) }
}

impl Knob {
    /// What may be put in the place of the number that is built in, on a device of these capabilities.
    pub fn candidates(&self, device: &Capabilities) -> Vec<u32> {
        let built_in = Tuning::built_in(device).get(self.name);
        let other = |value: &u32| Some(*value) != built_in && self.lack(*value, device).is_none();
        self.candidates.iter().copied().filter(other).collect()
    }

    /// What a device lacks for a number; or that it can't be one at all.
    pub fn lack(&self, value: u32, device: &Capabilities) -> Option<&'static str> {
        let cooperative = self.what == COOPERATIVE;
        match value {
            8 if cooperative && !device.cooperative_8 => Some("cooperative matrices of 8 x 8"),
            1 if self.name == BROADCAST && !device.narrow_subgroups() => Some("subgroups of 4 to 16 threads"),
            16 if cooperative && !device.cooperative_16 => Some("cooperative matrices of 16 x 16"),
            _ => (!self.candidates.contains(&value)).then_some("any such way"),
        }
    }

    /// `tuning` with `value` for this number.
    #[must_use]
    pub fn with(&self, mut tuning: Tuning, value: u32) -> Tuning {
        if let Some(number) = tuning.get_mut(self.name) {
            *number = value;
        }
        tuning
    }

    /// The shapes that its choice is timed on.
    pub fn shapes(&self, hardware: bool) -> Vec<String> {
        (self.shapes)(hardware).into_iter().map(|launch| launch.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, KernelError, check::TOLERANCE, registry};

    #[test]
    fn each_is_a_number_of_kernels_that_there_are() {
        let device = Capabilities { cooperative_8: true, ..Capabilities::default() };
        for knob in KNOBS {
            let built_in = Tuning::built_in(&device).get(knob.name).expect("a number");
            let kernels = || registry::ALL.iter().map(|kernel| kernel.name());
            assert!(knob.kernels.iter().all(|name| kernels().any(|known| known == *name)), "{}", knob.name);
            assert!(!knob.candidates(&device).contains(&built_in));
            assert_eq!(knob.with(Tuning::built_in(&device), 3).get(knob.name), Some(3));
        }
        let lack = |value| KNOBS[0].lack(value, &device);
        assert_eq!([lack(0), lack(8)], [None; 2]);
        assert_eq!([lack(16), lack(7)], [Some("cooperative matrices of 16 x 16"), Some("any such way")]);
        assert_eq!(KNOBS[0].candidates(&device), [0]);
    }

    #[test]
    fn every_device_can_bind_the_shapes() {
        for launch in KNOBS.iter().flat_map(|knob| [false, true].into_iter().flat_map(knob.shapes)) {
            let [bytes, webgpu] = [launch.largest(), 128 << 20];
            assert!(bytes <= webgpu, "{bytes} bytes for {}", launch.name);
        }
    }

    #[test]
    fn what_is_drawn_is_right_in_main_memory() -> Result<(), KernelError> {
        let device = Device::cpu();
        for (number, knob) in KNOBS.iter().enumerate() {
            for value in [None, Some(16)] {
                let launch = (knob.draw)(&mut Draw::new(number as u32), value);
                let error = launch.error(&device)?;
                assert!(error <= TOLERANCE, "{}: {error} in {}", knob.name, launch.name);
            }
        }
        Ok(())
    }
}
