//! What a plan is written with: tensors that are spread over a mesh, and the entries that compute with them, change how they lie, or
//! bring them to another mesh.

use super::grid::{Axis, Mesh, share};
use super::layout::Layout;
use super::placement::Placement;
use super::schedule::{Action, Collective, Entry, Schedule, Slot, Work};
use std::ops::Range;

/// A tensor `[tokens, width]` on all devices of a mesh: windows are shared out along the data axis, along the tensor axis it lies as
/// the placement says.
#[derive(Debug, Clone)]
pub(super) struct Spread {
    pub(super) mesh: usize,
    pub(super) placement: Placement,
    /// Where each of the mesh's devices has it.
    slots: Vec<Slot>,
}

/// Writes entries.
pub(super) struct Planner<'a> {
    pub(super) layout: &'a Layout,
    /// Tokens of a microbatch.
    tokens: usize,
    width: usize,
    /// Which microbatch.
    pub(super) microbatch: usize,
    entries: Vec<Entry>,
    /// How many slots each device has used.
    slots: Vec<Slot>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(layout: &'a Layout, tokens: usize, width: usize) -> Self {
        let slots = vec![0; layout.devices()];
        Self { layout, tokens, width, microbatch: 0, entries: Vec::new(), slots }
    }

    pub(super) fn finish(self) -> Schedule {
        let mut schedule = Schedule { devices: self.layout.devices(), width: self.width, entries: self.entries };
        schedule.free_slots();
        schedule
    }

    pub(super) fn mesh(&self, mesh: usize) -> &'a Mesh {
        &self.layout.meshes[mesh]
    }

    /// Tokens of one device's windows.
    pub(super) fn tokens_on(&self, mesh: usize) -> usize {
        self.tokens / self.mesh(mesh).data
    }

    fn slot(&mut self, device: usize) -> Slot {
        self.slots[device] += 1;
        self.slots[device] - 1
    }

    fn push(&mut self, device: usize, action: Action, reads: Vec<Slot>, writes: Vec<Slot>) {
        self.entries.push(Entry { device, microbatch: self.microbatch, action, reads, writes, frees: Vec::new() });
    }

    /// Work of all devices of a mesh on what they have; the results, one for each placement.
    pub(super) fn compute(
        &mut self,
        mesh: usize,
        work: Work,
        reads: &[&Spread],
        placements: &[Placement],
    ) -> Vec<Spread> {
        let mut written: Vec<Spread> =
            placements.iter().map(|&placement| Spread { mesh, placement, slots: Vec::new() }).collect();
        for (i, device) in self.mesh(mesh).devices().enumerate() {
            let writes: Vec<Slot> = written.iter_mut().map(|spread| self.new_slot(spread, device)).collect();
            self.push(device, Action::Compute(work), reads.iter().map(|spread| spread.slots[i]).collect(), writes);
        }
        written
    }

    fn new_slot(&mut self, spread: &mut Spread, device: usize) -> Slot {
        let slot = self.slot(device);
        spread.slots.push(slot);
        slot
    }

    /// Work that has one result.
    pub(super) fn compute_one(&mut self, mesh: usize, work: Work, reads: &[&Spread], placement: Placement) -> Spread {
        self.compute(mesh, work, reads, &[placement]).swap_remove(0)
    }

    /// Work that writes to rows of what is there.
    pub(super) fn compute_onto(&mut self, work: Work, reads: &[&Spread], onto: &Spread) {
        for (i, device) in self.mesh(onto.mesh).devices().enumerate() {
            let reads = reads.iter().map(|spread| spread.slots[i]).collect();
            self.push(device, Action::Compute(work), reads, vec![onto.slots[i]]);
        }
    }

    /// Room for a result that is written in several entries.
    pub(super) fn room(&mut self, mesh: usize, placement: Placement) -> Spread {
        let slots = self.mesh(mesh).devices().map(|device| self.slot(device)).collect();
        Spread { mesh, placement, slots }
    }

    /// Something that all devices along an axis do together; `elements` is what each gives, or gets of an AllGather.
    pub(super) fn collective(
        &mut self,
        kind: Collective,
        axis: Axis,
        x: &Spread,
        elements: impl Fn(usize) -> usize,
        placement: Placement,
    ) -> Spread {
        let mesh = self.mesh(x.mesh);
        let group = |device| mesh.group(device, axis);
        if group(mesh.first).len() == 1 {
            return Spread { placement, ..x.clone() };
        }
        let action = |device| Action::Collective { kind, group: group(device), elements: elements(device) };
        self.on_each(x, placement, action)
    }

    /// What each device that has x makes of it by an action of its own.
    fn on_each(&mut self, x: &Spread, placement: Placement, action: impl Fn(usize) -> Action) -> Spread {
        let mut to = Spread { mesh: x.mesh, placement, slots: Vec::new() };
        for (i, device) in self.mesh(x.mesh).devices().enumerate() {
            let slot = self.new_slot(&mut to, device);
            self.push(device, action(device), vec![x.slots[i]], vec![slot]);
        }
        to
    }

    /// A small tensor of every device, on every device.
    pub(super) fn gather_from_all(&mut self, spreads: &[Spread], elements: usize) -> Vec<Spread> {
        let group: Vec<usize> = (0..self.layout.devices()).collect();
        if group.len() == 1 {
            return spreads.to_vec();
        }
        let (kind, elements) = (Collective::AllGather, elements * group.len());
        let action = |_| Action::Collective { kind, group: group.clone(), elements };
        spreads.iter().map(|x| self.on_each(x, Placement::Replicate, action)).collect()
    }

    /// The same tensor as it lies otherwise on its own mesh, or on another.
    pub(super) fn reshard(&mut self, x: &Spread, mesh: usize, placement: Placement) -> Spread {
        if x.mesh != mesh {
            return self.transfer(x, mesh, placement);
        }
        if x.placement == placement || self.mesh(mesh).tensor == 1 {
            return Spread { placement, ..x.clone() };
        }
        let elements = self.tokens_on(mesh) * self.width;
        let kind = match (x.placement, placement) {
            (Placement::Replicate, _) => return self.slice(x, placement),
            (Placement::Shard, _) => Collective::AllGather,
            (Placement::Partial, Placement::Shard) => Collective::ReduceScatter,
            (Placement::Partial, _) => Collective::AllReduce,
        };
        self.collective(kind, Axis::Tensor, x, |_| elements, placement)
    }

    /// Each device's own tokens of what all have.
    fn slice(&mut self, x: &Spread, placement: Placement) -> Spread {
        let mesh = self.mesh(x.mesh);
        let tokens = self.tokens_on(x.mesh);
        self.on_each(x, placement, |device| {
            let rows = share(tokens, mesh.tensor, mesh.position(device, Axis::Tensor));
            Action::Compute(Work::Slice { first: rows.start, rows: rows.len() })
        })
    }

    /// The tokens of the microbatch that a device has under a placement.
    fn rows(&self, mesh: usize, device: usize, placement: Placement) -> Range<usize> {
        let grid = self.mesh(mesh);
        let windows = share(self.tokens, grid.data, grid.position(device, Axis::Data));
        match placement {
            Placement::Shard => {
                let own = share(windows.len(), grid.tensor, grid.position(device, Axis::Tensor));
                windows.start + own.start..windows.start + own.end
            }
            Placement::Replicate | Placement::Partial => windows,
        }
    }

    /// To another mesh: each device of it gets its rows from those that have them. Of what all have each sends its own share, so that
    /// all links carry the same.
    fn transfer(&mut self, x: &Spread, mesh: usize, placement: Placement) -> Spread {
        let partial = x.placement == Placement::Partial;
        let x = if partial { self.reshard(x, x.mesh, Placement::Shard) } else { x.clone() };
        if placement == Placement::Replicate && self.mesh(mesh).tensor > 1 {
            let own = self.transfer(&x, mesh, Placement::Shard);
            return self.reshard(&own, mesh, Placement::Replicate);
        }
        let mut to = Spread { mesh, placement, slots: Vec::new() };
        for receiver in self.mesh(mesh).devices() {
            let wanted = self.rows(mesh, receiver, placement);
            let slot = self.new_slot(&mut to, receiver);
            for (i, sender) in self.mesh(x.mesh).devices().enumerate() {
                let (held, own) = (self.rows(x.mesh, sender, x.placement), self.rows(x.mesh, sender, Placement::Shard));
                let rows = own.start.max(wanted.start)..own.end.min(wanted.end);
                if rows.is_empty() {
                    continue;
                }
                let within = |of: &Range<usize>| rows.start - of.start..rows.end - of.start;
                let send = Action::Send { to: receiver, rows: within(&held) };
                self.push(sender, send, vec![x.slots[i]], Vec::new());
                let receive = Action::Receive { from: sender, rows: within(&wanted), of: wanted.len() };
                self.push(receiver, receive, Vec::new(), vec![slot]);
            }
        }
        to
    }
}
