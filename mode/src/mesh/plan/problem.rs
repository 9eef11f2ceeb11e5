//! What is to be trained, in numbers: all that a plan needs to know of a model and its batch.

use super::grid::{Axis, Mesh, share};
use super::layout::Layout;
use super::schedule::{Branch, GradientKind};
use crate::Error;
use crate::model::{Config, Expert, Gate, Gating, Model};
use mode_autograd::Param;

/// Sizes of a model with experts, of a batch, and what is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The decoder's shape.
    pub config: Config,
    /// Blocks m that it is cut into.
    pub blocks: usize,
    /// Layers of each expert in a block.
    pub expert_layers: Vec<usize>,
    /// Windows of a batch.
    pub windows: usize,
    /// Predicted tokens a window.
    pub length: usize,
    /// Microbatches that a batch is gone through in, one after the other.
    pub microbatches: usize,
    /// Whether experts are trained, or gates alone.
    pub train_experts: bool,
    /// What the backward pass computes again.
    pub recompute: Recompute,
    /// Whether the gradients of frozen weights are computed all the same, and gradients cross into the first block: what a program does
    /// that does not know of freezing, for comparisons.
    pub computes_frozen: bool,
    /// Whether every device merges all tokens, and none only its own: what a program does that knows of all-reduces alone.
    pub merges_whole: bool,
}

/// What is computed again in the backward pass, so that it need not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recompute {
    /// Nothing.
    Nothing,
    /// All of each half of a layer, whose input is kept: nothing is sent again, but sums that are normed before they are added.
    Halves,
    /// All of each branch of a block, whose input alone is kept: its all-reduces are made again.
    Branches,
}

impl Problem {
    /// Steps of `windows` windows of `length` predicted tokens on a model, of which experts and gates are trained, or gates alone.
    ///
    /// # Errors
    /// A model without experts, one of which something else is trained, or one in mixed precision.
    pub fn new(model: &Model, windows: usize, length: usize) -> Result<Self, Error> {
        let wrong = |what: &str| Err(Error::Setting(what.into()));
        let experts = model.experts.iter().flat_map(Expert::params).any(Param::is_trained);
        let gates = model.gates.iter().flat_map(Gate::params).any(|param| param.is_trained());
        if !gates || model.has_adapter() || model.backbone.params().any(Param::is_trained) {
            return wrong(
                "meshes train experts and gates beside a frozen backbone: method \"expert\", or \"compose\" with compose.train = \"all\" \
                 or \"gates\"",
            );
        }
        if model.gating() != Gating::default() {
            return wrong("gates on meshes read the token and weigh all branches; this model's are of another kind");
        }
        if model.mixed {
            return wrong("meshes compute in f32; set train.precision = \"f32\"");
        }
        Ok(Self {
            config: model.backbone.config.clone(),
            blocks: model.gates.len(),
            expert_layers: model.experts.iter().map(|expert| expert.info.layers_per_block).collect(),
            windows,
            length,
            microbatches: 1,
            train_experts: experts,
            recompute: if model.recompute { Recompute::Halves } else { Recompute::Nothing },
            computes_frozen: false,
            merges_whole: false,
        })
    }

    /// The same, gone through in so many microbatches.
    pub fn in_microbatches(self, microbatches: usize) -> Self {
        Self { microbatches: microbatches.max(1), ..self }
    }

    /// Branches of a block, the backbone's among them.
    pub fn branches(&self) -> usize {
        self.expert_layers.len() + 1
    }

    /// Layers that a branch has in each block: the backbone's, or an expert's.
    pub fn layers(&self, expert: Option<usize>) -> usize {
        expert.map_or(self.config.layers / self.blocks, |expert| self.expert_layers[expert])
    }

    /// Whether gradients of a branch's parameters are computed.
    pub fn is_trained(&self, branch: Branch) -> bool {
        branch != Branch::Backbone && self.train_experts || self.computes_frozen
    }

    /// Whether the gradient of a block's input is wanted.
    pub fn wants_x(&self, block: usize) -> bool {
        block > 0 || self.computes_frozen
    }

    /// Whether a gradient has to go back through a branch of a block.
    pub fn is_walked(&self, block: usize, branch: Branch) -> bool {
        self.wants_x(block) || self.is_trained(branch)
    }

    /// Tokens of a microbatch.
    pub fn tokens(&self) -> usize {
        self.windows / self.microbatches * self.length
    }

    /// Whether a layout can share out this problem.
    ///
    /// # Errors
    /// What can't be shared out evenly.
    pub fn check(&self, layout: &Layout) -> Result<(), Error> {
        self.shares_out(layout).map_err(|what| Error::Layout { layout: layout.name.clone(), what })
    }

    fn shares_out(&self, layout: &Layout) -> Result<(), String> {
        if !self.windows.is_multiple_of(self.microbatches) {
            let (windows, microbatches) = (self.windows, self.microbatches);
            return Err(format!(
                "{windows} windows a step can't be gone through in {microbatches} equal parts; set train.accumulate"
            ));
        }
        layout.meshes.iter().try_for_each(|mesh| self.check_mesh(mesh))
    }

