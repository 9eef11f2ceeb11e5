//! Figure 4 of the paper (arXiv 2410.10181) from this project's own planner and simulator.
//!
//! The figure has milliseconds a step on 8 TPUv5e and no formula. What the paper does not state (widths, tokens, dtype, what is
//! recomputed) is assumed here and said in the output. Fitted are two numbers: what share of a chip's peak is reached, and the
//! bandwidth of collectives. The authors' schedule is a variant of ours: it computes gradients of
//! frozen weights too, and recomputes under MPMD; ours, which leaves out what freezing allows, is predicted beside it with the same
//! numbers.

mod plot;
mod table;

pub use plot::plot;
pub use table::table;

use super::config;
use crate::Error;
use crate::mesh::plan::{Layout, Problem, Recompute, fullest};
use crate::mesh::simulate::{Assumed, Attention, Hardware, LinkRate, Priced, Rates};
use crate::model::Config;
use serde::Serialize;

/// TPUv5e by its public data sheet: bf16 FLOP a second, bytes a second of its memory, bytes of it, and bytes a second of one of its
/// four links in one direction.
const PEAK: f64 = 197e12;
const MEMORY_RATE: f64 = 819e9;
const MEMORY: f64 = 16e9;
const LINK: f64 = 50e9;

/// Bytes of a number of the frozen backbone in a chip's memory, assumed: bf16. All else is f32 there, as in this project.
pub(super) const FROZEN_BYTES: f64 = 2.0;

/// Tokens of a window, assumed.
const LENGTH: usize = 2_048;
/// Tokens a step in panels b and c, assumed; in a half of them.
const TOKENS: usize = 16_384;

/// How a point of the figure was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Program {
    /// One program on all chips.
    #[serde(rename = "SPMD")]
    Spmd,
    /// A program a mesh.
    #[serde(rename = "MPMD")]
    Mpmd,
    /// One program, sharded by the compiler.
    #[serde(rename = "SPMD-pjit")]
    Pjit,
}

/// A point of the figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// a, b or c.
    pub panel: char,
    /// What the panel's axis says: meshes, added layers, merges.
    pub x: usize,
    /// How it was run.
    pub program: Program,
    /// As the planner knows it.
    pub layout: &'static str,
    /// Experts.
    pub experts: usize,
    /// Layers of each expert in a block.
    pub layers: usize,
    /// Blocks.
    pub blocks: usize,
    /// Milliseconds a step, as the figure has it.
    pub paper: f64,
}

/// The figure's points.
pub fn points() -> Vec<Point> {
    use Program::{Mpmd, Pjit, Spmd};
    let mut all = Vec::new();
    for (x, program, layout, paper) in
        [(1, Spmd, "spmd-8", 329.0), (3, Mpmd, "4+2+2", 204.0), (5, Mpmd, "4+1+1+1+1", 202.0)]
    {
        all.push(Point { panel: 'a', x, program, layout, experts: 4, layers: 3, blocks: 2, paper });
    }
    for (program, layout, times) in [
        (Spmd, "spmd-8", [441.0, 494.0, 548.0, 603.0]),
        (Mpmd, "6+1+1", [474.0, 470.0, 538.0, 716.0]),
        (Pjit, "spmd-8", [515.0, 582.0, 650.0, 718.5]),
    ] {
        for (x, paper) in [8, 12, 16, 20].into_iter().zip(times) {
            all.push(Point { panel: 'b', x, program, layout, experts: 2, layers: x / 4, blocks: 2, paper });
        }
    }
    for (program, layout, times) in [
        (Spmd, "spmd-8", [658.0, 662.0, 605.0]),
        (Mpmd, "4+1+1+1+1", [512.0, 573.0, 625.0]),
        (Pjit, "spmd-8", [790.0, 793.0, 730.0]),
    ] {
        for (x, paper) in [2, 3, 6].into_iter().zip(times) {
            all.push(Point { panel: 'c', x, program, layout, experts: 4, layers: 6 / x, blocks: x, paper });
        }
    }
    all
}

/// Whose schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Gradients of frozen weights are computed, and under MPMD (but for panel a) activations are computed again.
    Authors,
    /// What freezing allows is left out, and nothing is computed again.
    Ours,
}

impl Point {
    fn problem(&self, variant: Variant) -> Problem {
        let authors = variant == Variant::Authors;
        let again = authors && self.program == Program::Mpmd && self.panel != 'a';
        let tokens = if self.panel == 'a' { TOKENS / 2 } else { TOKENS };
        let recompute = if again { Recompute::Branches } else { Recompute::Nothing };
        let problem = paper_problem(self.experts, self.layers, self.blocks, tokens / LENGTH, recompute);
        Problem { computes_frozen: authors, merges_whole: authors, ..problem }
    }
}

