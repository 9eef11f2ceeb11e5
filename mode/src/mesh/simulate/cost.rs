//! What an entry of a schedule costs, from first principles: floating-point operations of products of matrices and of attention, bytes
//! that everything else moves, launches.
//!
//! T tokens of windows of S on a device that has 1 / n of a layer's matrices; d, f, q, kv the widths of stream, hidden layer, queries,
//! keys. A product `[T, a] x [a, b]` is 2 T a b, its two gradients 2 T a b each; attention's two products are 4 q T S, of the
//! full square of scores, as the kernels count it too; its gradients 2.5 times that where scores are computed again, else twice. A
//! frozen matrix has no gradient of its own, unless a problem says that nothing is left out. `tests/mesh.rs` holds all this against what
//! the kernels themselves say that they were launched for.

use crate::mesh::plan::{Action, Axis, Branch, Entry, HalfLayer, Layout, Problem, Schedule, Work, share};
use crate::model::{Config, Half, NormKind};
use std::ops::AddAssign;

/// Bytes of an f32.
const F32: f64 = 4.0;

/// What something costs on one device.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// FLOP of products of matrices.
    pub matmul: f64,
    /// FLOP of attention.
    pub attention: f64,
    /// Bytes that merges, the loss and the optimizer read and write.
    pub bytes: f64,
    /// Those of norms, rotations, activations and sums, which a compiler may make part of products.
    pub fusable: f64,
    /// Launches.
    pub launches: f64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.matmul += other.matmul;
        self.attention += other.attention;
        self.bytes += other.bytes;
        self.fusable += other.fusable;
        self.launches += other.launches;
    }
}

impl Cost {
    /// Kernels that move `units` times `elements` f32.
    fn moved(launches: f64, units: f64, elements: f64) -> Self {
        Self { bytes: F32 * units * elements, launches, ..Self::default() }
    }

    /// The same of what could be part of a product.
    fn fused(launches: f64, units: f64, elements: f64) -> Self {
        Self { fusable: F32 * units * elements, launches, ..Self::default() }
    }

    fn plus(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Its scores are computed again in the backward pass: this project's kernels.
    Fused,
    /// As two products, of which all is kept.
    Products,
}

/// What each entry of a schedule costs: what its device computes, and nothing else.
pub fn costs(problem: &Problem, layout: &Layout, schedule: &Schedule, attention: Attention) -> Vec<Cost> {
    let device = |number| Device::new(problem, layout, number, attention);
    let devices: Vec<Device> = (0..schedule.devices).map(device).collect();
    let cost = |entry: &Entry| match entry.action {
        Action::Compute(work) => devices[entry.device].work(work, entry.reads.len()),
        _ => Cost::default(),
    };
    schedule.entries.iter().map(cost).collect()
}

/// A device, in numbers.
struct Device<'a> {
    problem: &'a Problem,
    /// Its part of a layer and of the vocabulary.
    config: Config,
    /// Of its windows, and of those the ones that it merges.
    tokens: f64,
    own: f64,
    /// Numbers that it trains.
    trained: f64,
    attention: Attention,
}

impl<'a> Device<'a> {
    fn new(problem: &'a Problem, layout: &Layout, number: usize, attention: Attention) -> Self {
        let mesh = layout.mesh_of(number);
        let position = mesh.position(number, Axis::Tensor);
        let tokens = problem.tokens() / mesh.data;
        Self {
            problem,
            config: problem.shard(mesh.tensor, position),
            tokens: tokens as f64,
            own: if problem.merges_whole { tokens } else { share(tokens, mesh.tensor, position).len() } as f64,
            trained: problem.trained_on(layout, number) as f64,
            attention,
        }
    }

    /// What work on so many tensors costs.
    fn work(&self, work: Work, tensors: usize) -> Cost {
        let (d, t, own) = (self.config.width as f64, self.tokens, self.own);
        let stream = t * d;
        match work {
            Work::Embed => {
                // All of x is filled. Of the device's own words, which are as many as its share of the vocabulary, rows are read and
                // written by the table, the factor and the scatter, which reads where it adds.
                let share = self.config.vocabulary as f64 / self.problem.config.vocabulary as f64;
                Cost::moved(4.0, 1.0 + 7.0 * share, stream)
            }
            Work::Forward { place, .. } => self.forward(place),
            Work::Join(_) => Cost::fused(2.0, 5.0, stream),
            Work::JoinBackward(place) => self.norm_backward(true, self.problem.is_trained(place.branch), stream),
            Work::Backward(place) => self.backward(place),
            Work::NormBackward(place) => {
                let wants_x = !place.is_first() || self.problem.wants_x(place.block);
                let norm = self.norm_backward(wants_x, self.problem.is_trained(place.branch), stream);
                if wants_x { norm.plus(Cost::fused(1.0, 3.0, stream)) } else { norm }
            }
            Work::Merge { .. } => {
                let branches = self.problem.branches() as f64;
                // The merge, and its branches brought together.
                Cost::moved(1.0, branches + 2.0, own * d).plus(Cost::moved(branches, 2.0 * branches, own * d))
            }
            Work::MergeBackward(block) => {
                let branches = self.problem.branches() as f64;
                let inner = if self.problem.wants_x(block) { 1.0 } else { 0.0 };
                let walked = self.problem.is_walked(block, Branch::Expert(0));
                let experts = if walked { branches - 1.0 } else { 0.0 };
                Cost::moved(1.0, 2.0 + branches + experts + 2.0 * inner, own * d)
            }
            Work::FinalNorm { .. } => Cost::fused(1.0, 2.0, own * d),
            Work::FinalNormBackward => self.norm_backward(true, false, own * d),
            Work::Logits { rows, .. } => self.head(rows as f64, 1.0),
            Work::LossGradient { rows, .. } => self.head(rows as f64, 2.0),
            Work::Slice { rows, .. } => Cost::fused(0.0, 2.0, rows as f64 * d),
            Work::Sum => {
                let additions = tensors as f64 - 1.0;
                Cost::fused(additions, 3.0 * additions, own * d)
            }
            Work::Gradients(_) | Work::Score { .. } | Work::Found => Cost::default(),
            // A launch for each kind at the least.
            Work::Measure => Cost::moved(3.0, 1.0, self.trained),
            Work::Update => Cost::moved(3.0, 7.0, self.trained),
        }
    }

