//! Ports: a device passes on what it sends one message after the other, and takes in what it receives one after the other.

/// What each device's port sends and receives, in seconds.
pub(in crate::mesh) struct Ports(Vec<Port>);

#[derive(Clone, Default)]
struct Port {
    /// When it will have passed on all that it sends: in the order in which it was given that.
    sent: f64,
    /// When it takes in something, from when to when. Between two of them there may be room for another sender's.
    receives: Vec<[f64; 2]>,
}

impl Port {
    /// The first time from `from` on at which it can take in something for `seconds`.
    fn room(&self, from: f64, seconds: f64) -> f64 {
        let meets = |at: f64| self.receives.iter().find(|[begins, ends]| *begins < at + seconds && at < *ends);
        let mut at = from;
        while let Some([_, ends]) = meets(at) {
            at = *ends;
        }
        at
    }

    /// When it will have passed on all that it sends and receives.
    fn free(&self) -> f64 {
        self.receives.iter().map(|[_, ends]| *ends).fold(self.sent, f64::max)
    }

    fn receive(&mut self, now: f64, span: [f64; 2]) {
        self.receives.retain(|[_, ends]| *ends > now);
        self.receives.push(span);
    }
}

impl Ports {
    /// Those of so many devices, all free.
    pub(in crate::mesh) fn new(devices: usize) -> Self {
        Self(vec![Port::default(); devices])
    }

    /// A message that is there at `now` and takes `seconds`: when the sender's port and the receiver's have passed it on.
    pub(in crate::mesh) fn pass(&mut self, from: usize, to: usize, now: f64, seconds: f64) -> f64 {
        let begins = self.0[to].room(self.0[from].sent.max(now), seconds);
        let passed = begins + seconds;
        self.0[from].sent = passed;
        self.0[to].receive(now, [begins, passed]);
        passed
    }

    /// What all of a group send to and receive of each other from `now` on, each for `seconds`: when all of their ports have passed it on.
    pub(in crate::mesh) fn pass_among(&mut self, group: &[usize], now: f64, seconds: f64) -> f64 {
        let free = group.iter().map(|&device| self.0[device].free()).fold(now, f64::max);
        let passed = free + seconds;
        for &device in group {
            self.0[device].sent = passed;
            self.0[device].receive(now, [free, passed]);
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_one_port_take_turns() {
        let mut ports = Ports::new(4);
        assert_eq!(ports.pass(0, 1, 1.0, 2.0), 3.0);
        // One port sends to two, and receives meanwhile.
        assert_eq!([ports.pass(0, 2, 1.0, 2.0), ports.pass(1, 0, 1.0, 2.0)], [5.0, 3.0]);
        // A collective waits for the last of its ports, and others wait for it.
        assert_eq!(ports.pass_among(&[0, 1], 1.0, 1.0), 6.0);
        assert_eq!([ports.pass(3, 1, 5.0, 1.0), ports.pass(3, 2, 5.0, 1.0)], [7.0, 8.0]);
    }

    #[test]
    fn what_all_send_to_all_takes_as_long_as_what_one_sends() {
        let mut ports = Ports::new(4);
        let all = (0..4).flat_map(|from| (1..4).map(move |step| (from, (from + step) % 4)));
        let passed: Vec<f64> = all.map(|(from, to)| ports.pass(from, to, 0.0, 1.0)).collect();
        assert_eq!(passed.into_iter().fold(0.0, f64::max), 3.0);
    }
}
