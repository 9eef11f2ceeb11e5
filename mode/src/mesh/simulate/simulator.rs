//! The simulator: the same schedule that devices carry out, priced entry by entry.
//!
//! Each device goes through its entries. Computing takes as long as its cost at the device's rates; a send leaves when the sender's port
//! and the receiver's are free, and arrives after its bytes at the link's rate; a collective begins when its last device has come and
//! the ports of all are free, and holds them: where a mesh's link is the one to other meshes, as an emulated one is, both take turns. A
//! link's latency is waited for once a hop, for messages of one hop are on their way at once; what a message costs a device it pays
//! for each. Where devices share the cores of a machine, more devices than cores take turns: all go on at cores / computing devices of
//! their speed.

use super::cost::Cost;
use super::hardware::{Hardware, LinkRate, Rates};
use super::priced::Priced;
use super::traced::Traced;
use crate::mesh::plan::{Action, Collective, Entry};
use crate::mesh::transport::Ports;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

impl Priced<'_> {
    /// What the step takes on `hardware`: when each entry begins and ends.
    pub fn simulate(&self, hardware: &Hardware) -> Traced {
        let mut simulation = Simulation::new(self, hardware);
        simulation.run();
        let seconds = simulation.spans.iter().flatten().map(|[_, ended]| *ended).fold(0.0, f64::max);
        Traced { schedule: self.schedule.clone(), spans: simulation.spans, seconds }
    }
}

/// Seconds of computing at a device's rates.
pub fn seconds(cost: &Cost, rates: &Rates) -> f64 {
    cost.matmul / rates.matmul_flop_per_second
        + cost.attention / rates.attention_flop_per_second
        + (cost.bytes + cost.fusable) / rates.bytes_per_second
        + cost.launches * rates.launch_seconds
}

/// A time in an order.
#[derive(Clone, Copy, PartialEq)]
struct At(f64, usize);

impl Eq for At {}
impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for At {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

/// What a device is to do when it goes on.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    /// Begin its next entry.
    Begin,
    /// Pass on what it has copied.
    Post,
    /// Copy what has come.
    Copy,
    /// Its entry is over.
    End,
}

/// Which of a simulation's ports lead to the devices of one's own mesh, and which to others.
const WITHIN: usize = 0;
const BETWEEN: usize = 1;

struct Simulation<'a> {
    priced: &'a Priced<'a>,
    hardware: &'a Hardware,
    /// Each device's rates and entries, with what those cost, and how far it has come.
    rates: Vec<&'a Rates>,
    entries: Vec<Vec<(&'a Entry, &'a Cost)>>,
    place: Vec<usize>,
    next: Vec<Next>,
    spans: Vec<Vec<[f64; 2]>>,
    /// The time, and the seconds that a computing device has had so far.
    now: f64,
    had: f64,
    /// Devices that compute, by when they will have had enough.
    computing: BinaryHeap<Reverse<At>>,
    /// Devices that wait for a moment.
    waiting: BinaryHeap<Reverse<At>>,
    /// Arrivals from one device at another, and whether that waits.
    arrivals: HashMap<(usize, usize), VecDeque<f64>>,
    receivers: HashSet<(usize, usize)>,
    /// Devices that have come to a collective.
    gathered: HashMap<&'a [usize], Vec<usize>>,
    /// Those within meshes, and those between.
    ports: [Ports; 2],
    ready: Vec<usize>,
}

impl<'a> Simulation<'a> {
    fn new(priced: &'a Priced<'a>, hardware: &'a Hardware) -> Self {
        let count = priced.schedule.devices;
        let mut entries: Vec<Vec<(&Entry, &Cost)>> = vec![Vec::new(); count];
        for (entry, cost) in priced.schedule.entries.iter().zip(&priced.costs) {
            entries[entry.device].push((entry, cost));
        }
        let meshes = priced.layout.meshes.iter().enumerate();
        Self {
            priced,
            hardware,
            rates: meshes.flat_map(|(number, mesh)| vec![hardware.rates(number); mesh.size()]).collect(),
            entries,
            place: vec![0; count],
            next: vec![Next::Begin; count],
            spans: vec![Vec::new(); count],
            now: 0.0,
            had: 0.0,
            computing: BinaryHeap::new(),
            waiting: BinaryHeap::new(),
            arrivals: HashMap::new(),
            receivers: HashSet::new(),
            gathered: HashMap::new(),
            ports: [Ports::new(count), Ports::new(count)],
            ready: (0..count).rev().collect(),
        }
    }

