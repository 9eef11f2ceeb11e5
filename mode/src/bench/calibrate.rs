//! The rates of this machine, from steps that were taken on it: computing from one device, messages and what two devices cost each other
//! from two.
//!
//! An entry's seconds are its cost in FLOP of products, FLOP of attention, bytes and launches, each over its rate. One device takes the
//! steps, then two together, each with halves of all matrices; of all entries, each at its fastest, those four rates are found that
//! meet them best (least squares, none below zero). By how much the two's entries are slower than the one's, and how long
//! collectives take from their last device's coming on, by their messages and bytes, tells the rest.

use super::mesh::MeshBench;
use crate::Error;
use crate::memory;
use crate::mesh::{Action, Attention, Cost, Hardware, Host, Layout, Options, Rates, Traced, costs, seconds};
use mode_tensor::Device;

/// The layouts that it is done on.
pub const CALIBRATED_ON: [&str; 2] = ["spmd-1", "spmd-2"];

/// Steps at the least, of which the first does not count.
const LEAST_STEPS: usize = 4;

/// A machine as it was measured.
#[derive(Debug, Clone)]
pub struct Calibrated {
    /// Its rates.
    pub hardware: Hardware,
    /// The speed of each of two devices beside the other, over one's alone. More than 1 is noise, which the hardware's share leaves out.
    pub together: f64,
}

/// Measures this machine's CPU by a recipe's steps.
///
/// # Errors
/// Steps that can't be taken, or too few of them.
pub fn calibrate(bench: &MeshBench, name: &str) -> Result<Calibrated, Error> {
    if bench.steps() < LEAST_STEPS {
        let what = format!(
            "a step's time can't be told from {} of them; set train.steps = {LEAST_STEPS} or more",
            bench.steps()
        );
        return Err(Error::Setting(what));
    }
    let cpus = |count: usize| (0..count).map(|_| Device::cpu()).collect::<Vec<_>>();
    let layout = |name: &str| Layout::named(name, bench.experts().len());
    let [one, two] = CALIBRATED_ON.map(layout);
    let (one, two) = (one?, two?);
    let alone = bench.trace(&one, &cpus(1), &Options::default())?;
    let together = bench.trace(&two, &cpus(2), &Options::default())?;

    // Of one size alone launches could not be told from what grows with it.
    let (whole, halves) = (samples(bench, &one, &alone), samples(bench, &two, &together));
    let all: Vec<_> = whole.iter().chain(&halves).copied().collect();
    let [matmul, attention, bytes, launches] = rates(&all);
    let per = |seconds: f64, most: f64| if seconds > 0.0 { (1.0 / seconds).min(most) } else { most };
    let mut device = Rates {
        matmul_flop_per_second: per(matmul, 1e15),
        attention_flop_per_second: per(attention, 1e15),
        bytes_per_second: per(bytes, 1e13),
        launch_seconds: launches,
        memory_bytes: memory::available().unwrap_or(1 << 33) as f64,
        count: None,
    };
    // By how much each sort of them is slower than all are: from both to one alone.
    let slower = |samples: &[(Cost, f64)]| {
        samples.iter().map(|(_, took)| took).sum::<f64>()
            / samples.iter().map(|(cost, _)| seconds(cost, &device)).sum::<f64>()
    };
    let (alone_by, together_by) = (slower(&whole), slower(&halves));
    device.matmul_flop_per_second /= alone_by;
    device.attention_flop_per_second /= alone_by;
    device.bytes_per_second /= alone_by;
    device.launch_seconds *= alone_by;

    let [message_seconds, byte_seconds] = messages(&together);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    let together = alone_by / together_by;
    let hardware = Hardware {
        name: name.into(),
        device,
        experts: None,
        host: Some(Host {
            cores,
            together: together.min(1.0),
            message_bytes_per_second: per(byte_seconds, 1e10),
            message_seconds,
        }),
        within: None,
        experts_within: None,
        between: None,
    };
    Ok(Calibrated { hardware, together })
}

/// What devices computed, each with its cost and its least seconds.
fn samples(bench: &MeshBench, layout: &Layout, steps: &[Traced]) -> Vec<(Cost, f64)> {
    let schedule = &steps[0].schedule;
    let costs = costs(bench.problem(), layout, schedule, Attention::Fused);
    let computes = |entry: &usize| matches!(schedule.entries[*entry].action, Action::Compute(_));
    let found = (0..schedule.devices).flat_map(|device| fastest(steps, device));
    found.filter(|(entry, _)| computes(entry)).map(|(entry, seconds)| (costs[entry], seconds)).collect()
}

