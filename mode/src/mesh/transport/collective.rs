//! Collectives on top of a transport: rows of a matrix go to their owners, who sum them in the order of the group; sums go back.
//!
//! Each of n devices sends (n - 1) / n of a tensor in a reduce-scatter or an all-gather, twice that in an all-reduce, as a ring does, but in
//! one hop. Sums are made in one order by one device, so every device has the same bits, whatever the transport.

use super::{Message, Transport};
use crate::Error;
use crate::mesh::plan::share;
use std::sync::Arc;

/// Whose turn it is: a group of devices, and which of them this one is.
pub(in crate::mesh) struct Group<'a> {
    pub(in crate::mesh) members: &'a [usize],
    pub(in crate::mesh) me: usize,
}

impl Group<'_> {
    fn others(&self) -> impl Iterator<Item = (usize, usize)> {
        // Each begins with its neighbour, so that not all send to one at once.
        let (count, me) = (self.members.len(), self.me);
        (1..count).map(move |step| (me + step) % count).map(|position| (position, self.members[position]))
    }

    /// This device's rows of the sum of all `x` `[rows, width]`.
    ///
    /// # Errors
    /// What the transport reports, or numbers of another count.
    pub(in crate::mesh) fn reduce_scatter(
        &self,
        transport: &mut dyn Transport,
        x: &[f32],
        width: usize,
    ) -> Result<Vec<f32>, Error> {
        let rows = x.len() / width;
        let span = |position: usize| {
            let own = share(rows, self.members.len(), position);
            own.start * width..own.end * width
        };
        for (position, device) in self.others() {
            transport.send(device, Arc::new(x[span(position)].to_vec()))?;
        }
        let own = &x[span(self.me)];
        let mut terms: Vec<Message> = Vec::new();
        for (position, &device) in self.members.iter().enumerate() {
            if position != self.me {
                let term = transport.receive(device)?;
                same_count(device, term.len(), own.len())?;
                terms.push(term);
            }
        }
        // In the order of the group, this device's own term in its place.
        let (before, after) = terms.split_at(self.me);
        let all =
            before.iter().map(|term| term.as_slice()).chain([own]).chain(after.iter().map(|term| term.as_slice()));
        let mut sum = Vec::new();
        for term in all {
            match sum.is_empty() {
                true => sum.extend_from_slice(term),
                false => sum.iter_mut().zip(term).for_each(|(sum, term)| *sum += term),
            }
        }
        Ok(sum)
    }

    /// The rows of all, one after the other, `elements` of them in rows of `width`, of which each has its share.
    ///
    /// # Errors
    /// What the transport reports, or numbers of another count.
    pub(in crate::mesh) fn all_gather(
        &self,
        transport: &mut dyn Transport,
        own: Vec<f32>,
        [elements, width]: [usize; 2],
    ) -> Result<Vec<f32>, Error> {
        let own = Arc::new(own);
        for (_, device) in self.others() {
            transport.send(device, own.clone())?;
        }
        let mut all = Vec::new();
        for (position, &device) in self.members.iter().enumerate() {
            match position == self.me {
                true => all.extend_from_slice(&own),
                false => {
                    let rows = transport.receive(device)?;
                    let share = share(elements / width, self.members.len(), position);
                    same_count(device, rows.len(), share.len() * width)?;
                    all.extend_from_slice(&rows);
                }
            }
        }
        Ok(all)
    }

    /// The sum of all `x` `[rows, width]`.
    ///
    /// # Errors
    /// As [`Group::reduce_scatter`].
    pub(in crate::mesh) fn all_reduce(
        &self,
        transport: &mut dyn Transport,
        x: &[f32],
        width: usize,
    ) -> Result<Vec<f32>, Error> {
        let own = self.reduce_scatter(transport, x, width)?;
        self.all_gather(transport, own, [x.len(), width])
    }
}

/// An error unless as many numbers came as were to come.
pub(in crate::mesh) fn same_count(device: usize, found: usize, wanted: usize) -> Result<(), Error> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::Peer {
        device: format!("device {device}"),
        what: format!("has sent {found} numbers where {wanted} were to come"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::local::{EmulatedLink, local};
    use super::*;
    use std::time::{Duration, Instant};

    /// What each of three devices gets of `run`, which is given its group, its transport and its number.
    fn three<T: Send>(run: impl Fn(Group, &mut dyn Transport, usize) -> T + Sync) -> Vec<T> {
        three_over(None, run)
    }

    /// The same over an emulated link.
    fn three_over<T: Send>(
        link: Option<EmulatedLink>,
        run: impl Fn(Group, &mut dyn Transport, usize) -> T + Sync,
    ) -> Vec<T> {
        let ends = local((0..3).map(|i| format!("device {i}")).collect(), link, Duration::from_secs(5));
        std::thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> = ends
                .into_iter()
                .enumerate()
                .map(|(me, mut end)| scope.spawn(move || run(Group { members: &[0, 1, 2], me }, &mut end, me)))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        })
    }

    #[test]
    fn all_get_what_they_should() {
        // Five rows of two columns; device i has 100 i + their numbers.
        let x = |me: usize| (0..10).map(|n| (100 * me + n) as f32).collect::<Vec<_>>();
        let sum: Vec<f32> = (0..10).map(|n| (300 + 3 * n) as f32).collect();
        for all in three(|group, transport, me| group.all_reduce(transport, &x(me), 2).expect("a sum")) {
            assert_eq!(all, sum);
        }
        let scattered = three(|group, transport, me| group.reduce_scatter(transport, &x(me), 2).expect("a sum"));
        assert_eq!(scattered.iter().map(Vec::len).collect::<Vec<_>>(), [2, 4, 4]);
        assert_eq!(scattered.concat(), sum);
        let own = |me: usize| vec![me as f32; [2, 4, 4][me]];
        for all in three(|group, transport, me| group.all_gather(transport, own(me), [10, 2]).expect("rows")) {
            assert_eq!(all, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
        }
    }

    #[test]
    fn another_count_than_a_members_share_is_refused() -> Result<(), Error> {
        let mut ends = local(vec!["0".into(), "1".into()], None, Duration::from_secs(5));
        ends[1].send(0, Arc::new(vec![0.0; 8]))?;
        let group = Group { members: &[0, 1], me: 0 };
        let error = group.all_gather(&mut ends[0], vec![0.0; 4], [8, 4]).expect_err("twice as many").to_string();
        assert!(error.starts_with("device 1 has sent 8 numbers where 4 were to come"), "{error}");
        Ok(())
    }

    #[test]
    fn messages_of_a_hop_are_on_their_way_at_once() {
        let link = EmulatedLink { bytes_per_second: 1e12, latency: 0.1 };
        let took = three_over(Some(link), |group, transport, me| {
            let began = Instant::now();
            group.all_reduce(transport, &[me as f32; 3], 1).expect("a sum");
            began.elapsed().as_secs_f64()
        });
        // Two hops; its four messages one after the other would take 0.4 s.
        assert!(took.iter().all(|took| (0.19..0.35).contains(took)), "{took:?}");
    }

    #[test]
    fn fewer_rows_than_devices_are_fine() {
        let found = three(|group, transport, me| group.all_reduce(transport, &[me as f32], 1).expect("a sum"));
        assert_eq!(found, [[3.0], [3.0], [3.0]]);
    }
}
