//! Table 1: what each method gains on Code and Math, and what English it keeps.
//!
//! Every method is trained on the mixture of Code and Math (half and half) for S steps, as in the paper, where all take the same number.
//! Composed experts have S steps of stage 1 each behind them then, so the rows `-long` train the others for as many steps as both stages of
//! `mode-2x` together, 3 S. `-english` mixes a third of English in. `lora-large-long` trains as many parameters as `mode-2x`. `dense` is a model
//! of as many parameters as `mode-2x` has, pre-trained for as many tokens as the base and then trained whole; `dense-base` is it before that.
//!
//! A rate is the best for the mean of the three domains, for that is the paper's last column; rows `-adapted` are at the rates that are
//! best for Code and Math. Composed experts have two rates, one a stage: the best of those that have either stage 1's own best, of experts
//! alone, or the same in both stages (`-one-rate`). What the paper has, one rate for all methods, is `one_rate.rs`.

use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::accuracy::{Beside, accuracies};
use crate::experiments::page::axis::Scale;
use crate::experiments::page::plot::{Figure, Series};
use crate::experiments::page::section::{Section, Table};
use crate::experiments::plan::methods::{
    ADAPTED, ALL, LONG, Make, base, composed_on, expert_rate, full, large_lora, lora, uninitialised,
};
use crate::experiments::plan::recipes::{MIXTURE, Mixture, On, Stage};
use crate::experiments::plan::{Plan, RunIndex, Tried};
use crate::experiments::results::finding::{Finding, Findings};
use crate::experiments::results::statistics::{Interval, mean};
use crate::model::ExpertInit;
use crate::train::Size;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "table1",
    title: "Table 1: methods against each other on Math, Code and English",
    is_open: false,
    pilot: ["mode-2x", "full"],
    cells,
    timed: Vec::new,
    report,
};

/// The same with English.
const WITH_ENGLISH: Mixture = &[(0, 1.0 / 3.0), (1, 1.0 / 3.0), (2, 1.0 / 3.0)];

/// The paper's rows: ours, and its Math, Code, English and mean (arXiv 2410.10181, Table 1).
pub(crate) const PAPER: [(&str, [f64; 4]); 6] = [
    ("full", [77.18, 67.89, 47.95, 64.34]),
    ("lora", [75.79, 65.71, 49.05, 63.52]),
    ("mode-1x-uninit", [76.71, 67.30, 49.17, 64.39]),
    ("mode-2x-uninit", [76.87, 67.39, 49.47, 64.58]),
    ("mode-2x-frozen", [76.99, 66.94, 49.07, 64.33]),
    ("mode-2x", [77.47, 67.83, 49.50, 64.93]),
];

/// How names end of rows at the rates that are best for Code and Math.
const HIGH: &str = "-adapted";

/// Columns of the paper's.
const ENGLISH: usize = 2;
const MEAN: usize = 3;

/// The order of the rows.
const ROWS: [&str; 26] = [
    "base",
    "full",
    "full-long",
    "full-english",
    "full-english-long",
    "lora",
    "lora-long",
    "lora-english",
    "lora-english-long",
    "lora-large-long",
    "dense-base",
    "dense",
    "dense-long",
    "mode-1x-uninit",
    "mode-1x-uninit-long",
    "mode-2x-uninit",
    "mode-2x-uninit-long",
    "mode-2x-frozen",
    "mode-2x",
    "mode-2x-english",
    "full-adapted",
    "lora-adapted",
    "mode-1x-uninit-adapted",
    "mode-2x-uninit-adapted",
    "mode-2x-frozen-adapted",
    "mode-2x-adapted",
];

