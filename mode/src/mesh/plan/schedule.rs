//! A training step as a list of typed entries, each on one device: the program that every device carries out in the list's order,
//! and that the simulator prices. The plan alone decides what a step is made of; all else reads it here.
//!
//! An entry reads and writes *slots*, which each device numbers for itself. What a device sends to another arrives in the order in
//! which the list has it, and an entry waits for nothing but what it receives, and a collective for its group.

use super::layout::Layout;
use crate::model::Half;
use std::fmt;
use std::ops::Range;

/// A place for a tensor, on one device.
pub type Slot = u32;

/// A branch of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Branch {
    /// The block's own layers.
    Backbone,
    /// Those of the expert of this number.
    Expert(usize),
}

/// Half a layer: a sum that the devices of a mesh make together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HalfLayer {
    /// The block.
    pub block: usize,
    /// The branch.
    pub branch: Branch,
    /// Its layer within the block.
    pub layer: usize,
    /// Which half.
    pub half: Half,
}

impl HalfLayer {
    /// Whether it reads what the whole branch reads.
    pub fn is_first(&self) -> bool {
        self.layer == 0 && self.half == Half::Attention
    }
}

/// Which trained parameters, by what their gradients are along the tensor axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GradientKind {
    /// Parts of matrices: each device has the gradient of its own.
    Sharded,
    /// What all devices have and find the same gradient of, of which the first one's is taken: the norms of the stream.
    Replicated,
    /// What all devices have and find a term of the gradient of: gates, norms of heads.
    Partial,
}

impl GradientKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sharded, Self::Replicated, Self::Partial];
}

/// What a device computes. x, y, f, g, h `[tokens, width]`, of its own windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// -> x: rows of its part of the vocabulary, zeros for other words.
    Embed,
    /// x -> f: this device's term of x + f(norm x), or of f(norm x) where that is normed before it is added.
    Forward {
        /// Where.
        place: HalfLayer,
        /// Whether the gradient of x will be wanted.
        wants_x: bool,
        /// Whether the backward pass goes on from here, or from another time that it is computed.
        keeps: bool,
    },
    /// x, f -> x + norm f.
    Join(HalfLayer),
    /// g -> df.
    JoinBackward(HalfLayer),
    /// g -> dn: gradients of the device's parts of matrices, and its term of that of the normed stream, if that is wanted.
    Backward(HalfLayer),
    /// dn, g -> dx, if that is wanted; and the norm's own gradient.
    NormBackward(HalfLayer),
    /// x, f_bb, f_1 .. f_N -> y, of some tokens.
    Merge {
        /// Where.
        block: usize,
        /// Whether the gradient of x will be wanted.
        wants_x: bool,
        /// Whether those of the experts' branches will; that of the backbone's is where that of x is.
        wants_experts: bool,
        /// Whether a backward pass goes on from here.
        keeps: bool,
    },
    /// dy -> df of each branch that is wanted, the backbone's first, then dx if that is.
    MergeBackward(usize),
    /// y -> h, of some tokens.
    FinalNorm {
        /// Whether a backward pass goes on from here.
        keeps: bool,
    },
    /// dh -> dy.
    FinalNormBackward,
    /// h -> stats `[rows, 4]` of its part of the vocabulary, for these rows of tokens.
    Logits {
        /// The first row.
        first: usize,
        /// How many.
        rows: usize,
    },
    /// h, stats of all parts -> these rows of dh.
    LossGradient {
        /// The first row.
        first: usize,
        /// How many.
        rows: usize,
    },
    /// Stats of all parts -> the loss of these rows of tokens, where nothing is trained.
    Score {
        /// The first row.
        first: usize,
        /// How many.
        rows: usize,
    },
    /// Rows out of x, for devices that go on with these alone.
    Slice {
        /// The first row.
        first: usize,
        /// How many.
        rows: usize,
    },
    /// Adds tensors.
    Sum,
    /// -> gradients of a kind.
    Gradients(GradientKind),
    /// Gradients of all kinds, if there are any -> squares of their norms and the loss `[1, 4]`.
    Measure,
    /// What all devices measured, and the gradients -> one AdamW step.
    Update,
    /// What all devices measured, where nothing is trained.
    Found,
}

