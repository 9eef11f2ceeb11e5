//! What the paper says, what was measured, and whether the two agree.

use super::numbers::{nats, percent};
use super::statistics::{Interval, chance, detectable, deviation, mean, seeds_for};
use super::{Line, Results, Score};
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::plan::rates::is_last;
use crate::experiments::plan::settings::Settings;
use crate::experiments::plan::{Cell, Plan, Purpose};
use crate::experiments::results::timed::{self, Case, Timed};
use crate::report::{DomainGates, GateTable};
use std::collections::BTreeSet;

/// Seeds that a power figure looks up to.
const MOST_SEEDS: usize = 1_000;

/// What came of one of the paper's findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The interval lies on the paper's side of zero.
    Reproduced,
    /// The interval lies on the other side.
    Contradicted,
    /// The interval holds zero: as far as this design can tell there may be no difference, or one as great as the interval reaches.
    Undecided,
}

impl Verdict {
    /// As tables say it, of what the paper finds or of what it does not say.
    pub fn words(self, is_ours: bool) -> &'static str {
        match (self, is_ours) {
            (Self::Reproduced, false) => "reproduced",
            (Self::Contradicted, false) => "not reproduced: the opposite",
            (Self::Reproduced, true) => "yes",
            (Self::Contradicted, true) => "no: the opposite",
            (Self::Undecided, _) => "below what we can detect",
        }
    }
}

/// One of the paper's findings, as a difference that it holds to be positive.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What the paper finds, in words.
    pub claim: String,
    /// The paper's difference, in percentage points, if it gives one.
    pub paper: Option<f64>,
    /// What is compared: a less b.
    pub compared: String,
    /// Our difference, as a fraction.
    pub measured: Interval,
    /// The same of the loss in nats, a less b, over seeds alone; below zero where a is better. None if there is none.
    pub loss: Option<Interval>,
    /// Standard deviation of single seeds' differences.
    pub deviation: f64,
    /// Seeds.
    pub seeds: usize,
}

impl Finding {
    /// A claim that the paper does not make in numbers.
    pub fn new(claim: &str, compared: String, difference: Difference) -> Self {
        let Difference { measured, loss, seeds } = difference;
        let (deviation, seeds) = (deviation(&seeds), seeds.len());
        Self { claim: claim.into(), paper: None, compared, measured, loss, deviation, seeds }
    }

    /// Whether we found the same.
    pub fn verdict(&self) -> Verdict {
        match (self.measured.excludes_zero(), self.measured.mean > 0.0) {
            (false, _) => Verdict::Undecided,
            (true, true) => Verdict::Reproduced,
            (true, false) => Verdict::Contradicted,
        }
    }

    /// The smallest difference that this many seeds show, as a fraction.
    pub fn detectable(&self) -> f64 {
        detectable(self.measured.half, self.seeds)
    }

    /// True of the same figures, as where a row at its own rate is one at a rate for all.
    pub fn is_same(&self, other: &Self) -> bool {
        let bits = |of: &Self| [of.measured.mean, of.measured.half].map(f64::to_bits);
        bits(self) == bits(other) && self.paper == other.paper
    }

    /// How likely so great a difference is where there is none.
    pub fn chance(&self) -> f64 {
        chance(self.measured, self.seeds)
    }

    /// How many seeds would show the difference that was found, if any number that one would run does.
    pub fn seeds_wanted(&self) -> Option<usize> {
        seeds_for(self.measured.mean, self.measured.half, (self.deviation, self.seeds), MOST_SEEDS)
    }
}

/// A difference over seeds.
pub struct Difference {
    /// Of accuracy, over seeds and text, or of what else is compared.
    pub measured: Interval,
    /// Of the loss in nats, over seeds alone.
    pub loss: Option<Interval>,
    /// Of accuracy, by seed.
    pub seeds: Vec<f64>,
}

/// Cells with their figures.
pub struct Findings<'a> {
    plan: &'a Plan<'a>,
    timed: &'a [Timed],
    pub(crate) settings: &'a Settings,
    /// What could not be had, in words.
    pub(crate) left_out: &'a [String],
    lines: Vec<(&'a Cell, &'a Line)>,
}

impl<'a> Findings<'a> {
    /// Of all cells of a plan that were measured.
    pub(crate) fn of_plan(plan: &'a Plan, results: &'a Results) -> Self {
        let found = |cell: &'a Cell| Some((cell, results.of_cell(plan, cell)?));
        let lines = plan.cells.iter().filter_map(found).collect();
        Self { plan, timed: &results.timed, settings: &plan.setup.settings, left_out: &plan.left_out, lines }
    }
}