fn cells(plan: &mut Plan) -> Result<(), Error> {
    let steps = plan.settings().steps;
    plan.untuned("base", &ALL, |plan, seed| Ok(vec![base(plan, seed)?]))?;
    let baselines: [(&str, Mixture, Make); 6] = [
        ("full", MIXTURE, full),
        ("full-english", WITH_ENGLISH, full),
        ("lora", MIXTURE, lora),
        ("lora-english", WITH_ENGLISH, lora),
        ("mode-1x-uninit", MIXTURE, |plan, on, rate, steps| fresh(plan, on, 1, rate, steps)),
        ("mode-2x-uninit", MIXTURE, |plan, on, rate, steps| fresh(plan, on, 2, rate, steps)),
    ];
    for (name, data, make) in baselines {
        let train = |steps| {
            move |plan: &mut Plan, seed, rate| {
                let on = On::all(base(plan, seed)?, seed, data);
                Ok(vec![make(plan, on, rate, steps)?])
            }
        };
        plan.cells(name, &ALL, train(steps))?;
        plan.cells(&format!("{name}-long"), &ALL, train(LONG * steps))?;
        if data == MIXTURE {
            plan.cells_best_at(&ADAPTED, &format!("{name}{HIGH}"), &ALL, train(steps))?;
        }
    }
    plan.cells("lora-large-long", &ALL, |plan, seed, rate| {
        let on = On::all(base(plan, seed)?, seed, MIXTURE);
        Ok(vec![large_lora(plan, on, 2, rate, LONG * steps)?])
    })?;
    match plan.setup.base.given() {
        None => dense(plan, steps)?,
        Some(_) => plan.leave_out(
            "dense and dense-long are left out: where the base is given, no larger model is pre-trained.".into(),
        ),
    }
    let Some(of_experts) = expert_rate(plan)? else { return Ok(()) };
    let adapted = |name: &str| format!("{name}{HIGH}");
    two_rates(plan, "mode-2x-frozen", MIXTURE, Stage::gates(), of_experts, &ALL)?;
    two_rates(plan, "mode-2x", MIXTURE, Stage::all(), of_experts, &ALL)?;
    two_rates(plan, "mode-2x-english", WITH_ENGLISH, Stage::all(), of_experts, &ALL)?;
    two_rates(plan, &adapted("mode-2x-frozen"), MIXTURE, Stage::gates(), of_experts, &ADAPTED)?;
    two_rates(plan, &adapted("mode-2x"), MIXTURE, Stage::all(), of_experts, &ADAPTED)
}

/// Two experts composed, at the best of two rates: stage 1's own and any, or any for both.
fn two_rates(
    plan: &mut Plan,
    name: &str,
    data: Mixture,
    stage: Stage,
    of_experts: f64,
    scored: &[usize],
) -> Result<(), Error> {
    let steps = plan.settings().steps;
    let one_rate = format!("{name}-one-rate");
    let train = |plan: &mut Plan, seed, stage_1, rate| {
        composed_on(plan, seed, data, (ExpertInit::Copy, stage_1), stage, rate, steps)
    };
    for (method, stage_1) in [(name, Some(of_experts)), (&one_rate, None)] {
        plan.rate(method, |plan, seed, rate| {
            let runs = train(plan, seed, stage_1.unwrap_or(rate), rate)?;
            Ok(vec![Tried { runs, domains: ALL.into(), scored: scored.into() }])
        })?;
    }
    let Some((best, rate)) = plan.best_of(&[name, &one_rate]) else { return Ok(()) };
    let stage_1 = if best == name { of_experts } else { rate };
    plan.untuned(name, &ALL, |plan, seed| train(plan, seed, stage_1, rate))
}

/// A model as large as the base with two experts.
fn dense(plan: &mut Plan, steps: u64) -> Result<(), Error> {
    let s = plan.settings();
    let size = Size { layers: s.layers + 2 * s.blocks * s.layers_per_block, ..s.size() };
    plan.untuned("dense-base", &ALL, |plan, seed| Ok(vec![plan.pretrain(seed, size)?]))?;
    for (name, steps) in [("dense", steps), ("dense-long", LONG * steps)] {
        plan.cells(name, &ALL, |plan, seed, rate| {
            let base = plan.pretrain(seed, size)?;
            Ok(vec![full(plan, On::all(base, seed, MIXTURE), rate, steps)?])
        })?;
    }
    Ok(())
}

/// Fresh experts of the settings' shape.
pub(crate) fn fresh(plan: &mut Plan, on: On, count: usize, rate: f64, steps: u64) -> Result<RunIndex, Error> {
    let shape = plan.shape(ExpertInit::Random);
    uninitialised(plan, on, (count, shape), rate, steps)
}