    pub(in crate::mesh) fn check_mesh(&self, mesh: &Mesh) -> Result<(), String> {
        let Mesh { name, data, tensor, .. } = mesh;
        let Config { heads, kv_heads, hidden, vocabulary, .. } = self.config;
        let windows = self.windows / self.microbatches;
        if !windows.is_multiple_of(*data) {
            return Err(format!(
                "mesh '{name}': {windows} windows can't be shared out evenly to {data} devices along data; {}",
                self.sharing(*data)
            ));
        }
        for (count, what) in [(heads, "heads"), (kv_heads, "key and value heads"), (hidden, "hidden elements")] {
            if !count.is_multiple_of(*tensor) {
                return Err(format!(
                    "mesh '{name}': {count} {what} can't be shared out evenly to {tensor} devices along tensor; {}",
                    self.fitting()
                ));
            }
        }
        if vocabulary < *tensor || self.tokens() / data < *tensor {
            return Err(format!("mesh '{name}': fewer words or tokens than its {tensor} devices; give it fewer"));
        }
        Ok(())
    }

    /// What would let so many devices along data share out each microbatch.
    fn sharing(&self, data: usize) -> String {
        let batch = format!("a train.batch that is a multiple of {} would do", data * self.microbatches);
        let fits = |microbatches: &usize| self.windows.is_multiple_of(microbatches * data);
        match (1..self.microbatches).rev().find(fits) {
            Some(microbatches) => format!("{batch}, or train.accumulate = {microbatches}"),
            None => batch,
        }
    }

    /// What a tensor axis may be.
    fn fitting(&self) -> String {
        let Config { heads, kv_heads, hidden, .. } = self.config;
        let fits = |n: &usize| [heads, kv_heads, hidden].iter().all(|count| count.is_multiple_of(*n));
        let all: Vec<String> = (1..=kv_heads).filter(fits).map(|n| n.to_string()).collect();
        format!("{} would do", all.join(", "))
    }

    /// Trained numbers that a device has.
    pub fn trained_on(&self, layout: &Layout, device: usize) -> usize {
        GradientKind::ALL.iter().map(|&kind| self.trained(layout, device, kind)).sum()
    }

    /// Those of a kind of gradient.
    pub fn trained(&self, layout: &Layout, device: usize, kind: GradientKind) -> usize {
        let mesh = layout.mesh_of(device);
        let position = mesh.position(device, Axis::Tensor);
        let shard = self.shard(mesh.tensor, position);
        let [norms, heads, sums] = [shard.norms_of_layer(), shard.head_norms_of_layer(), shard.biases_of_sums()];
        let matrices = shard.layer_parameters() as usize - norms - heads - if position > 0 { sums } else { 0 };
        let each = match kind {
            GradientKind::Sharded => matrices,
            GradientKind::Replicated => norms,
            GradientKind::Partial => heads,
        };
        let number = layout.mesh_index(device);
        let layers: usize = layout.experts_on(number).map(|expert| self.expert_layers[expert] * self.blocks).sum();
        let kind_of_gates = if self.merges_whole { GradientKind::Replicated } else { GradientKind::Partial };
        let gates =
            if number == 0 && kind == kind_of_gates { self.blocks * self.branches() * (shard.width + 1) } else { 0 };
        gates + if self.train_experts { layers * each } else { 0 }
    }

    /// The decoder's shape as one device of a mesh has it: its share of heads, hidden elements and words.
    pub fn shard(&self, tensor: usize, position: usize) -> Config {
        let whole = &self.config;
        Config {
            heads: whole.heads / tensor,
            kv_heads: whole.kv_heads / tensor,
            hidden: whole.hidden / tensor,
            vocabulary: share(whole.vocabulary, tensor, position).len(),
            ..whole.clone()
        }
    }
}

#[cfg(test)]
pub(in crate::mesh) mod tests {
    use super::*;

    /// Two experts beside four layers.
    pub(in crate::mesh) fn problem() -> Problem {
        Problem {
            config: Config {
                vocabulary: 64,
                width: 32,
                hidden: 64,
                layers: 4,
                heads: 4,
                kv_heads: 4,
                head_width: 8,
                positions: 64,
                ..Config::default()
            },
            blocks: 2,
            expert_layers: vec![2, 2],
            windows: 4,
            length: 16,
            microbatches: 1,
            train_experts: true,
            recompute: Recompute::Nothing,
            computes_frozen: false,
            merges_whole: false,
        }
    }

    #[test]
    fn gradients_go_where_something_is_trained_behind() {
        let (expert, backbone) = (Branch::Expert(0), Branch::Backbone);
        let walked =
            |problem: &Problem| [expert, backbone].map(|branch| [0, 1].map(|block| problem.is_walked(block, branch)));
        let experts = problem();
        let gates = Problem { train_experts: false, ..problem() };
        assert_eq!(walked(&experts), [[true, true], [false, true]]);
        // Gates of earlier blocks are trained, behind all branches of the second.
        assert_eq!(walked(&gates), [[false, true], [false, true]]);
        let all = Problem { computes_frozen: true, ..gates };
        assert_eq!(walked(&all), [[true; 2]; 2]);
        assert!(all.is_trained(expert) && all.is_trained(backbone) && all.wants_x(0));
        assert!(!experts.is_trained(backbone) && !experts.wants_x(0));
    }
}