impl Findings<'_> {
    /// Steps of an experiment's case that were timed.
    pub fn timed(&self, experiment: &Experiment, case: Case) -> Option<&Timed> {
        timed::find(self.plan, experiment.name, case, self.timed)
    }

    /// The one of these methods that scored best on validation text, once all are tuned.
    pub fn best_of<'m>(&self, methods: &[&'m str]) -> Option<&'m str> {
        self.plan.best_of(methods).map(|(method, _)| method)
    }

    /// What a method was tuned to, of which no cell is reported.
    pub fn tuned_rate(&self, method: &str) -> f64 {
        self.plan.known_rate(method).unwrap_or(f64::NAN)
    }

    /// The name of the fourth domain.
    pub fn fourth(&self) -> &str {
        self.plan.setup.fourth_name()
    }

    /// Figures of a cell by seed.
    pub fn of(&self, cell: &str) -> Vec<&Line> {
        let mut lines: Vec<(&Cell, &Line)> = self
            .lines
            .iter()
            .filter(|(of, _)| of.name == cell && matches!(of.purpose, Purpose::Report | Purpose::Pilot))
            .map(|(of, line)| (*of, *line))
            .collect();
        lines.sort_by_key(|(of, _)| of.seed);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// Figures of a method by learning rate, as they were tuned: one seed, validation text.
    pub fn tuned(&self, method: &str) -> Vec<&Line> {
        let is_of = |cell: &Cell| matches!(&cell.purpose, Purpose::Tune { method: of, .. } if of == method);
        let mut lines: Vec<&Line> = self.lines.iter().filter(|(cell, _)| is_of(cell)).map(|(_, line)| *line).collect();
        lines.sort_by(|a, b| a.learning_rate.total_cmp(&b.learning_rate));
        lines
    }

    /// Figures of all cells that are reported.
    pub fn reported(&self) -> impl Iterator<Item = (&Cell, &Line)> {
        self.lines.iter().copied().filter(|(cell, _)| cell.purpose == Purpose::Report)
    }

    /// The names of a cell's domains.
    pub fn domains(&self, cell: &Cell) -> impl Iterator<Item = &str> {
        cell.domains.iter().map(|&domain| self.plan.setup.domain(domain).name.as_str())
    }

    /// How often a seed's accuracy lies within the interval that the others of its cell and domain give, and of how many that is.
    pub fn covered(&self) -> (usize, usize) {
        let names: BTreeSet<&str> = self.reported().map(|(cell, _)| cell.name.as_str()).collect();
        let (mut within, mut all) = (0, 0);
        for name in names {
            let lines = self.of(name);
            let domains: BTreeSet<&String> = lines.iter().flat_map(|line| line.scores.keys()).collect();
            for domain in domains {
                let seeds: Vec<f64> = lines.iter().map(|line| line.accuracy_on(&[domain])).collect();
                for (i, &left_out) in seeds.iter().enumerate() {
                    let others = [&seeds[..i], &seeds[i + 1..]].concat();
                    let interval = Interval::of_another(&others);
                    if interval.half.is_finite() {
                        all += 1;
                        within += usize::from((left_out - interval.mean).abs() <= interval.half);
                    }
                }
            }
        }
        (within, all)
    }

    /// The mean gate weights of those of these cells whose models have gates, over all seeds that left numbers.
    pub fn gates(&self, cells: &[&str]) -> Vec<GateTable> {
        let of_cell = |&cell: &&str| {
            let (of, _) = self.lines.iter().find(|(of, _)| of.name == cell)?;
            let branches = self.plan.branches(*of.runs.last()?);
            let domains = self.domains(of).filter_map(|domain| {
                let scores = self.of(cell).into_iter().filter_map(|line| line.scores.get(domain));
                let weights = mean_of(scores.map(|score| &score.gates).filter(|gates| !gates.is_empty()))?;
                Some(DomainGates { domain: domain.to_string(), weights })
            });
            Some(GateTable { name: cell.into(), branches, domains: domains.collect() })
        };
        cells.iter().filter_map(of_cell).filter(|table| !table.domains.is_empty()).collect()
    }

    /// What `mode inspect --gates` prints of a cell's first model, if [`Plan::inspect`] asked for it.
    pub fn printed(&self, cell: &str) -> Option<&str> {
        let (_, line) = self.lines.iter().find(|(of, _)| of.name == cell && of.purpose == Purpose::Inspect)?;
        line.printed.as_deref()
    }

    /// Mean accuracy on these domains in per cent, with where another seed would lie.
    pub fn percent(&self, cell: &str, domains: &[&str]) -> String {
        percent(Interval::of_another(&self.accuracies(cell, domains)))
    }

    /// The learning rates of a cell's runs, stage by stage where they differ, the last marked where none beyond it was tried.
    pub fn rate(&self, cell: &str) -> String {
        let of_cell = self.lines.iter().find(|(of, _)| of.name == cell && of.purpose == Purpose::Report);
        let Some((of, line)) = of_cell else { return "–".into() };
        let runs = of.runs.iter().map(|run| &self.plan.runs[run.0]).filter(|run| run.steps() > 0);
        let mut rates: Vec<f64> = runs.filter_map(|run| Some(run.recipe.as_ref()?.train.learning_rate)).collect();
        rates.dedup();
        let words = rates.iter().map(|rate| format!("{rate:.0e}")).collect::<Vec<_>>().join(", ");
        let is_tuned = !self.tuned(cell).is_empty();
        if is_tuned && is_last(line.learning_rate) { words + " (the last tried)" } else { words }
    }

    /// Mean accuracy on these domains by seed.
    pub fn accuracies(&self, cell: &str, domains: &[&str]) -> Vec<f64> {
        self.of(cell).into_iter().map(|line| line.accuracy_on(domains)).collect()
    }

    /// Accuracy of `a` less that of `b`, the mean over these domains.
    pub fn difference(&self, a: &str, b: &str, domains: &[&str]) -> Difference {
        self.difference_over(&domains.iter().map(|&domain| (a, b, domain)).collect::<Vec<_>>())
    }

    /// Accuracy of each first cell less that of the second on its domain, the mean over all of them.
    pub fn difference_over(&self, compared: &[(&str, &str, &str)]) -> Difference {
        // By comparison and seed.
        let of = |difference: &dyn Fn(&Line, &Line, &str) -> f64| -> Vec<Vec<f64>> {
            let by_seed = |&(a, b, domain): &(&str, &str, &str)| {
                self.of(a).into_iter().zip(self.of(b)).map(|(a, b)| difference(a, b, domain)).collect()
            };
            compared.iter().map(by_seed).collect()
        };
        let seeds = over_comparisons(&of(&|a, b, domain| a.accuracy_on(&[domain]) - b.accuracy_on(&[domain])));
        let losses = over_comparisons(&of(&|a, b, domain| a.loss_on(&[domain]) - b.loss_on(&[domain])));
        let texts: Vec<Vec<Vec<f64>>> = compared
            .iter()
            .map(|&(a, b, domain)| {
                self.of(a).into_iter().zip(self.of(b)).map(|(a, b)| by_window(a, b, domain)).collect()
            })
            .collect();
        let loss = losses.iter().all(|loss| loss.is_finite()).then(|| Interval::of_mean(&losses));
        Difference { measured: Interval::of_difference(&seeds, &texts), loss, seeds }
    }

    /// Mean loss on these domains by seed, in nats, with where another seed would lie.
    pub fn loss(&self, cell: &str, domains: &[&str]) -> String {
        let losses: Vec<f64> = self.of(cell).into_iter().map(|line| line.loss_on(domains)).collect();
        nats(Interval::of_another(&losses))
    }

    /// A finding of the paper's: that `a` is better than `b` on the mean of these domains.
    pub fn finding(&self, claim: &str, paper: Option<f64>, a: &str, b: &str, domains: &[&str]) -> Finding {
        let on = if domains.len() == DOMAINS.len() { "mean".into() } else { domains.join(" and ") };
        let compared = format!("{a} − {b}, {on}");
        Finding { paper, ..Finding::new(claim, compared, self.difference(a, b, domains)) }
    }
}

