//! One device at work: it carries out its entries of a schedule in their order, on its part of the model.

use super::batch::{ParamState, StepBatch, StepMetrics, Sums};
use super::shard::Shard;
use super::tapes::{HalfTapes, JoinTape, MergeTape, NormTape, Sum, Windows};
use crate::Error;
use crate::mesh::plan::{Action, Collective, Entry, GradientKind, HalfLayer, Schedule, Slot, Work};
use crate::mesh::transport::{Group, Transport, same_count};
use mode_autograd::{AdamW, AdamWSettings, Param};
use mode_tensor::{Device, Ids, Tensor, add, copy_block, fill};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// A device with its part of the model.
pub(in crate::mesh) struct Rank {
    number: usize,
    pub(super) device: Device,
    pub(super) shard: Shard,
    pub(in crate::mesh) transport: Box<dyn Transport>,
    optimizers: BTreeMap<GradientKind, AdamW>,
    /// Tokens a window.
    pub(super) length: usize,
    pub(super) microbatches: usize,
    /// Where it stands along the data axis, and how many there are.
    pub(super) data: [usize; 2],
    /// Words of the vocabulary before its own.
    pub(super) offset: usize,
    pub(super) step: Step,
    /// Of the weights that it must not change, once they are noted.
    frozen_sha256: Option<String>,
    /// Whether a GPU is waited for at each entry's end.
    pub(super) waits: bool,
}

/// What one step leaves for its own later entries.
#[derive(Default)]
pub(super) struct Step {
    slots: BTreeMap<Slot, Vec<Tensor>>,
    halves: BTreeMap<HalfLayer, HalfTapes>,
    joins: BTreeMap<HalfLayer, JoinTape>,
    merges: BTreeMap<usize, MergeTape>,
    norm: Option<NormTape>,
    /// The logits of the chunk at hand.
    pub(super) logits: Option<(Tensor, Ids)>,
    gradients: Sum,
    /// Sum of all tokens' nll, and how many they are.
    pub(super) loss: [f64; 2],
}

/// What a rank has to know of its place.
pub(super) struct Seat {
    pub(super) number: usize,
    pub(super) length: usize,
    pub(super) microbatches: usize,
    /// Where it stands along the data axis, and how many there are.
    pub(super) data: [usize; 2],
    /// Words of the vocabulary before its own.
    pub(super) offset: usize,
}

impl Rank {
    pub(super) fn new(
        seat: Seat,
        device: Device,
        shard: Shard,
        transport: Box<dyn Transport>,
        settings: AdamWSettings,
    ) -> Result<Self, Error> {
        let mut optimizers = BTreeMap::new();
        for kind in GradientKind::ALL {
            let trained = shard.trained(kind);
            if !trained.is_empty() {
                optimizers.insert(kind, AdamW::new(trained, settings)?);
            }
        }
        let Seat { number, length, microbatches, data, offset } = seat;
        let (step, frozen_sha256, waits) = (Step::default(), None, false);
        Ok(Self {
            number,
            device,
            shard,
            transport,
            optimizers,
            length,
            microbatches,
            data,
            offset,
            step,
            frozen_sha256,
            waits,
        })
    }

    /// Notes the weights that it must not change.
    pub(super) fn note_frozen(&mut self) -> Result<(), Error> {
        self.frozen_sha256 = Some(self.shard.frozen_sha256()?);
        Ok(())
    }

    /// An error if one of them has changed.
    pub(super) fn check_frozen(&self) -> Result<(), Error> {
        match &self.frozen_sha256 {
            Some(noted) if *noted != self.shard.frozen_sha256()? => {
                Err(Error::FrozenChanged(format!("device {}", self.number)))
            }
            _ => Ok(()),
        }
    }

