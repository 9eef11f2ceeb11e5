//! Question 4, which the paper leaves open: when does the gate become the bottleneck?
//!
//! A merge of K = N + 1 branches moves (K + 2) units forward and (2 K + 3) backward, a unit being the T d numbers of a branch, for T tokens of
//! width d. An expert's layer of P weights takes T (6 P + 14 S d) operations for the same tokens in windows of S. Both grow with N in
//! proportion, so the merges' share of a step goes to a limit:
//!
//! ```text
//! share(N) = (a + e N) / (a + e N + b + c N),   limit e / (e + c)
//! ```
//!
//! with the merges' seconds a + e N and those of all else b + c N. The four are fitted to the launches of steps with 8 to 64 experts of one
//! layer a block, for the branches of fewer lie in caches, and the formula goes on from there. Accuracy against N is question 1's.

use crate::experiments::Experiment;
use crate::experiments::page::axis::Scale;
use crate::experiments::page::plot::{Figure, Series};
use crate::experiments::page::section::{Section, Table};
use crate::experiments::results::finding::Findings;
use crate::experiments::results::statistics::{Interval, mean};
use crate::experiments::results::timed::{Case, Timed};

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "q4",
    title: "Question 4: what more experts cost in time, and the gate merges' part in it",
    is_open: true,
    pilot: [""; 2],
    cells: |_| Ok(()),
    timed: || TIMED.map(Case::Experts).to_vec(),
    report,
};

/// Experts that are timed; the kernels merge 65 branches at the most.
const TIMED: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// The fewest that the formula is fitted to.
const FITTED: f64 = 8.0;

/// Experts that are computed by formula alone.
const BEYOND: [usize; 4] = [128, 256, 512, 1_024];

/// What the formula takes from the steps that were timed.
struct Rates {
    /// Seconds of the merges: of none, and of each expert more.
    merges: [f64; 2],
    /// Seconds of all else: of the backbone, and of each expert.
    rest: [f64; 2],
}

impl Rates {
    fn of(points: &[(f64, &Timed)]) -> Self {
        let fitted = || points.iter().filter(|(n, _)| *n >= FITTED);
        let merges = fitted().map(|(n, timed)| (*n, timed.merges[0])).collect::<Vec<_>>();
        let rest = fitted().map(|(n, timed)| (*n, timed.merges[1] - timed.merges[0])).collect::<Vec<_>>();
        Self { merges: line(&merges), rest: line(&rest) }
    }

    fn seconds(&self, n: f64) -> f64 {
        self.merges[0] + self.rest[0] + n * (self.merges[1] + self.rest[1])
    }

    fn share(&self, n: f64) -> f64 {
        (self.merges[0] + n * self.merges[1]) / self.seconds(n)
    }

    /// Of infinitely many experts.
    fn limit(&self) -> f64 {
        self.merges[1] / (self.merges[1] + self.rest[1])
    }
}

/// Intercept and slope of the line with the least sum of squares of relative errors, for points lie powers of two apart.
fn line(points: &[(f64, f64)]) -> [f64; 2] {
    let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|&(x, y)| of(x, y) / (y * y)).sum::<f64>();
    let [w, x, y, xx, xy] = [sum(&|_, _| 1.0), sum(&|x, _| x), sum(&|_, y| y), sum(&|x, _| x * x), sum(&|x, y| x * y)];
    let slope = (w * xy - x * y) / (w * xx - x * x);
    [(y - slope * x) / w, slope]
}