fn report(found: &Findings) -> Section {
    let mut findings = of_paper(found, "", |row| row.to_string());
    findings.extend(of_paper(found, "(rates best for Code and Math) ", |row| format!("{row}{HIGH}")));
    let longer: [(&str, &str, &str, &[&str]); 8] = [
        ("(as many steps) MoDE keeps more English than LoRA", "mode-2x", "lora-long", &DOMAINS[..1]),
        ("(as many steps) MoDE keeps more English than full fine-tuning", "mode-2x", "full-long", &DOMAINS[..1]),
        ("(as many steps) MoDE is better than full fine-tuning in the mean", "mode-2x", "full-long", &DOMAINS),
        ("(as many steps) MoDE is better than LoRA in the mean", "mode-2x", "lora-long", &DOMAINS),
        (
            "(as many parameters and steps) MoDE keeps more English than LoRA",
            "mode-2x",
            "lora-large-long",
            &DOMAINS[..1],
        ),
        ("(as many parameters and steps) MoDE is better than LoRA in the mean", "mode-2x", "lora-large-long", &DOMAINS),
        ("(as many steps) Trained experts are better than fresh ones", "mode-2x", "mode-2x-uninit-long", &DOMAINS),
        ("(as many parameters and steps) MoDE is better than a dense model", "mode-2x", "dense-long", &DOMAINS),
    ];
    findings.extend(longer.map(|(claim, a, b, domains)| found.finding(claim, None, a, b, domains)));
    findings.extend(with_english(found));
    let beside = [Beside::Parameters, Beside::Trained, Beside::Tokens, Beside::Rate];
    Section {
        lead: vec![
            "base is a model of English and a tenth Code. It is adapted to Code and Math, half and half: full trains all weights, lora a low-rank \
             adapter, mode-2x an expert for Code and one for Math (stage 1) and then both and their gates on the mixture (stage 2), -frozen \
             gates alone in stage 2, -uninit fresh experts without a stage 1. -english has a third of English in the mixture. lora-large-long \
             trains as many parameters as mode-2x; dense is a model of as many as mode-2x has in all, pre-trained like base. All take the same S \
             steps on the mixture, which is how we read the paper's count, and -long 3 S, as many as both stages of mode-2x together. Of base and \
             dense-base tokens and rate are those of pre-training."
                .into(),
            format!(
                "Rates are the best for the mean of the three on validation text, those of -adapted for Code and Math alone. Composed experts \
                 have a rate in stage 1 and one in stage 2. Stage 1 has either {:.0e}, which is the best of experts alone, or the same rate as \
                 stage 2; the better of the two was taken. The paper has one rate, 1e-3, for all: one-rate asks that.",
                found.tuned_rate("expert")
            ),
            outdone(found),
            format!(
                "The paper's six by the mean, best first: {}. By English: {}.",
                order(found, MEAN, &DOMAINS),
                order(found, ENGLISH, &DOMAINS[..1])
            ),
        ],
        tables: vec![accuracies(found, ROWS.map(String::from), &beside), theirs()],
        figures: vec![trade(found)],
        findings,
        gates: found.gates(&ROWS),
        ..Section::of(&EXPERIMENT)
    }
}

/// The paper's claims of its rows, which are called `named` here; `words` say which of several.
pub(crate) fn of_paper(found: &Findings, words: &str, named: impl Fn(&str) -> String) -> Vec<Finding> {
    let claims = [
        ("MoDE keeps more English than full fine-tuning", 5, 0, ENGLISH),
        ("MoDE keeps more English than LoRA", 5, 1, ENGLISH),
        ("Frozen experts keep more English than full fine-tuning", 4, 0, ENGLISH),
        ("Two fresh experts keep more English than full fine-tuning", 3, 0, ENGLISH),
        ("One fresh expert keeps more English than full fine-tuning", 2, 0, ENGLISH),
        ("MoDE is better than full fine-tuning in the mean", 5, 0, MEAN),
        ("MoDE is better than LoRA in the mean", 5, 1, MEAN),
        ("Two fresh experts are better than full fine-tuning in the mean", 3, 0, MEAN),
        ("Trained experts are better than fresh ones", 5, 3, MEAN),
        ("Two fresh experts are better than one", 3, 2, MEAN),
        ("Experts that are trained on are better than frozen ones", 5, 4, MEAN),
        ("Full fine-tuning is better than LoRA in the mean", 0, 1, MEAN),
    ];
    let finding = |(claim, a, b, column): (&str, usize, usize, usize)| {
        let domains: &[&str] = if column == ENGLISH { &DOMAINS[..1] } else { &DOMAINS };
        let [(a, of_a), (b, of_b)] = [a, b].map(|row| (named(PAPER[row].0), PAPER[row].1[column]));
        found.finding(&format!("{words}{claim}"), Some(of_a - of_b), &a, &b, domains)
    };
    claims.map(finding).into()
}