/// A device's entries, each with its least seconds in all steps but the first.
fn fastest(steps: &[Traced], device: usize) -> Vec<(usize, f64)> {
    let later = &steps[1.min(steps.len() - 1)..];
    let least = |i: usize| {
        later.iter().map(|step| step.spans[device][i][1] - step.spans[device][i][0]).fold(f64::INFINITY, f64::min)
    };
    steps[0].schedule.of(device).enumerate().map(|(i, (entry, _))| (entry, least(i))).collect()
}

/// Seconds of a unit of each of the four costs.
fn rates(samples: &[(Cost, f64)]) -> [f64; 4] {
    let row = |(cost, seconds): &(Cost, f64)| {
        ([cost.matmul, cost.attention, cost.bytes + cost.fusable, cost.launches], *seconds)
    };
    least_squares(samples.iter().map(row))
}

/// The x, none of them below zero, for which row times x meets the seconds of all rows best.
fn least_squares<const N: usize>(rows: impl Iterator<Item = ([f64; N], f64)>) -> [f64; N] {
    let (mut gram, mut right) = ([[0.0; N]; N], [0.0; N]);
    for (row, seconds) in rows {
        for i in 0..N {
            right[i] += row[i] * seconds;
            for j in 0..N {
                gram[i][j] += row[i] * row[j];
            }
        }
    }
    // Coordinate descent on a convex function of a few numbers.
    let mut x = [0.0_f64; N];
    for _ in 0..20_000 {
        for i in 0..N {
            let others: f64 = (0..N).filter(|&j| j != i).map(|j| gram[i][j] * x[j]).sum();
            if gram[i][i] > 0.0 {
                x[i] = ((right[i] - others) / gram[i][i]).max(0.0);
            }
        }
    }
    x
}

/// Seconds of a message and of a byte, from collectives: what they take from the last device's coming on.
fn messages(steps: &[Traced]) -> [f64; 2] {
    let later = &steps[1.min(steps.len() - 1)..];
    let of = |device: usize| {
        let entries = steps[0].schedule.of(device).enumerate();
        entries.filter_map(|(i, (_, entry))| match &entry.action {
            Action::Collective { kind, group, elements } if group.len() == 2 => {
                Some((i, kind.messages(2) as f64, kind.bytes_sent(2, *elements) as f64))
            }
            _ => None,
        })
    };
    let points = of(0).zip(of(1)).map(|((i, messages, bytes), (j, ..))| {
        let took = |step: &Traced| {
            let (a, b) = (step.spans[0][i], step.spans[1][j]);
            a[1].max(b[1]) - a[0].max(b[0])
        };
        ([messages, bytes], later.iter().map(took).fold(f64::INFINITY, f64::min))
    });
    least_squares(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_bytes_are_told_apart() {
        let points = [(1.0, 16.0), (2.0, 4e3), (1.0, 2.6e5), (2.0, 5.2e5)];
        let row = |(messages, bytes): (f64, f64)| ([messages, bytes], 2e-5 * messages + bytes / 3e9);
        let [message, byte] = least_squares(points.into_iter().map(row));
        assert!((message / 2e-5 - 1.0).abs() < 1e-6 && (byte * 3e9 - 1.0).abs() < 1e-6, "{message} {byte}");
        let [none, _] = least_squares([([1.0, 1e6], 1e-3), ([1.0, 2e6], 3e-3)].into_iter());
        assert_eq!(none, 0.0);
    }

    #[test]
    fn rates_are_found_again() {
        let cost = |i: f64| Cost {
            matmul: 1e9 * i,
            attention: 1e8 * (i % 3.0),
            bytes: 1e6 * i * i,
            fusable: 0.0,
            launches: 5.0 + 40.0 * (i % 2.0),
        };
        let seconds = |c: &Cost| c.matmul / 5e10 + c.attention / 1e10 + c.bytes / 8e9 + c.launches * 2e-6;
        let samples: Vec<_> = (0..7).map(|i| cost(f64::from(i))).map(|cost| (cost, seconds(&cost))).collect();
        let found = rates(&samples);
        for (found, wanted) in found.into_iter().zip([1.0 / 5e10, 1.0 / 1e10, 1.0 / 8e9, 2e-6]) {
            assert!((found / wanted - 1.0).abs() < 0.05, "{found} {wanted}");
        }
    }
}
