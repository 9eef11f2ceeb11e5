//! Claims that the paper makes in words.
//!
//! C1, that experts keep general ability better than adapters, against another family of adapters than LoRA: Houlsby's bottlenecks, of as
//! many parameters as the LoRA. C2, that freezing makes the backward cheaper: steps that are timed in turns. C3, that each ingredient
//! helps: how experts start, how gates are composed, and that stage 2 trains experts as well as gates. Whether what was found hangs on three
//! domains or on the base's size: `widths.rs` and `fourth.rs`.

use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::accuracy::{Beside, accuracies};
use crate::experiments::page::section::{Section, Table};
use crate::experiments::plan::Plan;
use crate::experiments::plan::methods::{ALL, LONG, Make, base, bottleneck, composed, expert_rate_of, full, lora};
use crate::experiments::plan::recipes::{MIXTURE, On, Stage};
use crate::experiments::results::finding::{Difference, Finding, Findings};
use crate::experiments::results::numbers::percent;
use crate::experiments::results::statistics::Interval;
use crate::experiments::results::timed::Case;
use crate::model::{ExpertInit, GateRule};

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "claims",
    title: "Claims: other adapters, a cheaper backward, each ingredient",
    is_open: false,
    pilot: ["bottleneck", "mode-2x"],
    cells,
    timed: || TIMES.map(|(_, case)| case).to_vec(),
    report,
};

/// How experts start; the first is table 1's, at stage 1's own best rate.
const STARTS: [(&str, ExpertInit); 3] =
    [("mode-2x", ExpertInit::Copy), ("start-zero", ExpertInit::ZeroOutput), ("start-random", ExpertInit::Random)];

/// How gates are composed, where not diluted as elsewhere.
const RULES: [(&str, GateRule); 2] = [("gates-relative", GateRule::Relative), ("gates-fresh", GateRule::Fresh)];

/// The rows.
const ROWS: [&str; 13] = [
    "base",
    "full",
    "full-long",
    "lora",
    "lora-long",
    "bottleneck",
    "bottleneck-long",
    "mode-2x",
    "start-zero",
    "start-random",
    "gates-relative",
    "gates-fresh",
    "mode-2x-frozen",
];

fn cells(plan: &mut Plan) -> Result<(), Error> {
    let steps = plan.settings().steps;
    plan.untuned("base", &ALL, |plan, seed| Ok(vec![base(plan, seed)?]))?;
    for (name, make) in [("full", full as Make), ("lora", lora), ("bottleneck", bottleneck)] {
        for (name, steps) in [(name.to_string(), steps), (format!("{name}-long"), LONG * steps)] {
            plan.cells(&name, &ALL, |plan, seed, rate| {
                let on = On::all(base(plan, seed)?, seed, MIXTURE);
                Ok(vec![make(plan, on, rate, steps)?])
            })?;
        }
    }
    for (name, init) in STARTS {
        let Some(of_experts) = expert_rate_of(plan, init)? else { continue };
        plan.cells(name, &ALL, |plan, seed, rate| composed(plan, seed, (init, of_experts), Stage::all(), rate, steps))?;
    }
    let Some(of_experts) = expert_rate_of(plan, ExpertInit::Copy)? else { return Ok(()) };
    let rules = RULES.map(|(name, gates)| (name, Stage { gates, ..Stage::all() }));
    for (name, stage) in rules.into_iter().chain([("mode-2x-frozen", Stage::gates())]) {
        plan.cells(name, &ALL, |plan, seed, rate| {
            composed(plan, seed, (ExpertInit::Copy, of_experts), stage, rate, steps)
        })?;
    }
    Ok(())
}