/// The paper's methods in order of these domains, here and there, whose column it is, and how many pairs of them stand as there.
fn order(found: &Findings, column: usize, domains: &[&str]) -> String {
    let mut rows = PAPER.map(|(name, there)| (name, mean(&found.accuracies(name, domains)), there[column]));
    let pairs = || (0..rows.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let agrees = |&(i, j): &(usize, usize)| (rows[i].1 > rows[j].1) == (rows[i].2 > rows[j].2);
    let (same, all) = (pairs().filter(agrees).count(), pairs().count());
    let words = |rows: &[(&str, f64, f64)]| rows.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
    rows.sort_by(|a, b| b.2.total_cmp(&a.2));
    let there = words(&rows);
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    format!("here {}, there {there}, {same} of {all} pairs in the same order", words(&rows))
}

/// Methods whose rates are drawn, all of as many steps.
const TRADED: [&str; 7] = [
    "full-long",
    "full-english-long",
    "lora-long",
    "lora-large-long",
    "mode-2x-uninit-long",
    "mode-2x",
    "mode-2x-english",
];

/// Not in the paper: what a method learns against what it keeps. The rate decides where on its line a method stands; a method whose line lies
/// above another's is better wherever one wants to stand.
fn trade(found: &Findings) -> Figure {
    let series = |method: &str| {
        let point = |[kept, learned]: [f64; 2]| (100.0 * kept, Interval { mean: learned, half: 0.0 });
        Series { name: method.into(), points: traded(found, method).into_iter().map(point).collect() }
    };
    Figure {
        name: "table1-trade",
        caption: "What methods learn and what they keep, at every learning rate that was tried: one seed, validation text, as many steps for all. Of \
                  mode-2x and mode-2x-english the rate of stage 2 alone changes."
            .into(),
        x: "English right, %",
        y: "mean of Code and Math right, %",
        scales: [Scale::Linear, Scale::Linear],
        ours: TRADED.map(series).to_vec(),
        paper: Vec::new(),
    }
}

/// By learning rate, what a method keeps of English and what it has learnt of Code and Math.
fn traded(found: &Findings, method: &str) -> Vec<[f64; 2]> {
    let lines = found.tuned(method).into_iter().filter(|line| !line.scores.is_empty());
    lines.map(|line| [line.accuracy_on(&DOMAINS[..1]), line.accuracy_on(&DOMAINS[1..])]).collect()
}

/// Of how many of MoDE's rates one of full fine-tuning's both keeps more and has learnt more.
fn outdone(found: &Findings) -> String {
    let full = traded(found, "full-long");
    let outdone = |of: &[f64; 2]| full.iter().any(|by| by[0] > of[0] && by[1] > of[1]);
    let count = |method: &str| {
        let points = traded(found, method);
        format!("{} of the {} rates of {method}", points.iter().filter(|point| outdone(point)).count(), points.len())
    };
    format!(
        "A method's rate decides how much it gives up of English for what it learns, so a difference in one of the two says little alone. On \
         validation text some rate of full-long both keeps more English and learns more Code and Math than {} and {}.",
        count("mode-2x"),
        count("mode-2x-one-rate")
    )
}

/// Not in the paper: what a third of English in the mixture does, for experts in stage 2 and for baselines.
fn with_english(found: &Findings) -> Vec<Finding> {
    let compared: [(&str, &str, &str, &[&str]); 8] = [
        ("(a third of English) English in stage 2 keeps English", "mode-2x-english", "mode-2x", &DOMAINS[..1]),
        (
            "(a third of English) MoDE keeps more English than full fine-tuning",
            "mode-2x-english",
            "full-english",
            &DOMAINS[..1],
        ),
        (
            "(a third of English) MoDE is better than full fine-tuning in the mean",
            "mode-2x-english",
            "full-english",
            &DOMAINS,
        ),
        (
            "(a third of English, as many steps) MoDE keeps more English than full fine-tuning",
            "mode-2x-english",
            "full-english-long",
            &DOMAINS[..1],
        ),
        (
            "(a third of English, as many steps) MoDE is better than full fine-tuning in the mean",
            "mode-2x-english",
            "full-english-long",
            &DOMAINS,
        ),
        (
            "(a third of English, as many steps) MoDE keeps more English than LoRA",
            "mode-2x-english",
            "lora-english-long",
            &DOMAINS[..1],
        ),
        (
            "(a third of English, as many steps) MoDE is better than LoRA in the mean",
            "mode-2x-english",
            "lora-english-long",
            &DOMAINS,
        ),
        (
            "(a third of English, as many steps) MoDE without it is better than full fine-tuning with it in the mean",
            "mode-2x",
            "full-english-long",
            &DOMAINS,
        ),
    ];
    compared.map(|(claim, a, b, domains)| found.finding(claim, None, a, b, domains)).into()
}

fn theirs() -> Table {
    let row = |(name, figures): &(&str, [f64; 4])| {
        std::iter::once(name.to_string()).chain(figures.iter().map(|figure| format!("{figure:.2}"))).collect()
    };
    Table {
        caption:
            "The paper's (its headings Math and Code look swapped against its other tables; they stand as printed)"
                .into(),
        head: ["Method", "Math", "Code", "English", "Mean"].map(String::from).to_vec(),
        rows: PAPER.iter().map(row).collect(),
    }
}