/// The paper's model with experts of `layers` layers a block, on windows of the assumed length, by this project's own schedule.
pub(super) fn paper_problem(
    experts: usize,
    layers: usize,
    blocks: usize,
    windows: usize,
    recompute: Recompute,
) -> Problem {
    Problem {
        config: Config { positions: LENGTH, ..config() },
        blocks,
        expert_layers: vec![layers; experts],
        windows,
        length: LENGTH,
        microbatches: 1,
        train_experts: true,
        recompute,
        computes_frozen: false,
        merges_whole: false,
    }
}

/// What is assumed of a compiled program on these chips.
pub(super) fn assumed() -> Assumed {
    Assumed { element_bytes: 2.0, fuses: true, optimizer: false, attention: Attention::Products }
}

/// What is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fitted {
    /// The share of its peak that a chip reaches.
    pub efficiency: f64,
    /// Bytes a second that a chip sends in a collective.
    pub bandwidth: f64,
}

impl Fitted {
    /// Chips of these numbers.
    pub(super) fn hardware(&self) -> Hardware {
        let rate = PEAK * self.efficiency;
        Hardware {
            name: "TPUv5e".into(),
            device: Rates {
                matmul_flop_per_second: rate,
                attention_flop_per_second: rate,
                bytes_per_second: MEMORY_RATE,
                launch_seconds: 0.0,
                memory_bytes: MEMORY,
                count: Some(8),
            },
            experts: None,
            host: None,
            within: Some(LinkRate { bytes_per_second: self.bandwidth, seconds: 0.0 }),
            experts_within: None,
            between: Some(LinkRate { bytes_per_second: LINK, seconds: 0.0 }),
        }
    }
}

/// A point with what the model says of it.
#[derive(Debug, Clone, Serialize)]
pub struct Predicted {
    /// The point.
    #[serde(flatten)]
    pub point: Point,
    /// Milliseconds with the authors' schedule.
    pub authors: f64,
    /// Milliseconds with ours.
    pub ours: f64,
    /// What the fullest chip would need with the authors' schedule.
    pub authors_memory: Need,
    /// The same with ours.
    pub ours_memory: Need,
}

/// Memory, by this project's own count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Need {
    /// Bytes.
    pub bytes: f64,
    /// Whether a chip holds them.
    pub fits: bool,
}

/// The figure, predicted.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// To the 17 points of SPMD and MPMD together.
    pub fitted: Fitted,
    /// The bandwidth with which SPMD-pjit's points are met, by the same efficiency.
    pub pjit_bandwidth: f64,
    /// All points.
    pub points: Vec<Predicted>,
    /// Root mean square of the relative errors of the authors' schedule, of SPMD and MPMD.
    pub rms: f64,
    /// The same of SPMD-pjit.
    pub pjit_rms: f64,
    /// The error of each panel, predicted from a fit to the others.
    pub left_out: Vec<(char, f64)>,
    /// Of how many comparisons of MPMD with SPMD the sign is right, of how many.
    pub signs: [usize; 2],
}

/// The model's milliseconds of many points.
struct Simulated<'a> {
    points: Vec<&'a Point>,
    cases: Vec<(Problem, Layout)>,
}

impl<'a> Simulated<'a> {
    fn new(points: impl Iterator<Item = &'a Point>, variant: Variant) -> Result<Self, Error> {
        let points: Vec<&Point> = points.collect();
        let case =
            |point: &&Point| Ok::<_, Error>((point.problem(variant), Layout::named(point.layout, point.experts)?));
        Ok(Self { cases: points.iter().map(case).collect::<Result<_, _>>()?, points })
    }

    fn priced(&self) -> Vec<Priced<'_>> {
        self.cases.iter().map(|(problem, layout)| Priced::new(problem, layout, assumed())).collect()
    }
}

/// Milliseconds of each.
fn times(priced: &[Priced], fitted: &Fitted) -> Vec<f64> {
    let hardware = fitted.hardware();
    priced.iter().map(|priced| 1e3 * priced.simulate(&hardware).seconds).collect()
}

fn rms(points: &[&Point], times: &[f64]) -> f64 {
    let squares = points.iter().zip(times).map(|(point, time)| (time / point.paper - 1.0).powi(2));
    (squares.sum::<f64>() / points.len() as f64).sqrt()
}

/// The least `error` by a compass search (Kolda et al., SIAM Review 45, 2003) over logarithms, from `start`, of the numbers that are free.
fn fit(start: Fitted, free: [bool; 2], error: impl Fn(&Fitted) -> f64) -> Fitted {
    let at = |x: [f64; 2]| Fitted { efficiency: x[0].exp().min(1.0), bandwidth: x[1].exp() };
    let mut x = [start.efficiency.ln(), start.bandwidth.ln()];
    let (mut least, mut step) = (error(&at(x)), 0.3);
    while step > 1e-4 {
        let mut better = false;
        for (i, sign) in [(0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0)].into_iter().filter(|(i, _)| free[*i]) {
            let mut next = x;
            next[i] += sign * step;
            let found = error(&at(next));
            if found < least {
                (x, least, better) = (next, found, true);
            }
        }
        if !better {
            step /= 2.0;
        }
    }
    at(x)
}

