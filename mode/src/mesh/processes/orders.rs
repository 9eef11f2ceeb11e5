//! Devices in other processes do what the first device tells them: it sends each an order, and they carry it out. So one process alone
//! reads the data, keeps the run's folder and knows how far it has got.
//!
//! What follows an order goes by the devices' own schedules, or is *states*: a message with a table of names and shapes, then one for each
//! parameter with its numbers and its moments', from or to each device that has trained some. L leads, F is led.
//!
//! ```text
//! 0 Step    rate, counted, windows   what the schedule says
//! 1 Score   rate, counted, windows   what the schedule says, of the forward pass
//! 2 Give    step to save, if any     F -> L: states of each device of F, but for private experts
//! 3 Take    steps                    L -> F: states of each device of F, in the same way
//! 4 Finish                           L -> F: states of the gates; F -> L: none, once all is written
//! 5 End
//! 6 Over
//! ```
//!
//! An order is a message like any other, of numbers that f32 holds exactly: what is to be done, then what is needed for it. Tables of
//! names and shapes go as the bytes of JSON, a number each.

use crate::Error;
use crate::mesh::run::{ParamState, Rank, StepBatch};
use crate::mesh::transport::Message;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a device is told to do.
#[derive(Debug, Clone)]
pub(in crate::mesh) enum Order {
    /// A step, on these windows where the device reads any.
    Step(StepBatch),
    /// The loss of these windows, and nothing trained.
    Score(StepBatch),
    /// To send what its process trains to the first device, but for private experts; these are saved there as those of this step, if
    /// there is one, before.
    Give(Option<u64>),
    /// To go on after so many steps from what the first device sends next, private experts from what was saved.
    Take(u64),
    /// To see that what is frozen is as it was, and to write private experts where their owner wants them, beside the gates that the
    /// first device sends next.
    Finish,
    /// Nothing more.
    End,
    /// Nothing at all: the run had ended before.
    Over,
}

/// Name and shape of what is sent.
#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    shape: Vec<usize>,
}

/// A whole number as four that f32 holds, the least significant first.
fn digits(number: u64) -> [f32; 4] {
    std::array::from_fn(|i| f32::from((number >> (16 * i)) as u16))
}

#[cfg(any(test, feature = "mpi", feature = "net"))]
fn number(digits: &[f32]) -> u64 {
    digits.iter().rev().fold(0, |number, &digit| number << 16 | u64::from(digit as u16))
}

impl Order {
    pub(in crate::mesh) fn message(&self) -> Message {
        let mut numbers = Vec::new();
        match self {
            Self::Step(batch) | Self::Score(batch) => {
                numbers.push(if matches!(self, Self::Step(_)) { 0.0 } else { 1.0 });
                numbers.extend(digits(batch.rate.to_bits()));
                numbers.extend([batch.counted as f32, batch.windows.len() as f32]);
                numbers.extend(batch.windows.iter().flatten().map(|&id| id as f32));
            }
            Self::Give(step) => {
                numbers.push(2.0);
                numbers.extend(step.iter().flat_map(|&step| digits(step)));
            }
            Self::Take(steps) => {
                numbers.push(3.0);
                numbers.extend(digits(*steps));
            }
            Self::Finish => numbers.push(4.0),
            Self::End => numbers.push(5.0),
            Self::Over => numbers.push(6.0),
        }
        Arc::new(numbers)
    }

    #[cfg(any(test, feature = "mpi", feature = "net"))]
    fn read(message: &[f32]) -> Option<Self> {
        let (kind, rest) = message.split_first()?;
        match *kind as u32 {
            kind @ (0 | 1) if rest.len() >= 6 => {
                let rate = f64::from_bits(number(&rest[..4]));
                let (counted, count, ids) = (rest[4] as usize, rest[5] as usize, &rest[6..]);
                let fits = if count == 0 { ids.is_empty() } else { !ids.is_empty() && ids.len().is_multiple_of(count) };
                if !fits {
                    return None;
                }
                let window = |window: &[f32]| window.iter().map(|&id| id as u32).collect();
                let windows = ids.chunks((ids.len() / count.max(1)).max(1)).map(window).collect();
                let batch = StepBatch { windows: Arc::new(windows), rate, counted };
                Some(if kind == 0 { Self::Step(batch) } else { Self::Score(batch) })
            }
            2 if rest.is_empty() => Some(Self::Give(None)),
            2 if rest.len() == 4 => Some(Self::Give(Some(number(rest)))),
            3 if rest.len() == 4 => Some(Self::Take(number(rest))),
            4 => Some(Self::Finish),
            5 => Some(Self::End),
            6 => Some(Self::Over),
            _ => None,
        }
    }
}

/// A device's states as messages: their names and shapes, then the numbers of each.
fn packed(states: &[ParamState]) -> Result<Vec<Message>, Error> {
    let rows: Vec<Row> =
        states.iter().map(|state| Row { name: state.name.clone(), shape: state.shape.clone() }).collect();
    let text = serde_json::to_string(&rows).map_err(|source| Error::Json { path: "states".into(), source })?;
    let table = text.bytes().map(f32::from).collect();
    let numbers = states.iter().map(|state| Arc::new([&state.value[..], &state.m, &state.v].concat()));
    Ok(std::iter::once(Arc::new(table)).chain(numbers).collect())
}