    fn run(&mut self) {
        loop {
            while let Some(device) = self.ready.pop() {
                self.go_on(device);
            }
            let speed = self.hardware.host.as_ref().map_or(1.0, |host| host.speed(self.computing.len()));
            let computed = self.computing.peek().map(|Reverse(At(had, _))| self.now + (had - self.had) / speed);
            let woken = self.waiting.peek().map(|Reverse(At(at, _))| *at);
            let (heap, at) = match (computed, woken) {
                (Some(computed), woken) if woken.is_none_or(|woken| computed <= woken) => {
                    (&mut self.computing, computed)
                }
                (_, Some(woken)) => (&mut self.waiting, woken),
                _ => return,
            };
            let Some(Reverse(At(_, device))) = heap.pop() else { return };
            self.had += (at - self.now).max(0.0) * speed;
            self.now = self.now.max(at);
            self.ready.push(device);
        }
    }

    fn compute(&mut self, device: usize, seconds: f64, next: Next) {
        self.next[device] = next;
        self.computing.push(Reverse(At(self.had + seconds, device)));
    }

    fn wait(&mut self, device: usize, until: f64, next: Next) {
        self.next[device] = next;
        self.waiting.push(Reverse(At(until.max(self.now), device)));
    }

    /// Seconds in which a device copies messages itself, one after the other.
    fn copying(&self, messages: usize, elements: usize) -> f64 {
        self.hardware.host.as_ref().map_or(0.0, |host| {
            messages as f64 * host.message_seconds + elements as f64 * 4.0 / host.message_bytes_per_second
        })
    }

    /// Seconds of bytes on a link.
    fn on_link(&self, link: Option<LinkRate>, elements: f64) -> [f64; 2] {
        link.map_or([0.0; 2], |link| {
            [elements * self.priced.assumed.element_bytes / link.bytes_per_second, link.seconds]
        })
    }

    /// Which ports lead to a link: a mesh whose own is the one between meshes has no others for it.
    fn port(&self, link: Option<LinkRate>) -> usize {
        if link == self.hardware.between { BETWEEN } else { WITHIN }
    }

    fn go_on(&mut self, device: usize) {
        let Some(&(entry, cost)) = self.entries[device].get(self.place[device]) else { return };
        match self.next[device] {
            Next::Begin => {
                self.spans[device].push([self.now; 2]);
                self.begin(device, entry, cost);
            }
            Next::Post => self.post(device, entry),
            Next::Copy => {
                let (messages, elements) = match &entry.action {
                    Action::Receive { rows, .. } => (1, rows.len() * self.priced.problem.config.width),
                    Action::Collective { kind, group, elements } => {
                        (kind.messages(group.len()), collective_elements(*kind, group.len(), *elements))
                    }
                    _ => (0, 0),
                };
                self.compute(device, self.copying(messages, elements), Next::End);
            }
            Next::End => {
                if let Some(span) = self.spans[device].last_mut() {
                    span[1] = self.now;
                }
                self.place[device] += 1;
                self.next[device] = Next::Begin;
                self.ready.push(device);
            }
        }
    }

    fn begin(&mut self, device: usize, entry: &'a Entry, cost: &Cost) {
        match &entry.action {
            Action::Compute(_) => self.compute(device, seconds(cost, self.rates[device]), Next::End),
            Action::Send { rows, .. } => {
                self.compute(device, self.copying(1, rows.len() * self.priced.problem.config.width), Next::Post);
            }
            Action::Receive { from, .. } => match self.arrivals.get_mut(&(*from, device)).and_then(VecDeque::pop_front)
            {
                Some(at) => self.wait(device, at, Next::Copy),
                None => {
                    self.receivers.insert((*from, device));
                }
            },
            Action::Collective { kind, group, elements } => {
                let come = self.gathered.entry(group.as_slice()).or_default();
                come.push(device);
                if come.len() < group.len() {
                    return;
                }
                let come = std::mem::take(come);
                let sent = collective_elements(*kind, group.len(), *elements) as f64;
                let number = self.priced.layout.mesh_index(device);
                let mesh = self.priced.layout.meshes[number].devices();
                let inside = group.iter().all(|other| mesh.contains(other));
                let link = if inside { self.hardware.within(number) } else { self.hardware.between };
                let [on_link, once] = self.on_link(link, sent);
                let passed = self.ports[self.port(link)].pass_among(group, self.now, on_link);
                for member in come {
                    self.wait(member, passed + kind.hops() as f64 * once, Next::Copy);
                }
            }
        }
    }

    /// A message leaves.
    fn post(&mut self, device: usize, entry: &Entry) {
        if let Action::Send { to, rows } = &entry.action {
            let elements = (rows.len() * self.priced.problem.config.width) as f64;
            let [on_link, once] = self.on_link(self.hardware.between, elements);
            let passed = self.ports[BETWEEN].pass(device, *to, self.now, on_link);
            let at = passed + once;
            match self.receivers.remove(&(device, *to)) {
                true => self.wait(*to, at, Next::Copy),
                false => self.arrivals.entry((device, *to)).or_default().push_back(at),
            }
        }
        self.next[device] = Next::End;
        self.ready.push(device);
    }
}

