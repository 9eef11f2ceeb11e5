//! The plan of a training step: which device computes what, and what goes from one to another.
//!
//! Forward, in block i, on the backbone's mesh B and each expert's mesh M (the same one under SPMD): x goes to M; a layer is two sums
//! x + f(norm x), of which each device along the tensor axis has a term (column-parallel, then row-parallel matrices; Shoeybi et al.,
//! arXiv 1909.08053, section 3), so that an all-reduce follows each. A branch's last sum is only needed by tokens: it is
//! reduce-scattered, each device of B merges its own tokens, and the merged stream is gathered again, which together costs no more
//! than an all-reduce a branch and shares out the merge.
//!
//! Backward, with dy by tokens: the merge gives df of each branch that wants it; where a block is the first, its backbone wants none
//! and nothing crosses into x; dx is a sum of slices, so no one gathers it. Nothing is sent that nobody needs.
//!
//! What lies on the path of others is emitted first: sends before the sender's own work, receipts before what needs them. On one mesh
//! all devices walk the same list in step.

use super::grid::Axis;
use super::layout::Layout;
use super::placement::Placement;
use super::planner::{Planner, Spread};
use super::problem::{Problem, Recompute};
use super::schedule::{Branch, Collective, GradientKind, HalfLayer, Schedule, Work};
use crate::model::Half;
use mode_autograd::loss_rows;
use std::collections::BTreeMap;

/// The backbone's mesh.
const HOME: usize = 0;

/// The schedule of a step that trains nothing: the forward pass and the loss.
pub(in crate::mesh) fn plan_score(problem: &Problem, layout: &Layout) -> Schedule {
    let planner = Planner::new(layout, problem.tokens(), problem.config.width);
    let mut step = Step { problem, planner, trains: false };
    for microbatch in 0..problem.microbatches {
        step.planner.microbatch = microbatch;
        let (y, _) = step.forward();
        step.score(&y);
    }
    step.found();
    step.planner.finish()
}

/// The schedule of one training step.
pub fn plan(problem: &Problem, layout: &Layout) -> Schedule {
    let planner = Planner::new(layout, problem.tokens(), problem.config.width);
    let mut step = Step { problem, planner, trains: true };
    for microbatch in 0..problem.microbatches {
        step.planner.microbatch = microbatch;
        let (y, inputs) = step.forward();
        step.backward(&y, &inputs);
    }
    step.update();
    step.planner.finish()
}

/// What each half that is computed again read.
type Inputs = BTreeMap<HalfLayer, Spread>;

struct Step<'a> {
    problem: &'a Problem,
    planner: Planner<'a>,
    trains: bool,
}