/// Fits and predicts the figure.
///
/// # Errors
/// None; layouts of the figure are layouts.
pub fn figure() -> Result<Figure, Error> {
    const START: Fitted = Fitted { efficiency: 0.7, bandwidth: 5e10 };
    let all = points();
    let fitted_to = |kept: &dyn Fn(&Point) -> bool, start: Fitted, free: [bool; 2]| {
        let simulated = Simulated::new(all.iter().filter(|point| kept(point)), Variant::Authors)?;
        let priced = simulated.priced();
        Ok::<_, Error>(fit(start, free, |fitted| rms(&simulated.points, &times(&priced, fitted))))
    };
    let error_of = |kept: &dyn Fn(&Point) -> bool, fitted: &Fitted| {
        let simulated = Simulated::new(all.iter().filter(|point| kept(point)), Variant::Authors)?;
        Ok::<_, Error>(rms(&simulated.points, &times(&simulated.priced(), fitted)))
    };
    let by_hand = |point: &Point| point.program != Program::Pjit;
    let fitted = fitted_to(&by_hand, START, [true, true])?;
    let pjit = fitted_to(&|point| !by_hand(point), fitted, [false, true])?;
    let mut left_out = Vec::new();
    for panel in ['a', 'b', 'c'] {
        let others = fitted_to(&|point| by_hand(point) && point.panel != panel, START, [true, true])?;
        left_out.push((panel, error_of(&|point| by_hand(point) && point.panel == panel, &others)?));
    }
    let mut predicted = Vec::new();
    for point in &all {
        let with = if point.program == Program::Pjit { &pjit } else { &fitted };
        let predict = |variant| {
            let simulated = Simulated::new(std::iter::once(point), variant)?;
            let (problem, layout) = &simulated.cases[0];
            let bytes = fullest(problem, layout, FROZEN_BYTES);
            Ok::<_, Error>((times(&simulated.priced(), with)[0], Need { bytes, fits: bytes <= MEMORY }))
        };
        let (authors, authors_memory) = predict(Variant::Authors)?;
        let (ours, ours_memory) = predict(Variant::Ours)?;
        predicted.push(Predicted { point: point.clone(), authors, ours, authors_memory, ours_memory });
    }
    let spmd = |of: &Predicted| {
        predicted.iter().find(|other| {
            let at = if of.point.panel == 'a' { 1 } else { of.point.x };
            (other.point.panel, other.point.x, other.point.program) == (of.point.panel, at, Program::Spmd)
        })
    };
    let pairs: Vec<bool> = predicted
        .iter()
        .filter(|of| of.point.program == Program::Mpmd)
        .filter_map(|of| spmd(of).map(|spmd| (of.point.paper - spmd.point.paper) * (of.authors - spmd.authors) > 0.0))
        .collect();
    Ok(Figure {
        rms: error_of(&by_hand, &fitted)?,
        pjit_rms: error_of(&|point| !by_hand(point), &pjit)?,
        fitted,
        pjit_bandwidth: pjit.bandwidth,
        points: predicted,
        left_out,
        signs: [pairs.iter().filter(|right| **right).count(), pairs.len()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_met() {
        let figure = figure().expect("layouts");
        let apart = |found: f64, rounded: f64| (found / rounded - 1.0).abs();
        let known = super::super::scale::FITTED;
        assert!(apart(figure.fitted.efficiency, known.efficiency) < 0.01, "{:?}", figure.fitted);
        assert!(apart(figure.fitted.bandwidth, known.bandwidth) < 0.01, "{:?}", figure.fitted);
        assert!(figure.rms <= 0.05 && figure.pjit_rms <= 0.05, "{} {}", figure.rms, figure.pjit_rms);
        assert!(figure.signs[0] >= 7 && figure.signs[1] == 9, "{:?}", figure.signs);
        assert!(figure.left_out.iter().all(|(_, error)| *error < 0.08), "{:?}", figure.left_out);
        // What freezing allows can only help, and a chip is no faster than its data sheet.
        assert!(figure.points.iter().all(|point| point.ours < point.authors) && figure.fitted.efficiency < 1.0);
        let svg = plot(&figure).expect("a drawing");
        assert_eq!(svg.matches("<circle").count(), figure.points.len());
        // What a chip could not hold is marked wherever the figure is shown.
        let over = figure.points.iter().filter(|of| !of.authors_memory.fits).count();
        assert!((1..figure.points.len()).contains(&over), "{over}");
        let hollow = svg.lines().filter(|line| line.starts_with("<circle") && line.contains("fill=\"none\""));
        assert_eq!(hollow.count(), over);
        let table = table(&figure);
        assert!(table.contains("chosen with the figure's numbers seen"));
        assert_eq!(table.lines().filter(|line| line.starts_with('4') && line.ends_with('!')).count(), over);
    }
}
