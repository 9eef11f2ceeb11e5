//! Claims that the paper makes in words.
//!
//! C1, that experts keep general ability better than adapters, against another family of adapters than LoRA: Houlsby's bottlenecks, of as
//! many parameters as the LoRA. C2, that freezing makes the backward cheaper: steps that are timed in turns. C3, that each
//! ingredient helps: how experts start, how gates are composed, and that stage 2 trains experts as well as gates.

use super::Experiment;
use super::finding::{Finding, Findings};
use super::methods::{ALL, base, bottleneck, composed, expert_rate_of, full, lora};
use super::page::{Section, Table, percent};
use super::plan::Plan;
use super::recipes::{MIXTURE, On, Stage};
use super::statistics::Interval;
use super::texts::DOMAINS;
use super::timed::Case;
use crate::Error;
use crate::model::{ExpertInit, GateRule};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "claims",
    title: "Claims: other adapters, a cheaper backward, each ingredient",
    pilot: ["bottleneck", "start-copy"],
    cells,
    timed,
    report,
};

/// Stages of S steps that both stages of two experts take together.
const LONG: u64 = 3;

/// How experts start.
const STARTS: [(&str, ExpertInit); 3] =
    [("start-copy", ExpertInit::Copy), ("start-zero", ExpertInit::ZeroOutput), ("start-random", ExpertInit::Random)];

/// How gates are composed; the first is what the other cells have.
const RULES: [(&str, GateRule); 3] =
    [("start-copy", GateRule::Diluted), ("gates-relative", GateRule::Relative), ("gates-fresh", GateRule::Fresh)];

fn cells(plan: &mut Plan) -> Result<(), Error> {
    let steps = plan.settings().steps;
    plan.untuned("base", &ALL, |plan, seed| Ok(vec![base(plan, seed)?]))?;
    for (name, steps) in [("bottleneck", steps), ("bottleneck-long", LONG * steps)] {
        plan.cells(name, &ALL, |plan, seed, rate| {
            let on = On::all(base(plan, seed)?, seed, MIXTURE);
            Ok(vec![bottleneck(plan, on, rate, steps)?])
        })?;
    }
    // For the time of a step, and to compare with.
    for (name, steps) in [("full", steps), ("full-long", LONG * steps)] {
        plan.cells(name, &ALL, |plan, seed, rate| {
            let on = On::all(base(plan, seed)?, seed, MIXTURE);
            Ok(vec![full(plan, on, rate, steps)?])
        })?;
    }
    plan.cells("lora-long", &ALL, |plan, seed, rate| {
        let on = On::all(base(plan, seed)?, seed, MIXTURE);
        Ok(vec![lora(plan, on, rate, LONG * steps)?])
    })?;
    for (name, init) in STARTS {
        let Some(of_experts) = expert_rate_of(plan, init)? else { continue };
        plan.cells(name, &ALL, |plan, seed, rate| composed(plan, seed, (init, of_experts), Stage::all(), rate, steps))?;
    }
    let Some(of_experts) = expert_rate_of(plan, ExpertInit::Copy)? else { return Ok(()) };
    for (name, gates) in &RULES[1..] {
        let stage = Stage { gates: *gates, ..Stage::all() };
        plan.cells(name, &ALL, |plan, seed, rate| {
            composed(plan, seed, (ExpertInit::Copy, of_experts), stage, rate, steps)
        })?;
    }
    plan.cells("gates-alone", &ALL, |plan, seed, rate| {
        composed(plan, seed, (ExpertInit::Copy, of_experts), Stage::gates(), rate, steps)
    })
}