fn report(found: &Findings) -> Section {
    let (english, mode) = (&DOMAINS[..1], "mode-2x");
    let find = |claim: &str, a: &str, b: &str, domains: &[&str]| found.finding(claim, None, a, b, domains);
    Section {
        lead: vec![
            "mode-2x, mode-2x-frozen, full and lora are as in table 1, all experts at the best rate of stage 1 alone; -long is as many steps as both \
             stages of mode-2x. bottleneck is Houlsby's adapter, of as many parameters as lora. Experts start as copies of the backbone's \
             layers, of start-random as random weights, of start-zero as random ones that add nothing to the stream at first. Composed gates keep \
             the logits that each expert's had against the backbone in stage 1, and are diluted: less ln 2, or two experts would begin with twice \
             the weight of one. gates-relative are not, and gates-fresh begin with all branches alike. Each row is at its own tuned rate."
                .into(),
        ],
        tables: vec![accuracies(found, ROWS.map(String::from), &[Beside::Trained, Beside::Rate]), times(found)],
        findings: vec![
            find("C1: MoDE keeps more English than bottlenecks", mode, "bottleneck", english),
            find("C1: (as many steps) MoDE keeps more English than bottlenecks", mode, "bottleneck-long", english),
            find("C1: (as many steps) MoDE keeps more English than LoRA", mode, "lora-long", english),
            find("C1: (as many steps) MoDE is better than bottlenecks in the mean", mode, "bottleneck-long", &DOMAINS),
            cheaper(found, "one expert, of all weights unfrozen", Case::Unfrozen(1), Case::Experts(1)),
            cheaper(found, "one expert, of full fine-tuning", Case::Full, Case::Experts(1)),
            cheaper(found, "LoRA, of full fine-tuning", Case::Full, Case::Lora),
            find("C3: copies are better than random starts", mode, "start-random", &DOMAINS),
            find("C3: copies are better than starts of zero output", mode, "start-zero", &DOMAINS),
            find("C3: diluted gates are better than relative ones", mode, "gates-relative", &DOMAINS),
            find("C3: composed gates are better than fresh ones", mode, "gates-fresh", &DOMAINS),
            find("C3: experts trained on are better than gates alone", mode, "mode-2x-frozen", &DOMAINS),
        ],
        gates: found.gates(&ROWS),
        ..Section::of(&EXPERIMENT)
    }
}

/// What is timed, by its names.
const TIMES: [(&str, Case); 6] = [
    ("full fine-tuning", Case::Full),
    ("LoRA", Case::Lora),
    ("bottlenecks", Case::Bottleneck),
    ("one expert of one layer a block", Case::Experts(1)),
    ("the same, the backbone unfrozen", Case::Unfrozen(1)),
    ("gates of two experts", Case::Gates(2)),
];

/// C2: which share of another step's time a step saves, turn by turn.
fn saved(found: &Findings, of: Case, case: Case) -> Vec<f64> {
    let seconds = |case| found.timed(&EXPERIMENT, case).map_or(&[][..], |timed| &timed.seconds);
    seconds(of).iter().zip(seconds(case)).map(|(of, case)| 1.0 - case / of).collect()
}

fn cheaper(found: &Findings, words: &str, of: Case, case: Case) -> Finding {
    let saved = saved(found, of, case);
    let claim = format!("C2: frozen weights save time: {words} (share of a step in %, over turns in place of seeds)");
    let difference = Difference { measured: Interval::of_mean(&saved), loss: None, seeds: saved };
    Finding::new(&claim, "1 − time / time".into(), difference)
}

fn times(found: &Findings) -> Table {
    let row = |(name, case): &(&str, Case)| {
        let timed = found.timed(&EXPERIMENT, *case)?;
        let of = Interval::of_mean(&timed.seconds);
        let saved = Interval::of_mean(&saved(found, Case::Full, *case));
        Some(vec![
            name.to_string(),
            format!("{:.1} ± {:.1}", 1e3 * of.mean, 1e3 * of.half),
            percent(saved),
            format!("{:.2}", timed.cost[1] / 1e9),
        ])
    };
    let machine = found.timed(&EXPERIMENT, Case::Full).map_or("", |timed| &timed.machine);
    Table {
        caption: format!(
            "A step, timed in turns on {machine}; saved against full fine-tuning, and GFLOP but for merges"
        ),
        head: ["Step", "ms", "Saved, %", "GFLOP"].map(String::from).to_vec(),
        rows: TIMES.iter().filter_map(row).collect(),
    }
}