/// Elements that one of `count` devices sends.
fn collective_elements(kind: Collective, count: usize, elements: usize) -> usize {
    kind.bytes_sent(count, elements) as usize / size_of::<f32>()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::priced::Assumed;
    use super::*;
    use crate::mesh::plan::{Layout, plan, problem::tests::problem};

    fn rates() -> Rates {
        Rates {
            matmul_flop_per_second: 1e9,
            attention_flop_per_second: 1e9,
            bytes_per_second: f64::INFINITY,
            launch_seconds: 0.0,
            memory_bytes: 1e9,
            count: None,
        }
    }

    pub(in crate::mesh) fn hardware(host: Option<f64>, link: Option<f64>) -> Hardware {
        let link = link.map(|bytes_per_second| LinkRate { bytes_per_second, seconds: 0.0 });
        let host = host.map(|cores| super::super::hardware::Host {
            cores,
            together: 1.0,
            message_bytes_per_second: f64::INFINITY,
            message_seconds: 0.0,
        });
        Hardware {
            name: "test".into(),
            device: rates(),
            experts: None,
            host,
            within: link,
            experts_within: None,
            between: link,
        }
    }

    fn time(layout: &str, hardware: &Hardware) -> f64 {
        let problem = problem();
        let layout = Layout::named(layout, 2).expect("a layout");
        Priced::new(&problem, &layout, Assumed::default()).simulate(hardware).seconds
    }

    #[test]
    fn more_devices_are_as_much_faster_as_they_share() {
        let free = hardware(None, None);
        let (one, two) = (time("spmd-1", &free), time("spmd-2", &free));
        assert!((one / two - 2.0).abs() < 1e-9, "{one} {two}");
        // Backbone and experts are equal in work forward; the backbone has less backward, and the head.
        let apart = time("1+1", &free);
        assert!(apart < one && apart > one / 2.0, "{apart}");
        // On one core nothing is gained.
        let shared = hardware(Some(1.0), None);
        assert!((time("spmd-2", &shared) / one - 1.0).abs() < 1e-9);
        assert!((time("1+1", &shared) / one - 1.0).abs() < 1e-9);
    }

    #[test]
    fn meshes_of_experts_have_their_own_link() {
        let fast = hardware(None, Some(1e9));
        let slow = Hardware { experts_within: Some(LinkRate { bytes_per_second: 1e6, seconds: 0.0 }), ..fast.clone() };
        assert!(time("1+2", &slow) > 2.0 * time("1+2", &fast));
        // The backbone's mesh has none of it.
        assert_eq!(time("2+1", &slow), time("2+1", &fast));
        assert_eq!(time("spmd-2", &slow), time("spmd-2", &fast));
    }

    #[test]
    fn latency_is_paid_by_the_hop_and_copying_by_the_message() {
        let on_each = |of: fn(Collective, usize) -> usize| {
            let schedule = plan(&problem(), &Layout::named("spmd-4", 2).expect("a layout"));
            let collective = |(_, entry): (usize, &Entry)| match &entry.action {
                Action::Collective { kind, group, .. } => of(*kind, group.len()),
                _ => 0,
            };
            schedule.of(0).map(collective).sum::<usize>() as f64
        };
        let (hops, messages) = (on_each(|kind, _| kind.hops()), on_each(Collective::messages));
        assert_eq!(messages, 3.0 * hops);
        let free = time("spmd-4", &hardware(Some(4.0), None));
        let mut late = hardware(Some(4.0), Some(f64::INFINITY));
        late.within.iter_mut().for_each(|link| link.seconds = 1e-3);
        assert!((time("spmd-4", &late) - free - 1e-3 * hops).abs() < 1e-9);
        let mut busy = hardware(Some(4.0), None);
        busy.host.iter_mut().for_each(|host| host.message_seconds = 1e-3);
        assert!((time("spmd-4", &busy) - free - 1e-3 * messages).abs() < 1e-9);
    }

    #[test]
    fn collectives_and_transfers_take_turns_on_one_link() {
        let one = hardware(None, Some(1e7));
        // Of another rate, though by a hair: two links.
        let mut two = one.clone();
        two.within.iter_mut().for_each(|link| link.bytes_per_second += 1.0);
        let (one, two) = (time("2+2", &one), time("2+2", &two));
        assert!(one > 1.01 * two, "{one} {two}");
    }

    #[test]
    fn a_slow_link_costs_spmd_more() {
        let slow = hardware(None, Some(1e7));
        let bytes = |layout: &str| {
            let layout = Layout::named(layout, 2).expect("a layout");
            let schedule = plan(&problem(), &layout);
            (0..layout.devices()).map(|device| schedule.bytes_sent(&layout, device)[0]).max().unwrap_or(0) as f64
        };
        let free = hardware(None, None);
        let added = time("spmd-2", &slow) - time("spmd-2", &free);
        assert!((added - bytes("spmd-2") / 1e7).abs() < 1e-9, "all-reduces are waited for");
        assert!(time("1+1", &slow) < time("spmd-2", &slow));
    }
}