    /// Widths of queries and of keys.
    fn widths(&self) -> (f64, f64) {
        let of = |heads: usize| (heads * self.config.head_width) as f64;
        (of(self.config.heads), of(self.config.kv_heads))
    }

    /// FLOP of a half's products.
    fn products(&self, half: Half) -> f64 {
        let (d, f, (q, kv)) = (self.config.width as f64, self.config.hidden as f64, self.widths());
        let widths = match half {
            Half::Attention => 2.0 * (q + kv),
            Half::FeedForward => f * if self.config.gated() { 3.0 } else { 2.0 },
        };
        2.0 * self.tokens * d * widths
    }

    /// FLOP of attention's two products.
    fn attention(&self) -> f64 {
        4.0 * self.widths().0 * self.tokens * self.problem.length as f64
    }

    fn forward(&self, place: HalfLayer) -> Cost {
        let (t, d) = (self.tokens, self.config.width as f64);
        let norm = Cost::fused(1.0, 2.0, t * d);
        let matmul = Cost { matmul: self.products(place.half), ..Cost::default() };
        norm.plus(matmul).plus(self.between(place.half, false)).plus(Cost {
            attention: if place.half == Half::Attention { self.attention() } else { 0.0 },
            ..Cost::default()
        })
    }

    /// What lies between a half's products: rotation or activation; and launches of all.
    fn between(&self, half: Half, backward: bool) -> Cost {
        let (t, f, (q, kv)) = (self.tokens, self.config.hidden as f64, self.widths());
        match half {
            Half::Attention => {
                let turned = if self.config.ropes.is_empty() { 0.0 } else { 1.0 };
                // One product for all three is taken apart.
                let fused = self.config.family.names.inputs.len() == 1;
                let products = if fused { 5.0 } else { 4.0 };
                let apart = Cost::fused(0.0, if fused { 2.0 } else { 0.0 }, t * (q + 2.0 * kv));
                let norms = if self.config.head_norms {
                    Cost::fused(2.0, if backward { 3.0 } else { 2.0 }, t * (q + kv))
                } else {
                    Cost::default()
                };
                Cost::fused(products + 1.0 + 2.0 * turned, 2.0 * turned, t * (q + kv)).plus(apart).plus(norms)
            }
            Half::FeedForward => {
                let gated = self.config.gated();
                let units = match (gated, backward) {
                    (true, false) => 3.0,
                    (true, true) => 5.0,
                    (false, false) => 2.0,
                    (false, true) => 3.0,
                };
                Cost::fused(if gated { 4.0 } else { 3.0 }, units, t * f)
            }
        }
    }

    /// From the gradient of a half's term to that of the normed stream, and of its own matrices if they are trained.
    fn backward(&self, place: HalfLayer) -> Cost {
        let gradients = if self.problem.is_trained(place.branch) { 2.0 } else { 1.0 };
        let matmul = Cost { matmul: gradients * self.products(place.half), ..Cost::default() };
        let again = if self.attention == Attention::Fused { 2.5 } else { 2.0 };
        let attention = if place.half == Half::Attention { again * self.attention() } else { 0.0 };
        let biases = if self.problem.is_trained(place.branch) { self.biases(place.half) } else { Cost::default() };
        matmul.plus(biases).plus(self.between(place.half, true)).plus(Cost { attention, ..Cost::default() })
    }

    /// Gradients of a half's biases: sums over rows.
    fn biases(&self, half: Half) -> Cost {
        let (d, f, (q, kv)) = (self.config.width as f64, self.config.hidden as f64, self.widths());
        let has = self.config.biases;
        let of = |there: bool, launches: f64, widths: f64| match there {
            true => Cost::fused(launches, 1.0, self.tokens * widths),
            false => Cost::default(),
        };
        let up = if self.config.gated() { 2.0 } else { 1.0 };
        match half {
            Half::Attention => of(has.inputs, 3.0, q + 2.0 * kv).plus(of(has.output, 1.0, d)),
            Half::FeedForward => of(has.feed_forward, up + 1.0, up * f + d),
        }
    }

    fn norm_backward(&self, dx: bool, dw: bool, elements: f64) -> Cost {
        let of = |wanted: bool, units: f64| if wanted { Cost::fused(1.0, units, elements) } else { Cost::default() };
        let biases = if self.config.norm == NormKind::Layer { of(dw, 1.0) } else { Cost::default() };
        of(dx, 3.0).plus(of(dw, 2.0)).plus(biases)
    }

    /// The head's product, once each way, and what the loss moves of its result.
    fn head(&self, rows: f64, units: f64) -> Cost {
        let (d, v) = (self.config.width as f64, self.config.vocabulary as f64);
        let matmul = Cost { matmul: 2.0 * rows * d * v, launches: 1.0, ..Cost::default() };
        matmul.plus(Cost::moved(1.0, units, rows * v))
    }
}