/// The names and shapes of states to come.
fn table(message: &[f32]) -> Option<Vec<Row>> {
    let text: Vec<u8> = message.iter().map(|&byte| byte as u8).collect();
    serde_json::from_slice(&text).ok()
}

/// A state of this name and shape, of its numbers.
fn state(Row { name, shape }: Row, numbers: &[f32]) -> Option<ParamState> {
    let count = shape.iter().try_fold(1_usize, |all, &size| all.checked_mul(size)).filter(|&count| count > 0)?;
    let mut parts = numbers.chunks_exact(count).map(<[f32]>::to_vec);
    let whole = numbers.len() == count.checked_mul(3)?;
    whole.then(|| Some(ParamState { name, shape, value: parts.next()?, m: parts.next()?, v: parts.next()? }))?
}

impl Rank {
    /// Tells devices in other processes what to do.
    pub(super) fn order(&mut self, others: &[usize], order: &Order) -> Result<(), Error> {
        let message = order.message();
        others.iter().try_for_each(|&other| self.transport.send(other, message.clone()))
    }

    /// The states that another device sends.
    pub(super) fn states_of(&mut self, other: usize) -> Result<Vec<ParamState>, Error> {
        let broken = || sends_none(other, "states that are none");
        let rows = table(&self.transport.receive(other)?).ok_or_else(broken)?;
        rows.into_iter().map(|row| state(row, &self.transport.receive(other)?).ok_or_else(broken)).collect()
    }

    /// Sends states to another device.
    pub(super) fn send_states(&mut self, other: usize, states: &[ParamState]) -> Result<(), Error> {
        packed(states)?.into_iter().try_for_each(|message| self.transport.send(other, message))
    }

    /// Waits for what the first device orders next.
    #[cfg(any(test, feature = "mpi", feature = "net"))]
    pub(super) fn next_order(&mut self) -> Result<Order, Error> {
        loop {
            let message = match self.transport.receive(0) {
                // It may have more to do between two steps than a device is given to answer.
                Err(Error::Silent { .. }) => continue,
                message => message?,
            };
            return Order::read(&message).ok_or_else(|| sends_none(0, "an order that is none"));
        }
    }
}

/// A device has sent what can't be.
fn sends_none(device: usize, what: &str) -> Error {
    Error::Peer { device: format!("device {device}"), what: format!("has sent {what}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_sent() {
        let windows = Arc::new(vec![vec![1, 262_143], vec![7, 0]]);
        let batch = StepBatch { windows, rate: 1.234_567_890_123e-3, counted: 1 };
        for order in [Order::Step(batch.clone()), Order::Score(batch.clone())] {
            match (&order, Order::read(&order.message())) {
                (Order::Step(_), Some(Order::Step(found))) | (Order::Score(_), Some(Order::Score(found))) => {
                    assert_eq!((&found.windows, found.rate, found.counted), (&batch.windows, batch.rate, 1));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(
            matches!(Order::read(&Order::Take(u64::MAX - 5).message()), Some(Order::Take(steps)) if steps == u64::MAX - 5)
        );
        assert!(matches!(Order::read(&Order::Give(None).message()), Some(Order::Give(None))));
        assert!(matches!(Order::read(&Order::Give(Some(70_000)).message()), Some(Order::Give(Some(70_000)))));
        assert!(matches!(Order::read(&Order::Finish.message()), Some(Order::Finish)));
        assert!(matches!(Order::read(&Order::End.message()), Some(Order::End)));
        assert!(matches!(Order::read(&Order::Over.message()), Some(Order::Over)));
        for garbage in [&[][..], &[9.0], &[0.0], &[0.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 1.0], &[3.0]] {
            assert!(Order::read(garbage).is_none(), "{garbage:?}");
        }
    }

    #[test]
    fn states_arrive_as_they_were_sent() -> Result<(), Error> {
        let made = |name: &str, shape: &[usize], first: f32| {
            let numbers = |more: f32| (0..shape.iter().product()).map(|i: usize| first + more + i as f32).collect();
            ParamState {
                name: name.into(),
                shape: shape.into(),
                value: numbers(0.0),
                m: numbers(0.5),
                v: numbers(0.25),
            }
        };
        let states = vec![made("a", &[2, 3], 1.0), made("b", &[4], 100.0)];
        let messages = packed(&states)?;
        let rows = table(&messages[0]).expect("a table");
        let found = rows.into_iter().zip(&messages[1..]).map(|(row, numbers)| state(row, numbers));
        assert_eq!(found.collect::<Option<Vec<_>>>(), Some(states));
        assert!(table(&messages[1]).is_none());
        let row = |shape: &[usize]| Row { name: "a".into(), shape: shape.into() };
        assert!(state(row(&[2, 3]), &messages[1][1..]).is_none() && state(row(&[0]), &[]).is_none());
        Ok(())
    }
}