    /// What it trains of those parameters that are `wanted`, as it stands.
    pub(in crate::mesh) fn give(&self, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<ParamState>, Error> {
        let state = |(param, m, v): (&Param, &Tensor, &Tensor)| {
            let (name, value) = (param.name().to_string(), param.value());
            let shape = value.shape().to_vec();
            Ok(ParamState { name, shape, value: value.to_vec()?, m: m.to_vec()?, v: v.to_vec()? })
        };
        let states = self.optimizers.values().flat_map(AdamW::states);
        states.filter(|(param, ..)| wanted(param.name())).map(state).collect()
    }

    /// Goes on from what was given after `steps` steps.
    pub(in crate::mesh) fn take_over(&mut self, states: &[ParamState], steps: u64) -> Result<(), Error> {
        for (param, m, v) in self.optimizers.values().flat_map(AdamW::states) {
            let state = needed(states.iter().find(|state| state.name == param.name()), param.name())?;
            param.value().write(&state.value)?;
            m.write(&state.m)?;
            v.write(&state.v)?;
        }
        self.optimizers.values_mut().for_each(|optimizer| optimizer.resume(steps));
        Ok(())
    }

    /// One step, or what another schedule makes of a batch.
    pub(super) fn step(&mut self, schedule: &Schedule, batch: &StepBatch) -> Result<StepMetrics, Error> {
        self.step = Step::default();
        let mut spans = Vec::new();
        let mut found = None;
        for (_, entry) in schedule.of(self.number) {
            let began = Instant::now();
            self.entry(entry, batch, &mut found)?;
            if self.waits {
                self.device.synchronize()?;
            }
            spans.push([began, Instant::now()]);
            for slot in &entry.frees {
                self.step.slots.remove(slot);
            }
        }
        Ok(StepMetrics { sums: needed(found, "what was measured")?, spans })
    }

    /// Brings numbers of each of `devices` devices to the first, and nothing to the others.
    pub(super) fn gather(&mut self, own: Vec<f32>, devices: usize) -> Result<Vec<Vec<f32>>, Error> {
        if self.number > 0 {
            self.transport.send(0, Arc::new(own))?;
            return Ok(Vec::new());
        }
        let mut all = vec![own];
        for device in 1..devices {
            all.push(self.transport.receive(device)?.to_vec());
        }
        Ok(all)
    }

    fn entry(&mut self, entry: &Entry, batch: &StepBatch, found: &mut Option<Sums>) -> Result<(), Error> {
        match &entry.action {
            Action::Compute(Work::Found) => *found = Some(self.found(entry)?),
            Action::Compute(Work::Update) => {
                let sums = self.found(entry)?;
                self.update(entry, sums.squares, batch.rate)?;
                *found = Some(sums);
            }
            Action::Compute(work) => {
                let made = self.compute(*work, entry, batch)?;
                for (&slot, tensor) in entry.writes.iter().zip(made) {
                    self.step.slots.insert(slot, tensor);
                }
            }
            Action::Send { to, rows } => {
                let x = self.read(entry, 0)?;
                let part = Tensor::empty(&self.device, &[rows.len(), x.width()])?;
                copy_block(&x, rows.start, &part, 0, rows.len())?;
                self.transport.send(*to, Arc::new(part.to_vec()?))?;
            }
            Action::Receive { from, rows, of } => {
                let values = self.transport.receive(*from)?;
                let width = self.shard.config.width;
                same_count(*from, values.len(), rows.len() * width)?;
                let part = Tensor::from_slice(&self.device, &values, &[rows.len(), width])?;
                if rows.len() == *of {
                    self.step.slots.insert(entry.writes[0], vec![part]);
                } else {
                    copy_block(&part, 0, &self.room(entry.writes[0], [*of, width])?, rows.start, rows.len())?;
                }
            }
            Action::Collective { kind, group, elements } => {
                let mut made = Vec::new();
                for x in self.step.slots.get(&entry.reads[0]).cloned().unwrap_or_default() {
                    made.push(self.collective(*kind, group, *elements, &x)?);
                }
                self.step.slots.insert(entry.writes[0], made);
            }
        }
        Ok(())
    }

    /// A slot that several entries write to.
    pub(super) fn room(&mut self, slot: Slot, shape: [usize; 2]) -> Result<Tensor, Error> {
        if let Some(tensor) = self.step.slots.get(&slot).and_then(|tensors| tensors.first()) {
            return Ok(tensor.clone());
        }
        let room = Tensor::empty(&self.device, &shape)?;
        self.step.slots.insert(slot, vec![room.clone()]);
        Ok(room)
    }

    /// What an entry reads.
    pub(super) fn read(&self, entry: &Entry, number: usize) -> Result<Tensor, Error> {
        let slot = entry.reads.get(number).and_then(|slot| self.step.slots.get(slot)?.first());
        slot.cloned().ok_or_else(|| Error::Setting(format!("the schedule reads what nobody wrote: {entry:?}")))
    }

    fn collective(
        &mut self,
        kind: Collective,
        members: &[usize],
        elements: usize,
        x: &Tensor,
    ) -> Result<Tensor, Error> {
        let me = members.iter().position(|&member| member == self.number).unwrap_or(0);
        let (group, width, values) = (Group { members, me }, x.width(), x.to_vec()?);
        // A vector's elements are as good as rows.
        let (width, vector) = if x.shape().len() == 1 { (1, true) } else { (width, false) };
        let transport = &mut *self.transport;
        let values = match kind {
            Collective::AllReduce => group.all_reduce(transport, &values, width)?,
            Collective::ReduceScatter => group.reduce_scatter(transport, &values, width)?,
            Collective::AllGather => group.all_gather(transport, values, [elements, width])?,
        };
        let rows = values.len() / width;
        let shape = if vector { vec![rows] } else { vec![rows, width] };
        Ok(Tensor::from_slice(&self.device, &values, &shape)?)
    }

    /// What each slot that the entry writes gets.
    fn compute(&mut self, work: Work, entry: &Entry, batch: &StepBatch) -> Result<Vec<Vec<Tensor>>, Error> {
        let one = |tensor: Tensor| Ok(vec![vec![tensor]]);
        let some = |tensor: Option<Tensor>| Ok(tensor.map(|tensor| vec![tensor]).into_iter().collect());
        let windows = Windows { rotations: &self.shard.rotations, length: self.length };
        match work {
            Work::Embed => one(self.embed(entry.microbatch, batch)?),
            Work::Forward { place, wants_x, keeps } => {
                let x = self.read(entry, 0)?;
                let layer = self.shard.layer(&place)?;
                let adds = self.shard.position == 0 && layer.out_norm(place.half).is_none();
                let (tapes, f) = HalfTapes::forward(layer, place.half, windows, &x, wants_x, adds)?;
                if keeps && tapes.is_walked() {
                    self.step.halves.insert(place, tapes);
                }
                one(f)
            }
            Work::Join(place) => {
                let (x, f) = (self.read(entry, 0)?, self.read(entry, 1)?);
                let layer = self.shard.layer(&place)?;
                let wants_f = self.step.halves.contains_key(&place);
                let (tape, y) = JoinTape::forward(layer, place.half, windows, [&x, &f], wants_f)?;
                if wants_f {
                    self.step.joins.insert(place, tape);
                }
                one(y)
            }
            Work::JoinBackward(place) => {
                let g = self.read(entry, 0)?;
                let tape = needed(self.step.joins.remove(&place), entry)?;
                some(tape.backward(g, &mut self.step.gradients)?)
            }
            Work::Backward(place) => {
                let g = self.read(entry, 0)?;
                let tapes = needed(self.step.halves.get(&place), entry)?;
                some(tapes.backward(g, &mut self.step.gradients)?)
            }
            Work::NormBackward(place) => {
                let (dn, g) = (self.read(entry, 0)?, self.read(entry, 1)?);
                let tapes = needed(self.step.halves.remove(&place), entry)?;
                some(tapes.norm_backward(dn, &g, &mut self.step.gradients)?)
            }
            Work::Merge { block, wants_x, wants_experts, keeps } => {
                let all = (0..entry.reads.len()).map(|i| self.read(entry, i)).collect::<Result<Vec<_>, _>>()?;
                let branches: Vec<&Tensor> = all[1..].iter().collect();
                let mut wants = vec![wants_experts; branches.len() + 1];
                wants[..2].fill(wants_x);
                let gate = &self.shard.gates[block];
                let (tape, y) = MergeTape::forward([&gate.weight, &gate.bias], &all[0], &branches, &wants)?;
                if keeps {
                    self.step.merges.insert(block, tape);
                }
                one(y)
            }
            Work::MergeBackward(block) => {
                let g = self.read(entry, 0)?;
                let tape = needed(self.step.merges.remove(&block), entry)?;
                Ok(tape.backward(g, &mut self.step.gradients)?.into_iter().map(|tensor| vec![tensor]).collect())
            }
            Work::FinalNorm { keeps } => {
                let y = self.read(entry, 0)?;
                let (tape, h) = NormTape::forward(&needed(self.shard.backbone.as_ref(), entry)?.norm, &y)?;
                self.step.norm = keeps.then_some(tape);
                one(h)
            }
            Work::FinalNormBackward => {
                let g = self.read(entry, 0)?;
                some(needed(self.step.norm.take(), entry)?.backward(g, &mut self.step.gradients)?)
            }
            Work::Logits { first, rows } => one(self.logits(entry, batch, first, rows)?),
            Work::LossGradient { first, rows } => self.loss_gradient(entry, first, rows).map(|()| Vec::new()),
            Work::Score { first, rows } => self.score(entry, batch, first, rows).map(|()| Vec::new()),
            Work::Slice { first, rows } => {
                let x = self.read(entry, 0)?;
                let part = Tensor::empty(&self.device, &[rows, x.width()])?;
                copy_block(&x, first, &part, 0, rows)?;
                one(part)
            }
            Work::Sum => {
                let mut sum = self.read(entry, 0)?;
                for i in 1..entry.reads.len() {
                    sum = add(&sum, &self.read(entry, i)?, None)?;
                }
                one(sum)
            }
            Work::Gradients(kind) => {
                let gradients = self.step.gradients.get_or_insert_default();
                let gathered = self.optimizers.get(&kind).map(|optimizer| optimizer.gather(gradients)).transpose()?;
                let gathered = gathered.unwrap_or_default();
                // All find the same, as far as unlike devices do: the first one's counts for all, so that weights stay the same to the bit.
                if kind == GradientKind::Replicated && self.shard.position > 0 {
                    gathered.iter().try_for_each(|gradient| fill(gradient, 0.0))?;
                }
                Ok(vec![gathered])
            }
            Work::Measure => one(self.measure(entry)?),
            // `entry` has told these apart.
            Work::Found | Work::Update => Ok(Vec::new()),
        }
    }

    /// The square of the norm of what this device answers for, and its tokens' loss: squares, sum of nll, tokens, 0.
    fn measure(&mut self, entry: &Entry) -> Result<Tensor, Error> {
        let mut squares = 0.0;
        for (kind, slot) in GradientKind::ALL.into_iter().zip(&entry.reads) {
            let gathered = self.step.slots.get(slot).cloned().unwrap_or_default();
            let Some(optimizer) = self.optimizers.get_mut(&kind) else { continue };
            optimizer.measure(&gathered)?;
            // What several devices have is counted where it first stands.
            let counted = self.data[0] == 0 && (kind == GradientKind::Sharded || self.shard.position == 0);
            if counted {
                squares += optimizer.squared_norm().to_vec()?[0];
            }
        }
        // Along the tensor axis all devices of the backbone's mesh know the same tokens' loss.
        let [nll, tokens] = if self.shard.position == 0 { self.step.loss } else { [0.0; 2] };
        Ok(Tensor::from_slice(&self.device, &[squares, nll as f32, tokens as f32, 0.0], &[1, 4])?)
    }

    /// What all devices measured.
    fn found(&self, entry: &Entry) -> Result<Sums, Error> {
        let all = self.read(entry, 0)?.to_vec()?;
        let sum = |column: usize| all.iter().skip(column).step_by(4).sum::<f32>();
        Ok(Sums { squares: sum(0), nll: sum(1), tokens: sum(2) })
    }

    /// The step itself, from the square of the whole gradient's norm.
    fn update(&mut self, entry: &Entry, squares: f32, rate: f64) -> Result<(), Error> {
        for (i, kind) in GradientKind::ALL.into_iter().enumerate() {
            let gathered = self.step.slots.get(&entry.reads[i + 1]).cloned().unwrap_or_default();
            if let Some(optimizer) = self.optimizers.get_mut(&kind) {
                fill(optimizer.squared_norm(), squares)?;
                optimizer.apply(&gathered, rate)?;
                optimizer.learn(squares.sqrt());
            }
        }
        self.step.gradients = None;
        Ok(())
    }
}

/// What an earlier entry has left, without which the schedule is wrong.
pub(super) fn needed<T>(found: Option<T>, entry: impl std::fmt::Debug) -> Result<T, Error> {
    found.ok_or_else(|| Error::Setting(format!("the schedule needs what no entry has made: {entry:?}")))
}