/// The mean of tables of one shape, number by number.
fn mean_of<'g>(tables: impl Iterator<Item = &'g Vec<Vec<f64>>>) -> Option<Vec<Vec<f64>>> {
    let tables: Vec<_> = tables.collect();
    let at = |i: usize, k: usize| mean(&tables.iter().map(|table| table[i][k]).collect::<Vec<_>>());
    let first = tables.first()?;
    Some(first.iter().enumerate().map(|(i, row)| (0..row.len()).map(|k| at(i, k)).collect()).collect())
}

/// The mean over comparisons of as many seeds as all have.
fn over_comparisons(compared: &[Vec<f64>]) -> Vec<f64> {
    let count = compared.iter().map(Vec::len).min().unwrap_or(0);
    (0..count).map(|seed| mean(&compared.iter().map(|by_seed| by_seed[seed]).collect::<Vec<_>>())).collect()
}

/// Differences of accuracy by window of a domain.
fn by_window(a: &Line, b: &Line, domain: &str) -> Vec<f64> {
    let (Some(a), Some(b)) = (a.scores.get(domain), b.scores.get(domain)) else { return Vec::new() };
    let length = |score: &Score| score.tokens as f64 / score.hits.len().max(1) as f64;
    a.hits.iter().zip(&b.hits).map(|(&x, &y)| (f64::from(x) - f64::from(y)) / length(a)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_averaged_number_by_number() {
        let tables = [vec![vec![1.0, 0.0], vec![0.5, 0.5]], vec![vec![0.5, 0.5], vec![0.0, 1.0]]];
        assert_eq!(mean_of(tables.iter()), Some(vec![vec![0.75, 0.25], vec![0.25, 0.75]]));
        assert_eq!(mean_of([].iter()), None);
    }

    #[test]
    fn a_verdict_follows_the_interval() {
        let finding = |mean, half| Finding {
            claim: String::new(),
            paper: None,
            compared: String::new(),
            measured: Interval { mean, half },
            loss: None,
            deviation: 0.01,
            seeds: 3,
        };
        assert_eq!(finding(0.02, 0.01).verdict(), Verdict::Reproduced);
        assert_eq!(finding(-0.02, 0.01).verdict(), Verdict::Contradicted);
        assert_eq!(finding(0.02, 0.03).verdict(), Verdict::Undecided);
        assert_eq!(finding(0.02, f64::INFINITY).verdict(), Verdict::Undecided);
        let small = finding(0.005, 0.025);
        assert!(small.detectable() > 0.025 && small.seeds_wanted().is_some_and(|seeds| seeds > 20));
    }
}