fn report(found: &Findings) -> Section {
    let (english, mode) = (&DOMAINS[..1], "start-copy");
    let find = |claim: &str, a: &str, b: &str, domains: &[&str]| found.finding(claim, None, a, b, domains);
    let row = |name: &str| {
        let lines = found.of(name);
        let trained = lines.first().map_or(0, |line| line.params_trained).to_string();
        let mut row = vec![name.to_string(), trained];
        for domains in [&DOMAINS[2..], &DOMAINS[1..2], english, &DOMAINS] {
            row.push(percent(Interval::of_another(&found.accuracies(name, domains))));
        }
        row
    };
    let names = [
        "base",
        "full",
        "full-long",
        "lora-long",
        "bottleneck",
        "bottleneck-long",
        "start-copy",
        "start-zero",
        "start-random",
        "gates-relative",
        "gates-fresh",
        "gates-alone",
    ];
    Section {
        lead: vec![
            "start-copy is mode-2x as it is by default: experts that start as copies of their blocks, gates diluted. All of it at its own tuned \
             rate."
                .into(),
        ],
        tables: vec![
            Table {
                caption: "C1 and C3".into(),
                head: ["Cell", "Trained", "Math", "Code", "English", "Mean"].map(String::from).to_vec(),
                rows: names.map(row).to_vec(),
            },
            times(found),
        ],
        findings: vec![
            find("C1: MoDE keeps more English than bottlenecks", mode, "bottleneck", english),
            find("C1: (as many steps) MoDE keeps more English than bottlenecks", mode, "bottleneck-long", english),
            find("C1: (as many steps) MoDE is better than bottlenecks in the mean", mode, "bottleneck-long", &DOMAINS),
            cheaper(found, "lora", Case::Lora),
            cheaper(found, "one expert", Case::Experts(1)),
            find("C3: copies are better than random starts", mode, "start-random", &DOMAINS),
            find("C3: copies are better than starts of zero output", mode, "start-zero", &DOMAINS),
            find("C3: diluted gates are better than relative ones", mode, "gates-relative", &DOMAINS),
            find("C3: composed gates are better than fresh ones", mode, "gates-fresh", &DOMAINS),
            find("C3: experts trained on are better than gates alone", mode, "gates-alone", &DOMAINS),
        ],
        gates: found.gates(&names),
        ..Section::of(&EXPERIMENT)
    }
}

/// What is timed.
fn timed() -> Vec<Case> {
    TIMES.map(|(_, case)| case).to_vec()
}

/// Its names; the first is what the others are compared to.
const TIMES: [(&str, Case); 5] = [
    ("full", Case::Full),
    ("lora", Case::Lora),
    ("bottleneck", Case::Bottleneck),
    ("one expert", Case::Experts(1)),
    ("gates of two experts", Case::Gates(2)),
];

/// C2: which share of full fine-tuning's time a step saves, turn by turn.
fn saved(found: &Findings, case: Case) -> Vec<f64> {
    let seconds = |case| found.timed(case).map_or(&[][..], |timed| &timed.seconds);
    seconds(Case::Full).iter().zip(seconds(case)).map(|(full, frozen)| 1.0 - frozen / full).collect()
}

fn cheaper(found: &Findings, name: &str, case: Case) -> Finding {
    let saved = saved(found, case);
    let claim =
        format!("C2: a step of {name} takes less time than one of all weights (share saved, in %; turns for seeds)");
    Finding::new(&claim, format!("full − {name}, seconds"), (Interval::of_mean(&saved), saved))
}

fn times(found: &Findings) -> Table {
    let row = |(name, case): &(&str, Case)| {
        let timed = found.timed(*case)?;
        let of = Interval::of_mean(&timed.seconds);
        let saved = Interval::of_mean(&saved(found, *case));
        Some(vec![
            name.to_string(),
            format!("{:.1} ± {:.1}", 1e3 * of.mean, 1e3 * of.half),
            percent(saved),
            format!("{:.2}", timed.cost[1] / 1e9),
        ])
    };
    let machine = found.timed(Case::Full).map_or("", |timed| &timed.machine);
    Table {
        caption: format!("C2: a step, timed in turns on {machine}; saved against full, and GFLOP but for merges"),
        head: ["Step", "ms", "Saved, %", "GFLOP"].map(String::from).to_vec(),
        rows: TIMES.iter().filter_map(row).collect(),
    }
}
