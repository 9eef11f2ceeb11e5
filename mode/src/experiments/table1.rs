//! Table 1: what each method gains on Code and Math, and what English it keeps.
//!
//! Every method is trained on the mixture of Code and Math (half and half) for S steps, as in the paper, where all take the same number.
//! Composed experts have S steps of stage 1 each behind them then, so the rows `-long` train the others for as many steps as both stages of
//! `mode-2x` together, 3 S. `-english` mixes a third of English in. `dense` is a model of as many parameters as `mode-2x` has, pre-trained for
//! as many tokens as the base and then trained whole.

use super::Experiment;
use super::finding::{Finding, Findings};
use super::methods::{ALL, base, composed, expert_rate, full, lora, uninitialised};
use super::page::{Section, Table, percent};
use super::plan::{Plan, RunIndex};
use super::plot::{Figure, Series};
use super::recipes::{MIXTURE, Mixture, On, Stage};
use super::results::Line;
use super::statistics::Interval;
use super::texts::DOMAINS;
use super::timed::NOTHING;
use crate::Error;
use crate::model::ExpertInit;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "table1",
    title: "Table 1: methods against each other on Math, Code and English",
    pilot: ["mode-2x", "full"],
    cells,
    timed: NOTHING,
    report,
};

/// The same with English.
const WITH_ENGLISH: Mixture = &[(0, 1.0 / 3.0), (1, 1.0 / 3.0), (2, 1.0 / 3.0)];

/// Stages of S steps that both stages of two experts take together.
const LONG: u64 = 3;

/// The paper's rows: ours, and its Math, Code, English and mean (arXiv 2410.10181, Table 1).
const PAPER: [(&str, [f64; 4]); 6] = [
    ("full", [77.18, 67.89, 47.95, 64.34]),
    ("lora", [75.79, 65.71, 49.05, 63.52]),
    ("mode-1x-uninit", [76.71, 67.30, 49.17, 64.39]),
    ("mode-2x-uninit", [76.87, 67.39, 49.47, 64.58]),
    ("mode-2x-frozen", [76.99, 66.94, 49.07, 64.33]),
    ("mode-2x", [77.47, 67.83, 49.50, 64.93]),
];

/// The order of the rows.
const ROWS: [&str; 17] = [
    "base",
    "full",
    "full-long",
    "full-english",
    "full-english-long",
    "lora",
    "lora-long",
    "lora-english",
    "lora-english-long",
    "dense",
    "dense-long",
    "mode-1x-uninit",
    "mode-1x-uninit-long",
    "mode-2x-uninit",
    "mode-2x-uninit-long",
    "mode-2x-frozen",
    "mode-2x",
];

/// A method on a mixture, of a base, a rate and a number of steps.
type Make = fn(&mut Plan, On, f64, u64) -> Result<RunIndex, Error>;

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
        for (name, steps) in [(name.to_string(), steps), (format!("{name}-long"), LONG * steps)] {
            plan.cells(&name, &ALL, |plan, seed, rate| {
                let on = On::all(base(plan, seed)?, seed, data);
                Ok(vec![make(plan, on, rate, steps)?])
            })?;
        }
    }
    match plan.setup.base.given() {
        None => dense(plan, steps)?,
        Some(_) => plan.leave_out(
            "dense and dense-long are left out: where the base is given, no larger model is pre-trained.".into(),
        ),
    }
    let Some(of_experts) = expert_rate(plan)? else { return Ok(()) };
    for (name, stage) in [("mode-2x-frozen", Stage::gates()), ("mode-2x", Stage::all())] {
        plan.cells(name, &ALL, |plan, seed, rate| {
            composed(plan, seed, (ExpertInit::Copy, of_experts), stage, rate, steps)
        })?;
    }
    Ok(())
}

/// A model as large as the base with two experts.
fn dense(plan: &mut Plan, steps: u64) -> Result<(), Error> {
    for (name, steps) in [("dense", steps), ("dense-long", LONG * steps)] {
        plan.cells(name, &ALL, |plan, seed, rate| {
            let s = plan.settings();
            let layers = s.layers + 2 * s.blocks * s.layers_per_block;
            let base = plan.pretrain(seed, layers)?;
            Ok(vec![full(plan, On::all(base, seed, MIXTURE), rate, steps)?])
        })?;
    }
    Ok(())
}

/// Fresh experts of the settings' shape.
fn fresh(plan: &mut Plan, on: On, count: usize, rate: f64, steps: u64) -> Result<RunIndex, Error> {
    let shape = plan.shape(ExpertInit::Random);
    uninitialised(plan, on, (count, shape), rate, steps)
}

