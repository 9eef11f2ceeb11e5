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

use super::layout::Layout;
use super::mesh::Axis;
use super::placement::Placement;
use super::planner::{Planner, Spread};
use super::problem::Problem;
use super::schedule::{Branch, Collective, Place, Schedule, Set, Work};
use crate::model::Half;
use mode_autograd::loss_rows;

/// The backbone's mesh.
const HOME: usize = 0;

/// The schedule of one training step.
pub fn plan(problem: &Problem, layout: &Layout) -> Schedule {
    let mut step = Step { problem, planner: Planner::new(layout, problem.tokens(), problem.config.width) };
    for part in 0..problem.parts {
        step.planner.part = part;
        let streams = step.forward();
        step.backward(&streams);
    }
    step.update();
    step.planner.finish()
}

struct Step<'a> {
    problem: &'a Problem,
    planner: Planner<'a>,
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
    fn places(&self, block: usize, branch: Branch) -> Vec<Place> {
        let layers = self.problem.layers(if let Branch::Expert(expert) = branch { Some(expert) } else { None });
        let halves = |layer| Half::ALL.map(|half| Place { block, branch, layer, half });
        (0..layers).flat_map(halves).collect()
    }

    /// Whether a branch's parameters are trained.
    fn is_trained(&self, branch: Branch) -> bool {
        branch != Branch::Backbone && self.problem.train_experts || self.problem.computes_frozen
    }

    /// Whether a branch's layers are computed again in the backward pass.
    fn again(&self, branch: Branch) -> bool {
        self.problem.recompute[usize::from(branch != Branch::Backbone)]
    }

    /// Whether a gradient has to go back through a branch.
    fn is_walked(&self, block: usize, branch: Branch) -> bool {
        self.wants_x(block) || self.is_trained(branch)
    }

    /// Whether the gradient of a block's input is wanted.
    fn wants_x(&self, block: usize) -> bool {
        block > 0 || self.problem.computes_frozen
    }

    /// The last block's result, by tokens.
    fn forward(&mut self) -> Spread {
        let x = self.planner.compute_one(HOME, Work::Embed, &[], Placement::Partial);
        let mut x = self.planner.reshard(&x, HOME, Placement::Replicate);
        let mut y = x.clone();
        for block in 0..self.problem.blocks {
            y = self.block(block, &x);
            if block + 1 < self.problem.blocks {
                x = self.planner.reshard(&y, HOME, Placement::Replicate);
            }
        }
        y
    }

    /// Block `block` of the stream x: y by tokens.
    fn block(&mut self, block: usize, x: &Spread) -> Spread {
        let meshes = self.planner.layout.meshes.len();
        let inputs: Vec<Spread> = (0..meshes).map(|mesh| self.planner.reshard(x, mesh, Placement::Replicate)).collect();
        let mut merged = vec![self.planner.reshard(x, HOME, Placement::TOKENS)];
        for branch in self.branches() {
            let f = self.branch(block, branch, &inputs[self.home(branch)]);
            merged.push(f);
        }
        // Receipts last: the backbone's own branch does not wait for an expert's.
        let merged: Vec<Spread> =
            merged.into_iter().map(|f| self.planner.reshard(&f, HOME, Placement::TOKENS)).collect();
        let wants_x = self.wants_x(block);
        let wants = [wants_x, self.is_walked(block, Branch::Expert(0))];
        let work = Work::Merge { block, wants_x, wants };
        self.planner.compute_one(HOME, work, &merged.iter().collect::<Vec<_>>(), Placement::TOKENS)
    }

    /// One branch's result, by tokens on its own mesh.
    fn branch(&mut self, block: usize, branch: Branch, x: &Spread) -> Spread {
        let mesh = self.home(branch);
        let places = self.places(block, branch);
        let mut x = x.clone();
        for (i, &place) in places.iter().enumerate() {
            let walked = self.is_walked(block, branch);
            let wants_x = walked && (i > 0 || self.wants_x(block));
            let work = Work::Forward { place, wants_x, again: walked && self.again(branch) };
            let f = self.planner.compute_one(mesh, work, &[&x], Placement::Partial);
            let last = i + 1 == places.len();
            let joined = self.problem.config.out_norms;
            let placement = if last && !joined { Placement::TOKENS } else { Placement::Replicate };
            let f = self.planner.reshard(&f, mesh, placement);
            x = match joined {
                true => self.planner.compute_one(mesh, Work::Join(place), &[&x, &f], Placement::Replicate),
                false => f,
            };
        }
        self.planner.reshard(&x, mesh, Placement::TOKENS)
    }

    /// From the last block's result to all gradients.
    fn backward(&mut self, y: &Spread) {
        let mut dy = self.loss(y);
        for block in (0..self.problem.blocks).rev() {
            let Some(dx) = self.block_backward(block, &dy) else { return };
            dy = dx;
        }
    }

    /// The gradient of the last block's result, by tokens: logits of all words by chunks of tokens, each word on one device.
    fn loss(&mut self, y: &Spread) -> Spread {
        let h = self.planner.compute_one(HOME, Work::FinalNorm, &[y], Placement::TOKENS);
        let h = self.planner.reshard(&h, HOME, Placement::Replicate);
        let dh = self.planner.room(HOME, Placement::Partial);
        let parts = self.planner.mesh(HOME).tensor;
        let tokens = self.planner.tokens_on(HOME);
        let chunk = loss_rows(tokens, self.problem.config.vocabulary.div_ceil(parts));
        for first in (0..tokens).step_by(chunk) {
            let rows = chunk.min(tokens - first);
            let stats = self.planner.compute_one(HOME, Work::Logits { first, rows }, &[&h], Placement::Partial);
            let gather = Collective::AllGather;
            let elements = move |_| rows * 4 * parts;
            let stats = self.planner.collective(gather, Axis::Tensor, &stats, elements, Placement::Replicate);
            self.planner.compute_onto(Work::LossGradient { first, rows }, &[&h, &stats], &dh);
        }
        let dh = self.planner.reshard(&dh, HOME, Placement::TOKENS);
        self.planner.compute_one(HOME, Work::FinalNormBackward, &[&dh], Placement::TOKENS)
    }

    /// The gradient of a block's input, by tokens, from that of its result; none for the first block's.
    fn block_backward(&mut self, block: usize, dy: &Spread) -> Option<Spread> {
        let walked: Vec<Branch> = self.branches().into_iter().filter(|&branch| self.is_walked(block, branch)).collect();
        let mut wanted = vec![Placement::TOKENS; walked.len()];
        if self.wants_x(block) {
            wanted.push(Placement::TOKENS);
        }
        let mut made = self.planner.compute(HOME, Work::MergeBackward(block), &[dy], &wanted);
        let mut terms = if self.wants_x(block) { made.split_off(walked.len()) } else { Vec::new() };
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
            found.extend(self.branch_backward(block, branch, df));
        }
        for dx in found {
            terms.push(self.planner.reshard(&dx, HOME, Placement::TOKENS));
        }
        let terms: Vec<&Spread> = terms.iter().collect();
        match terms.as_slice() {
            [] => None,
            [one] => Some((*one).clone()),
            all => Some(self.planner.compute_one(HOME, Work::Sum, all, Placement::TOKENS)),
        }
    }

    /// The gradient of what a branch read, on its mesh; none in the first block.
    fn branch_backward(&mut self, block: usize, branch: Branch, df: Spread) -> Option<Spread> {
        let mesh = self.home(branch);
        let trained = self.is_trained(branch);
        let again = self.again(branch);
        let mut g = df;
        for (i, place) in self.places(block, branch).into_iter().enumerate().rev() {
            let wants_x = i > 0 || self.wants_x(block);
            if !wants_x && !trained {
                return None;
            }
            let df = match self.problem.config.out_norms {
                true => self.planner.compute_one(mesh, Work::JoinBackward(place), &[&g], Placement::Replicate),
                false => g.clone(),
            };
            let dn = self.planner.compute_one(mesh, Work::Backward { place, again }, &[&df], Placement::Partial);
            let dn = self.planner.reshard(&dn, mesh, Placement::Replicate);
            let wanted: &[Placement] = if wants_x { &[Placement::Replicate] } else { &[] };
            g = self.planner.compute(mesh, Work::NormBackward(place), &[&dn, &g], wanted).pop()?;
        }
        Some(g)
    }

    /// From gradients to new weights: terms are summed, norms exchanged, and every device steps what it has.
    fn update(&mut self) {
        let meshes = 0..self.planner.layout.meshes.len();
        let mut gathered = Vec::new();
        let mut measured = Vec::new();
        for mesh in meshes.clone() {
            let mut sets = Vec::new();
            for set in Set::ALL {
                let placement = if set == Set::Partial { Placement::Partial } else { Placement::Replicate };
                let mut found = self.planner.compute_one(mesh, Work::Gradients(set), &[], placement);
                let size = |device| self.problem.trained(self.planner.layout, device, set);
                let sizes: Vec<usize> = (0..self.planner.layout.devices()).map(size).collect();
                for axis in [Axis::Tensor, Axis::Data] {
                    let summed = axis == Axis::Data || set == Set::Partial;
                    if summed && self.planner.mesh(mesh).devices().any(|device| sizes[device] > 0) {
                        let reduce = Collective::AllReduce;
                        let sizes = |device: usize| sizes[device];
                        found = self.planner.collective(reduce, axis, &found, sizes, Placement::Replicate);
                    }
                }
                sets.push(found);
            }
            let measure =
                self.planner.compute_one(mesh, Work::Measure, &sets.iter().collect::<Vec<_>>(), Placement::Replicate);
            measured.push(measure);
            gathered.push(sets);
        }
        let measured = self.planner.gather_from_all(&measured, 4);
        for (mesh, (sets, measured)) in gathered.iter().zip(&measured).enumerate() {
            let reads: Vec<&Spread> = std::iter::once(measured).chain(sets).collect();
            self.planner.compute(mesh, Work::Update, &reads, &[]);
        }
    }
}
