//! Which of several ways to the same result a GPU takes: the numbers by which tiers and tiles are chosen.
//!
//! They are one thing for all devices of a kind until `mode tune` has measured others on one ([`crate::tune`]). Whatever they are,
//! results are the same to the tolerance of the checks; their last bits may differ.

use crate::Capabilities;

macro_rules! tuning {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// The numbers by which tiers and tiles are chosen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Tuning { $($(#[$doc])* pub $field: u32),* }

        impl Tuning {
            /// The number of this name.
            pub fn get_mut(&mut self, name: &str) -> Option<&mut u32> {
                match name {
                    $(stringify!($field) => Some(&mut self.$field),)*
                    _ => None,
                }
            }
        }
    };
}

tuning! {
    /// Products: the widest cooperative matrices that are used where operands may be rounded: 16, 8, or 0 for none.
    matmul_cooperative,
    /// Products: 1 where subgroups of up to 16 threads broadcast rows, rather than that tiles lie in workgroup memory; or 0.
    matmul_broadcast,
    /// Products: tiles of 128 x 128 from which on they are taken, rather than four times as many of 64 x 64.
    large_tiles,
    /// Products: workgroups that a long sum is parted for.
    parted_groups,
    /// Products of few rows or columns: lines of the other operand from which on a thread goes through four.
    four_lines,
    /// Attention, forward: the widest cooperative matrices, as for products.
    attention_cooperative,
    /// Attention, forward: queries a window up to which each has a workgroup of its own.
    short_queries,
    /// Attention, forward: width of heads up to which tiles have more queries than keys.
    tall_forward,
    /// Attention, backward: width of heads up to which tiles have more rows than columns of scores.
    tall_backward,
    /// Gate merge: pieces of a row, a vec4 or a number each, that a thread has, about.
    merge_pieces,
    /// Gate merge: threads of a row at the least.
    merge_lanes,
}

impl Tuning {
    /// What is built in for a device of these capabilities.
    pub fn built_in(device: &Capabilities) -> Self {
        // What multiplies no matrices only loses time by taking them for some.
        let hardware = if device.cooperative_16 { 16 } else { 8 * u32::from(device.cooperative_8) };
        let cooperative = if device.software { 0 } else { hardware };
        Self {
            matmul_cooperative: cooperative,
            // Of four threads, with eight columns each, it takes longer than tiles; of sixteen it has not been measured.
            matmul_broadcast: (device.software && device.subgroup_size() == Some(8)).into(),
            large_tiles: device.workgroups / 2,
            parted_groups: device.workgroups,
            four_lines: 4_096,
            attention_cooperative: cooperative,
            short_queries: 8,
            tall_forward: 128,
            tall_backward: 64,
            merge_pieces: 4,
            merge_lanes: 32,
        }
    }

    /// The number of this name; none if there is no such.
    pub fn get(mut self, name: &str) -> Option<u32> {
        self.get_mut(name).copied()
    }
}
