//! Ports: a device passes on what it sends one message after the other, and takes in what it receives one after the other.

/// When each device's port will have passed on all that it sends, and all that it receives, in seconds.
pub(super) struct Ports(Vec<[f64; 2]>);

impl Ports {
    /// Those of so many devices, all free.
    pub(super) fn new(devices: usize) -> Self {
        Self(vec![[0.0; 2]; devices])
    }

    /// A message that is there at `now` and takes `seconds`: when the sender's port and the receiver's have passed it on.
    pub(super) fn pass(&mut self, from: usize, to: usize, now: f64, seconds: f64) -> f64 {
        let passed = self.0[from][0].max(self.0[to][1]).max(now) + seconds;
        (self.0[from][0], self.0[to][1]) = (passed, passed);
        passed
    }

    /// What all of a group send to and receive of each other from `now` on, each for `seconds`: when all of their ports have passed it on.
    pub(super) fn pass_among(&mut self, group: &[usize], now: f64, seconds: f64) -> f64 {
        let free = group.iter().flat_map(|&device| self.0[device]).fold(now, f64::max);
        group.iter().for_each(|&device| self.0[device] = [free + seconds; 2]);
        free + seconds
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
        assert_eq!([ports.pass(3, 1, 0.0, 1.0), ports.pass(3, 2, 0.0, 1.0)], [7.0, 8.0]);
    }
}