fn report(found: &Findings) -> Section {
    let mut findings = Vec::new();
    let paper = |a: usize, b: usize, column: usize| Some(PAPER[a].1[column] - PAPER[b].1[column]);
    let mut add = |claim: &str, a: usize, b: usize, column: usize| {
        let domains: &[&str] = match column {
            0 => &DOMAINS[2..],
            1 => &DOMAINS[1..2],
            2 => &DOMAINS[..1],
            _ => &DOMAINS,
        };
        findings.push(found.finding(claim, paper(a, b, column), PAPER[a].0, PAPER[b].0, domains));
    };
    add("MoDE keeps more English than full fine-tuning", 5, 0, 2);
    add("MoDE is better than full fine-tuning in the mean", 5, 0, 3);
    add("MoDE is better than LoRA in the mean", 5, 1, 3);
    add("Trained experts are better than fresh ones", 5, 3, 3);
    add("Two fresh experts are better than one", 3, 2, 3);
    add("Experts that are trained on are better than frozen ones", 5, 4, 3);
    add("Full fine-tuning is better than LoRA in the mean", 0, 1, 3);
    let longer: [(&str, &str, &str, &[&str]); 5] = [
        ("(as many steps) MoDE keeps more English than full fine-tuning", "mode-2x", "full-long", &DOMAINS[..1]),
        ("(as many steps) MoDE is better than full fine-tuning in the mean", "mode-2x", "full-long", &DOMAINS),
        ("(as many steps) MoDE is better than LoRA in the mean", "mode-2x", "lora-long", &DOMAINS),
        ("(as many steps) Trained experts are better than fresh ones", "mode-2x", "mode-2x-uninit-long", &DOMAINS),
        ("(as many parameters and steps) MoDE is better than a dense model", "mode-2x", "dense-long", &DOMAINS),
    ];
    findings.extend(longer.map(|(claim, a, b, domains)| found.finding(claim, None, a, b, domains)));
    findings.extend(with_english(found));
    Section {
        lead: vec![
            "Next-token accuracy in per cent; ± is where another seed would lie, 19 times in 20. The paper trains all methods for the same \
             number of steps on the mixture; rows -long take as many as both stages of mode-2x together."
                .into(),
        ],
        tables: vec![ours(found), theirs()],
        figures: vec![trade(found)],
        findings,
        gates: found.gates(&ROWS),
        ..Section::of(&EXPERIMENT)
    }
}

/// Methods whose rates are drawn, all of as many steps.
const TRADED: [&str; 6] =
    ["full-long", "full-english-long", "lora-long", "dense-long", "mode-2x-uninit-long", "mode-2x"];

/// Not in the paper: what a method learns against what it keeps. The rate decides where on its line a method stands; a method whose line lies
/// above another's is better wherever one wants to stand.
fn trade(found: &Findings) -> Figure {
    let series = |method: &str| {
        let point = |line: &&Line| {
            let of = |domain: &str| line.scores.get(domain).map(|score| score.accuracy);
            let [english, code, math] = DOMAINS.map(of);
            let learned = Interval { mean: (code? + math?) / 2.0, half: 0.0 };
            Some((100.0 * english?, learned))
        };
        Series { name: method.into(), points: found.tuned(method).iter().filter_map(point).collect() }
    };
    Figure {
        name: "table1-trade",
        caption: "What methods learn and what they keep, by learning rate from 3e-4 to 3e-2: one seed, validation text, as many steps for all."
            .into(),
        x: "English right, %",
        y: "mean of Code and Math right, %",
        ours: TRADED.map(series).to_vec(),
        paper: Vec::new(),
    }
}

/// Not in the paper: whether baselines that see English as well keep as much of it.
fn with_english(found: &Findings) -> [Finding; 2] {
    ["full-english-long", "lora-english-long"].map(|b| {
        let claim = format!("(not in the paper) MoDE without English is better than {b} in the mean");
        found.finding(&claim, None, "mode-2x", b, &DOMAINS)
    })
}

fn ours(found: &Findings) -> Table {
    let head = ["Method", "Parameters", "Trained", "Tokens", "Rate", "Math", "Code", "English", "Mean"];
    let rows = ROWS.iter().filter_map(|&name| {
        let lines = found.of(name);
        let line = lines.first()?;
        let mut row = vec![
            name.to_string(),
            line.params_total.to_string(),
            line.params_trained.to_string(),
            line.tokens_seen.to_string(),
            format!("{:.0e}", line.learning_rate),
        ];
        for domains in [&DOMAINS[2..], &DOMAINS[1..2], &DOMAINS[..1], &DOMAINS] {
            row.push(percent(Interval::of_another(&found.accuracies(name, domains))));
        }
        Some(row)
    });
    Table { caption: "Ours".into(), head: head.map(String::from).to_vec(), rows: rows.collect() }
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