/// What devices do together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collective {
    /// Each gets the sum of all.
    AllReduce,
    /// Each gets its rows of the sum of all.
    ReduceScatter,
    /// Each gets the rows of all, one after the other.
    AllGather,
}

/// What an entry does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Computes.
    Compute(Work),
    /// Sends rows of what it reads to another device, and does not wait.
    Send {
        /// Whom to.
        to: usize,
        /// Which rows.
        rows: Range<usize>,
    },
    /// Waits for rows of what it writes.
    Receive {
        /// From whom.
        from: usize,
        /// Which rows.
        rows: Range<usize>,
        /// Of how many.
        of: usize,
    },
    /// Waits for all devices of a group.
    Collective {
        /// What is done.
        kind: Collective,
        /// By whom, in order.
        group: Vec<usize>,
        /// Elements of the tensor that each gives, an AllGather's result.
        elements: usize,
    },
}

/// What one device does at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Which device.
    pub device: usize,
    /// Which microbatch.
    pub microbatch: usize,
    /// What it does.
    pub action: Action,
    /// Which slots it reads.
    pub reads: Vec<Slot>,
    /// Which slots it writes.
    pub writes: Vec<Slot>,
    /// Which slots nobody reads after it.
    pub frees: Vec<Slot>,
}

/// A step of all devices.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// How many devices there are.
    pub devices: usize,
    /// Elements of a row of what is sent.
    pub width: usize,
    /// In an order in which they could be carried out one after the other.
    pub entries: Vec<Entry>,
}

impl Schedule {
    /// What one device does, with the numbers of the entries.
    pub fn of(&self, device: usize) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries.iter().enumerate().filter(move |(_, entry)| entry.device == device)
    }

    /// Seconds in which a device computed, of a step whose entries began and ended so.
    pub fn computing(&self, device: usize, spans: &[[f64; 2]]) -> f64 {
        let computes = self.of(device).zip(spans).filter(|((_, entry), _)| matches!(entry.action, Action::Compute(_)));
        computes.map(|(_, [began, ended])| ended - began).sum()
    }

    /// Bytes that a device sends in a step: first those within its mesh, then those to other meshes, or to all devices of several.
    pub fn bytes_sent(&self, layout: &Layout, device: usize) -> [u64; 2] {
        let mut bytes = [0; 2];
        let mesh = layout.mesh_of(device).devices();
        for (_, entry) in self.of(device) {
            match &entry.action {
                Action::Compute(_) | Action::Receive { .. } => {}
                Action::Send { rows, .. } => bytes[1] += (rows.len() * self.width * size_of::<f32>()) as u64,
                Action::Collective { kind, group, elements } => {
                    let crosses = group.iter().any(|member| !mesh.contains(member));
                    bytes[usize::from(crosses)] += kind.bytes_sent(group.len(), *elements);
                }
            }
        }
        bytes
    }

    /// Notes with each entry the slots that nobody reads after it.
    pub(super) fn free_slots(&mut self) {
        let mut seen = std::collections::HashSet::new();
        for entry in self.entries.iter_mut().rev() {
            let slots = entry.reads.iter().chain(&entry.writes);
            entry.frees = slots.copied().filter(|&slot| seen.insert((entry.device, slot))).collect();
        }
    }
}

impl Collective {
    /// Bytes that one of `count` devices sends.
    pub fn bytes_sent(self, count: usize, elements: usize) -> u64 {
        let once = (elements * size_of::<f32>()) as u64 * (count as u64 - 1) / count as u64;
        self.hops() as u64 * once
    }

    /// Times that all send to all, and wait: messages of one hop are on their way at once.
    pub fn hops(self) -> usize {
        if self == Self::AllReduce { 2 } else { 1 }
    }

    /// Messages that one of `count` devices sends, one after the other, and receives.
    pub fn messages(self, count: usize) -> usize {
        self.hops() * (count - 1)
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backbone => write!(f, "backbone"),
            Self::Expert(number) => write!(f, "expert {number}"),
        }
    }
}

impl fmt::Display for HalfLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let half = if self.half == Half::Attention { "attention" } else { "feed-forward" };
        write!(f, "{half} of layer {} of {} in block {}", self.layer, self.branch, self.block)
    }
}