impl Step<'_> {
    fn home(&self, branch: Branch) -> usize {
        match branch {
            Branch::Backbone => HOME,
            Branch::Expert(expert) => self.planner.layout.experts[expert],
        }
    }

    fn branches(&self) -> Vec<Branch> {
        std::iter::once(Branch::Backbone).chain((0..self.problem.expert_layers.len()).map(Branch::Expert)).collect()
    }

    /// The halves of a branch in a block, in order.
    fn places(&self, block: usize, branch: Branch) -> Vec<HalfLayer> {
        let layers = self.problem.layers(if let Branch::Expert(expert) = branch { Some(expert) } else { None });
        let halves = |layer| Half::ALL.map(|half| HalfLayer { block, branch, layer, half });
        (0..layers).flat_map(halves).collect()
    }

    /// Whether a branch's parameters are trained.
    fn is_trained(&self, branch: Branch) -> bool {
        self.trains && self.problem.is_trained(branch)
    }

    /// How streams lie where branches meet.
    fn along(&self) -> Placement {
        if self.problem.merges_whole { Placement::Replicate } else { Placement::Shard }
    }

    /// Whether a gradient has to go back through a branch.
    fn is_walked(&self, block: usize, branch: Branch) -> bool {
        self.trains && self.problem.is_walked(block, branch)
    }

    /// Whether the gradient of a block's input is wanted.
    fn wants_x(&self, block: usize) -> bool {
        self.trains && self.problem.wants_x(block)
    }

    /// The last block's result, and what the backward pass computes from again.
    fn forward(&mut self) -> (Spread, Inputs) {
        let mut inputs = Inputs::new();
        let x = self.planner.compute_one(HOME, Work::Embed, &[], Placement::Partial);
        let mut x = self.planner.reshard(&x, HOME, Placement::Replicate);
        let mut y = x.clone();
        for block in 0..self.problem.blocks {
            y = self.block(block, &x, &mut inputs);
            if block + 1 < self.problem.blocks {
                x = self.planner.reshard(&y, HOME, Placement::Replicate);
            }
        }
        (y, inputs)
    }

    /// Block `block` of the stream x.
    fn block(&mut self, block: usize, x: &Spread, inputs: &mut Inputs) -> Spread {
        let along = self.along();
        let meshes = 0..self.planner.layout.meshes.len();
        let streams: Vec<Spread> = meshes.map(|mesh| self.planner.reshard(x, mesh, Placement::Replicate)).collect();
        let mut merged = vec![self.planner.reshard(x, HOME, along)];
        for branch in self.branches() {
            let f = self.branch(block, branch, &streams[self.home(branch)], inputs);
            merged.push(f);
        }
        // Receipts last: the backbone's own branch does not wait for an expert's.
        let merged: Vec<Spread> = merged.into_iter().map(|f| self.planner.reshard(&f, HOME, along)).collect();
        let wants_x = self.wants_x(block);
        let wants_experts = self.is_walked(block, Branch::Expert(0));
        let work = Work::Merge { block, wants_x, wants_experts, keeps: self.trains };
        self.planner.compute_one(HOME, work, &merged.iter().collect::<Vec<_>>(), along)
    }

    /// One branch's result, on its own mesh.
    fn branch(&mut self, block: usize, branch: Branch, x: &Spread, inputs: &mut Inputs) -> Spread {
        let places = self.places(block, branch);
        let kept = self.is_walked(block, branch) && self.problem.recompute != Recompute::Nothing;
        let mut x = x.clone();
        for (i, &place) in places.iter().enumerate() {
            let placement = if i + 1 == places.len() { self.along() } else { Placement::Replicate };
            if kept {
                inputs.insert(place, x.clone());
            }
            x = self.half(place, &x, placement, self.trains && !kept);
        }
        x
    }

    /// Half a layer; its sum lies as `placement` says.
    fn half(&mut self, place: HalfLayer, x: &Spread, placement: Placement, keeps: bool) -> Spread {
        let y = self.half_alone(place, x, keeps);
        self.planner.reshard(&y, self.home(place.branch), placement)
    }

    /// From the last block's result to all gradients.
    fn backward(&mut self, y: &Spread, inputs: &Inputs) {
        let mut dy = self.loss(y);
        for block in (0..self.problem.blocks).rev() {
            let Some(dx) = self.block_backward(block, &dy, inputs) else { return };
            dy = dx;
        }
    }

    /// The last block's result as the head reads it, and chunks of its tokens whose logits are made at once.
    fn head(&mut self, y: &Spread) -> (Spread, Vec<[usize; 2]>) {
        let along = self.along();
        let h = self.planner.compute_one(HOME, Work::FinalNorm { keeps: self.trains }, &[y], along);
        let h = self.planner.reshard(&h, HOME, Placement::Replicate);
        let tokens = self.planner.tokens_on(HOME);
        let words = self.problem.config.vocabulary.div_ceil(self.planner.mesh(HOME).tensor);
        let chunk = loss_rows(tokens, words);
        (h, (0..tokens).step_by(chunk).map(|first| [first, chunk.min(tokens - first)]).collect())
    }

    /// What all devices know of a chunk's logits: each has those of its words.
    fn stats(&mut self, h: &Spread, [first, rows]: [usize; 2]) -> Spread {
        let stats = self.planner.compute_one(HOME, Work::Logits { first, rows }, &[h], Placement::Partial);
        let elements = rows * 4 * self.planner.mesh(HOME).tensor;
        let gather = Collective::AllGather;
        self.planner.collective(gather, Axis::Tensor, &stats, |_| elements, Placement::Replicate)
    }

    /// The loss of the last block's result.
    fn score(&mut self, y: &Spread) {
        let (h, chunks) = self.head(y);
        for chunk @ [first, rows] in chunks {
            let stats = self.stats(&h, chunk);
            self.planner.compute(HOME, Work::Score { first, rows }, &[&stats], &[]);
        }
    }

    /// The gradient of the last block's result.
    fn loss(&mut self, y: &Spread) -> Spread {
        let along = self.along();
        let (h, chunks) = self.head(y);
        let dh = self.planner.room(HOME, Placement::Partial);
        for chunk @ [first, rows] in chunks {
            let stats = self.stats(&h, chunk);
            self.planner.compute_onto(Work::LossGradient { first, rows }, &[&h, &stats], &dh);
        }
        let dh = self.planner.reshard(&dh, HOME, along);
        self.planner.compute_one(HOME, Work::FinalNormBackward, &[&dh], along)
    }

    /// The gradient of a block's input from that of its result; none for the first block's.
    fn block_backward(&mut self, block: usize, dy: &Spread, inputs: &Inputs) -> Option<Spread> {
        let along = self.along();
        let walked: Vec<Branch> = self.branches().into_iter().filter(|&branch| self.is_walked(block, branch)).collect();
        let wanted = vec![along; walked.len() + usize::from(self.wants_x(block))];
        let mut made = self.planner.compute(HOME, Work::MergeBackward(block), &[dy], &wanted);
        let mut terms = made.split_off(walked.len());
        // Experts elsewhere get theirs first, then every mesh goes on by itself.
        let sent: Vec<Option<Spread>> = walked
            .iter()
            .zip(&made)
            .map(|(&branch, df)| {
                let mesh = self.home(branch);
                (mesh != HOME).then(|| self.planner.reshard(df, mesh, Placement::Replicate))
            })
            .collect();
        let mut found = Vec::new();
        for ((branch, df), sent) in walked.into_iter().zip(made).zip(sent) {
            let df = sent.unwrap_or_else(|| self.planner.reshard(&df, HOME, Placement::Replicate));
            found.extend(self.branch_backward(block, branch, df, inputs));
        }
        for dx in found {
            terms.push(self.planner.reshard(&dx, HOME, along));
        }
        let terms: Vec<&Spread> = terms.iter().collect();
        match terms.as_slice() {
            [] => None,
            [one] => Some((*one).clone()),
            all => Some(self.planner.compute_one(HOME, Work::Sum, all, along)),
        }
    }

    /// The gradient of what a branch read, on its mesh; none in the first block.
    fn branch_backward(&mut self, block: usize, branch: Branch, df: Spread, inputs: &Inputs) -> Option<Spread> {
        let mesh = self.home(branch);
        let trained = self.is_trained(branch);
        let mut g = df;
        let places = self.places(block, branch);
        if self.problem.recompute == Recompute::Branches {
            self.branch_again(&places, inputs);
        }
        for (i, place) in places.into_iter().enumerate().rev() {
            let wants_x = i > 0 || self.wants_x(block);
            if !wants_x && !trained {
                return None;
            }
            if self.problem.recompute == Recompute::Halves
                && let Some(x) = inputs.get(&place)
            {
                self.half_alone(place, x, true);
            }
            let df = match self.problem.config.out_norms {
                true => self.planner.compute_one(mesh, Work::JoinBackward(place), &[&g], Placement::Replicate),
                false => g.clone(),
            };
            let dn = self.planner.compute_one(mesh, Work::Backward(place), &[&df], Placement::Partial);
            let dn = self.planner.reshard(&dn, mesh, Placement::Replicate);
            let wanted: &[Placement] = if wants_x { &[Placement::Replicate] } else { &[] };
            g = self.planner.compute(mesh, Work::NormBackward(place), &[&dn, &g], wanted).pop()?;
        }
        Some(g)
    }

    /// The forward pass of a whole branch, just before its backward pass.
    fn branch_again(&mut self, places: &[HalfLayer], inputs: &Inputs) {
        let [before @ .., last] = places else { return };
        let Some(mut x) = inputs.get(&places[0]).cloned() else { return };
        for &place in before {
            x = self.half(place, &x, Placement::Replicate, true);
        }
        self.half_alone(*last, &x, true);
    }

    /// Half a layer as far as it goes without a sum that only others read.
    fn half_alone(&mut self, place: HalfLayer, x: &Spread, keeps: bool) -> Spread {
        let mesh = self.home(place.branch);
        let wants_x = self.is_walked(place.block, place.branch) && (!place.is_first() || self.wants_x(place.block));
        let f = self.planner.compute_one(mesh, Work::Forward { place, wants_x, keeps }, &[x], Placement::Partial);
        if !self.problem.config.out_norms {
            return f;
        }
        let f = self.planner.reshard(&f, mesh, Placement::Replicate);
        self.planner.compute_one(mesh, Work::Join(place), &[x, &f], Placement::Replicate)
    }

    /// What every device scored, on all of them.
    fn found(&mut self) {
        let meshes = 0..self.planner.layout.meshes.len();
        let planner = &mut self.planner;
        let measure = |mesh| planner.compute_one(mesh, Work::Measure, &[], Placement::Replicate);
        let measured: Vec<Spread> = meshes.clone().map(measure).collect();
        let measured = self.planner.gather_from_all(&measured, 4);
        for (mesh, measured) in meshes.zip(&measured) {
            self.planner.compute(mesh, Work::Found, &[measured], &[]);
        }
    }

    /// From gradients to new weights: terms are summed, norms exchanged, and every device steps what it has.
    fn update(&mut self) {
        let meshes = 0..self.planner.layout.meshes.len();
        let mut gathered = Vec::new();
        let mut measured = Vec::new();
        for mesh in meshes.clone() {
            let mut kinds = Vec::new();
            for kind in GradientKind::ALL {
                let placement = if kind == GradientKind::Sharded { Placement::Replicate } else { Placement::Partial };
                let mut found = self.planner.compute_one(mesh, Work::Gradients(kind), &[], placement);
                let size = |device| self.problem.trained(self.planner.layout, device, kind);
                let sizes: Vec<usize> = (0..self.planner.layout.devices()).map(size).collect();
                for axis in [Axis::Tensor, Axis::Data] {
                    let summed = axis == Axis::Data || kind != GradientKind::Sharded;
                    if summed && self.planner.mesh(mesh).devices().any(|device| sizes[device] > 0) {
                        let reduce = Collective::AllReduce;
                        let sizes = |device: usize| sizes[device];
                        found = self.planner.collective(reduce, axis, &found, sizes, Placement::Replicate);
                    }
                }
                kinds.push(found);
            }
            let measure =
                self.planner.compute_one(mesh, Work::Measure, &kinds.iter().collect::<Vec<_>>(), Placement::Replicate);
            measured.push(measure);
            gathered.push(kinds);
        }
        let measured = self.planner.gather_from_all(&measured, 4);
        for (mesh, (kinds, measured)) in gathered.iter().zip(&measured).enumerate() {
            let reads: Vec<&Spread> = std::iter::once(measured).chain(kinds).collect();
            self.planner.compute(mesh, Work::Update, &reads, &[]);
        }
    }
}