fn report(found: &Findings) -> Section {
    let points: Vec<(f64, &Timed)> =
        TIMED.iter().filter_map(|&n| Some((n as f64, found.timed(&EXPERIMENT, Case::Experts(n))?))).collect();
    let mut section = Section::of(&EXPERIMENT);
    let Some((_, first)) = points.first() else { return section };
    if points.iter().filter(|(n, _)| *n >= FITTED).count() < 2 {
        section.lead = vec![format!(
            "There is no room here for the models of {FITTED} experts and more that the formula is fitted to."
        )];
        return section;
    }
    let rates = Rates::of(&points);
    let step = |timed: &Timed| Interval::of_mean(&timed.seconds);
    let one = mean(&first.seconds);
    let by_formula = |n: f64, value: f64| if n < FITTED { "–".into() } else { format!("{value:.1}") };
    let measured = points.iter().map(|(n, timed)| {
        let step = step(timed);
        vec![
            n.to_string(),
            timed.params_total.to_string(),
            format!("{:.1} ± {:.1}", 1e3 * step.mean, 1e3 * step.half),
            by_formula(*n, 1e3 * rates.seconds(*n)),
            format!("{:.2}", 1e3 * timed.merges[0]),
            format!("{:.1}", timed.cost[0] / timed.merges[0] / 1e9),
            format!("{:.2}", 100.0 * timed.merges[0] / timed.merges[1]),
            by_formula(*n, 100.0 * rates.share(*n)),
        ]
    });
    let beyond = BEYOND.map(|n| {
        let n = n as f64;
        let by_formula = [rates.seconds(n), rates.merges[0] + n * rates.merges[1]].map(|seconds| 1e3 * seconds);
        let [seconds, merges] = by_formula.map(|ms| format!("{ms:.1}"));
        vec![
            n.to_string(),
            "–".into(),
            "–".into(),
            seconds,
            merges,
            "–".into(),
            "–".into(),
            format!("{:.1}", 100.0 * rates.share(n)),
        ]
    });
    let all: Vec<f64> = TIMED.iter().chain(&BEYOND).map(|&n| n as f64).collect();
    let figure = |name, caption: &str, (y, up), measured: Vec<(f64, Interval)>, formula: &dyn Fn(f64) -> f64| Figure {
        name,
        caption: caption.into(),
        x: "experts of one layer a block",
        y,
        scales: [Scale::Ratios, up],
        ours: vec![
            Series { name: "measured".into(), points: measured },
            Series {
                name: "formula".into(),
                points: exact(all.iter().filter(|n| **n >= FITTED).map(|&n| (n, formula(n)))),
            },
        ],
        paper: Vec::new(),
    };
    let shares = points.iter().map(|(n, timed)| (*n, timed.merges[0] / timed.merges[1]));
    let relative = |timed: &Timed| {
        let step = step(timed);
        Interval { mean: step.mean / one, half: step.half / one }
    };
    section.lead = vec![
        format!(
            "A step of stage 2 with N experts of one layer beside each block, on {}; milliseconds, the merges' the median of steps in which every \
             launch was timed. GB/s: the least bytes that the merges move, by their time. The formula is fitted to {FITTED} experts and more; beyond 64 it stands \
             alone, for the kernels merge 65 branches at the most.",
            first.machine
        ),
        format!(
            "By time the gate merges {} here: their share goes to {:.1} % as N grows, for an expert of one layer a block takes {:.2} ms more and \
             its branches in the merges {:.3} ms.",
            if rates.limit() < 0.5 { "never become the bottleneck" } else { "become the bottleneck" },
            100.0 * rates.limit(),
            1e3 * rates.rest[1],
            1e3 * rates.merges[1]
        ),
    ];
    section.tables = vec![Table {
        caption: "Cost against the number of experts".into(),
        head: [
            "Experts",
            "Parameters",
            "Step, ms",
            "By formula",
            "Merges, ms",
            "GB/s",
            "Their share, %",
            "By formula, %",
        ]
        .map(String::from)
        .to_vec(),
        rows: measured.chain(beyond).collect(),
    }];
    section.figures = vec![
        figure("q4-share", "The gate merges' share of a step.", ("% of a step", Scale::Linear), exact(shares), &|n| {
            rates.share(n)
        }),
        figure(
            "q4-step",
            "A step, of one with a single expert.",
            ("% of a step with one expert", Scale::Decades),
            points.iter().map(|(n, timed)| (*n, relative(timed))).collect(),
            &|n| rates.seconds(n) / one,
        ),
    ];
    section
}

fn exact(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, Interval)> {
    points.map(|(n, share)| (n, Interval { mean: share, half: 0.0 })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    #[test]
    fn a_line_is_found_and_its_share_has_a_limit() {
        let points: Vec<(f64, f64)> = TIMED.iter().map(|&n| (n as f64, 3.0 + 0.5 * n as f64)).collect();
        let [intercept, slope] = line(&points);
        assert_relative_eq!(intercept, 3.0, epsilon = 1e-9);
        assert_relative_eq!(slope, 0.5, epsilon = 1e-9);
        let rates = Rates { merges: [0.1, 0.02], rest: [3.0, 0.5] };
        assert_relative_eq!(rates.share(1e9), rates.limit(), epsilon = 1e-6);
        assert!(rates.share(1.0) < rates.limit());
    }
}
