//! What a device needs memory for: its weights, the optimizer's numbers, what the forward pass keeps, and the largest things that come
//! and go. T tokens, d, f, q, kv the widths of stream, hidden layer, queries and keys, of which a device has 1 / n.
//!
//! A half of a layer keeps its input, the normed stream and its own term (3 T d), attention its q, k, v and result (2 q + 2 kv), a gated
//! feed-forward both of its inputs (2 f) and, where the matrix behind it is trained, what they make (f). A branch that no gradient goes
//! back through keeps nothing.

use super::grid::{Axis, share};
use super::layout::Layout;
use super::problem::{Problem, Recompute};
use super::schedule::Branch;
use crate::model::Config;
use mode_autograd::loss_rows;

/// Bytes that a device needs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Footprint {
    /// Weights of all kinds.
    pub weights: f64,
    /// Gradients and two moments of what is trained.
    pub optimizer: f64,
    /// What is kept from the forward pass for the backward one, and the largest that comes and goes besides.
    pub activations: f64,
}

impl Footprint {
    /// All of it.
    pub fn bytes(&self) -> f64 {
        self.weights + self.optimizer + self.activations
    }
}

/// What device number `device` needs; weights of the frozen backbone take `weight_bytes` each.
pub fn footprint(problem: &Problem, layout: &Layout, device: usize, weight_bytes: f64) -> Footprint {
    const F32: f64 = 4.0;
    let mesh = layout.mesh_of(device);
    let position = mesh.position(device, Axis::Tensor);
    let shard = problem.shard(mesh.tensor, position);
    let number = layout.mesh_index(device);
    let tokens = problem.tokens() / mesh.data;
    let own = if problem.merges_whole { tokens } else { share(tokens, mesh.tensor, position).len() };
    let (t, d, home) = (tokens as f64, shard.width as f64, number == 0);

    let layer = shard.layer_parameters() as f64;
    let experts: Vec<usize> = layout.experts_on(number).collect();
    let expert_layers: usize = experts.iter().map(|&expert| problem.expert_layers[expert]).sum();
    let mut weights = F32 * layer * (expert_layers * problem.blocks) as f64;
    if home {
        let tables = if shard.tied { 1.0 } else { 2.0 };
        let learned = if shard.ropes.is_empty() { shard.positions } else { 0 };
        let matrices = layer * shard.layers as f64 + tables * d * shard.vocabulary as f64 + d * learned as f64;
        weights += weight_bytes * matrices + F32 * (problem.blocks * problem.branches()) as f64 * (d + 1.0);
    }
    weights += F32 * (shard.ropes.len() * shard.positions * shard.head_width) as f64;
    let trained = problem.trained_on(layout, device);

    let mut kept = 0.0;
    for block in 0..problem.blocks {
        let of = |branch: Branch, layers: usize| {
            if !problem.is_walked(block, branch) {
                return 0.0;
            }
            match problem.recompute {
                Recompute::Nothing => layers as f64 * kept_by_layer(&shard, t, problem.is_trained(branch)),
                Recompute::Halves => layers as f64 * 2.0 * t * d,
                Recompute::Branches => t * d,
            }
        };
        kept += experts.iter().map(|&expert| of(Branch::Expert(expert), problem.expert_layers[expert])).sum::<f64>();
        if home {
            kept += of(Branch::Backbone, problem.layers(None));
            // The branches side by side, and the stream that goes into them and comes out.
            kept += own as f64 * d * (problem.branches() as f64 + 2.0);
        }
    }
    // What is computed again is kept for as long as its backward pass takes.
    let deepest = experts.iter().map(|&expert| problem.expert_layers[expert]).max().unwrap_or(0);
    let backward = (0..problem.blocks).any(|block| problem.is_walked(block, Branch::Backbone));
    let deepest = if home && backward { deepest.max(problem.layers(None)) } else { deepest };
    kept += match problem.recompute {
        Recompute::Nothing => 0.0,
        Recompute::Halves => kept_by_layer(&shard, t, true),
        Recompute::Branches => deepest as f64 * kept_by_layer(&shard, t, true),
    };
    // Along the tensor axis a sum's terms and the sum itself are there at once; gradients come and go.
    let passing = 4.0 * t * d + t * shard.hidden as f64;
    let logits =
        if home { loss_rows(tokens, shard.vocabulary) as f64 * shard.vocabulary as f64 + 2.0 * t * d } else { 0.0 };
    Footprint { weights, optimizer: 3.0 * F32 * trained as f64, activations: F32 * (kept + passing.max(logits)) }
}

/// Bytes that the fullest device of a layout needs.
pub(in crate::mesh) fn fullest(problem: &Problem, layout: &Layout, weight_bytes: f64) -> f64 {
    let bytes = |device| footprint(problem, layout, device, weight_bytes).bytes();
    (0..layout.devices()).map(bytes).fold(0.0, f64::max)
}

/// Numbers that a layer keeps.
fn kept_by_layer(shard: &Config, t: f64, trained: bool) -> f64 {
    let of = |heads: usize| (heads * shard.head_width) as f64;
    let (d, f, q, kv) = (shard.width as f64, shard.hidden as f64, of(shard.heads), of(shard.kv_heads));
    let hidden = match (shard.gated(), trained) {
        (true, true) => 3.0,
        (true, false) | (false, true) => 2.0,
        (false, false) => 1.0,
    };
    t * (6.0 * d + 2.0 * (q + kv) + hidden * f)
}
