//! The rates of this machine, from steps that were taken on it: computing from one device, messages and what two devices cost each other
//! from two.
//!
//! An entry's seconds are its cost in FLOP of products, FLOP of attention, bytes and launches, each over its rate: of all entries of
//! one device's steps, each at its fastest, those four rates are found that meet them best (least squares, none below zero). Then
//! two devices take the same steps together: by how much their entries are slower, and how long a collective takes from its last
//! device's coming on, tells the rest.

use super::cost::{Attention, Cost, costs};
use super::hardware::{Hardware, Host, Rates};
use super::layout::Layout;
use super::measure::{Bench, Traced};
use super::schedule::Action;
use super::simulate::seconds;
use super::team::Options;
use crate::Error;
use crate::memory;
use mode_tensor::Device;

/// The layouts that it is done on.
pub const CALIBRATED_ON: [&str; 2] = ["spmd-1", "spmd-2x1"];

/// Measures this machine's CPU by a recipe's steps.
///
/// # Errors
/// Steps that can't be taken, or fewer than two of them.
pub fn calibrate(bench: &Bench, name: &str) -> Result<Hardware, Error> {
    let cpus = |count: usize| (0..count).map(|_| Device::cpu()).collect::<Vec<_>>();
    let layout = |name: &str| Layout::named(name, bench.experts().len()).map_err(Error::Setting);
    let [one, two] = CALIBRATED_ON.map(layout);
    let (one, two) = (one?, two?);
    let alone = bench.trace(&one, &cpus(1), &Options::default())?;
    let costs_of =
        |layout: &Layout, traced: &Traced| costs(bench.problem(), layout, &traced.schedule, Attention::Fused);

    let prices = costs_of(&one, &alone[0]);
    let samples: Vec<(Cost, f64)> = fastest(&alone, 0)
        .into_iter()
        .filter(|(entry, _)| matches!(alone[0].schedule.entries[*entry].action, Action::Compute(_)))
        .map(|(entry, seconds)| (prices[entry], seconds))
        .collect();
    let [matmul, attention, bytes, launches] = rates(&samples);
    let per = |seconds: f64, most: f64| if seconds > 0.0 { (1.0 / seconds).min(most) } else { most };
    let device = Rates {
        matmul_flop_per_second: per(matmul, 1e15),
        attention_flop_per_second: per(attention, 1e15),
        bytes_per_second: per(bytes, 1e13),
        launch_seconds: launches,
        memory_bytes: memory::available().unwrap_or(1 << 33) as f64,
        count: None,
    };

    let together = bench.trace(&two, &cpus(2), &Options::default())?;
    let prices = costs_of(&two, &together[0]);
    let (mut took, mut priced) = (0.0, 0.0);
    for number in 0..2 {
        for (entry, least) in fastest(&together, number) {
            if matches!(together[0].schedule.entries[entry].action, Action::Compute(_)) {
                took += least;
                priced += seconds(&prices[entry], &device);
            }
        }
    }
    let (message_seconds, message_rate) = messages(&together);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    Ok(Hardware {
        name: name.into(),
        device,
        experts: None,
        host: Some(Host {
            cores,
            together: (priced / took).min(1.0),
            message_bytes_per_second: message_rate,
            message_seconds,
        }),
        within: None,
        between: None,
    })
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
    let rows = samples
        .iter()
        .map(|(cost, seconds)| ([cost.matmul, cost.attention, cost.bytes + cost.fusable, cost.launches], *seconds));
    let (mut gram, mut right) = ([[0.0; 4]; 4], [0.0; 4]);
    for (row, seconds) in rows {
        for i in 0..4 {
            right[i] += row[i] * seconds;
            for j in 0..4 {
                gram[i][j] += row[i] * row[j];
            }
        }
    }
    // Coordinate descent on a convex function of four numbers, none below zero.
    let mut x = [0.0_f64; 4];
    for _ in 0..20_000 {
        for i in 0..4 {
            let others: f64 = (0..4).filter(|&j| j != i).map(|j| gram[i][j] * x[j]).sum();
            if gram[i][i] > 0.0 {
                x[i] = ((right[i] - others) / gram[i][i]).max(0.0);
            }
        }
    }
    x
}

/// Seconds of a message and bytes a second, from collectives: what they take from the last device's coming on.
fn messages(steps: &[Traced]) -> (f64, f64) {
    let later = &steps[1.min(steps.len() - 1)..];
    let of = |device: usize| {
        let entries = steps[0].schedule.of(device).enumerate();
        entries.filter_map(|(i, (_, entry))| match &entry.action {
            Action::Collective { kind, group, elements } if group.len() == 2 => {
                Some((i, kind.bytes_sent(2, *elements) as f64))
            }
            _ => None,
        })
    };
    let mut points: Vec<(f64, f64)> = Vec::new();
    for ((i, bytes), (j, _)) in of(0).zip(of(1)) {
        let took = |step: &Traced| {
            let (a, b) = (step.spans[0][i], step.spans[1][j]);
            a[1].max(b[1]) - a[0].max(b[0])
        };
        points.push((bytes, later.iter().map(took).fold(f64::INFINITY, f64::min)));
    }
    // A line through the small ones and the large ones.
    let most = points.iter().map(|(bytes, _)| *bytes).fold(0.0, f64::max);
    let mean = |large: bool| {
        let of: Vec<_> = points.iter().filter(|(bytes, _)| (*bytes > most / 2.0) == large).collect();
        let sum =
            |pick: fn(&(f64, f64)) -> f64| of.iter().map(|point| pick(point)).sum::<f64>() / of.len().max(1) as f64;
        (sum(|point| point.0), sum(|point| point.1))
    };
    let ((few, short), (many, long)) = (mean(false), mean(true));
    let rate = if many > few && long > short { (many - few) / (long - short) } else { 1e10 };
    (short, rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_found_again() {
        let cost = |i: f64| Cost {
            matmul: 1e9 * i,
            attention: 1e8 * (7.0 - i),
            bytes: 1e6 * i * i,
            fusable: 0.0,
            launches: 5.0,
        };
        let seconds = |c: &Cost| c.matmul / 5e10 + c.attention / 1e10 + c.bytes / 8e9 + c.launches * 2e-6;
        let samples: Vec<_> = (0..7).map(|i| cost(f64::from(i))).map(|cost| (cost, seconds(&cost))).collect();
        let found = rates(&samples);
        for (found, wanted) in found.into_iter().zip([1.0 / 5e10, 1.0 / 1e10, 1.0 / 8e9, 2e-6]) {
            assert!((found / wanted - 1.0).abs() < 0.05, "{found} {wanted}");
        }
    }
}
