//! Failures that the paper tells by their signatures, each provoked beside a healthy cell from which it differs in one thing.
//!
//! A poor score on its own domain comes of too few layers or too little data: stage 1 on Code. Lost general ability, English, comes of a
//! backbone that is not frozen, or of gates that have collapsed: stage 2 on Code and Math. These are faults in a recipe and no methods, so
//! they take the learning rates that the healthy cells were tuned to.

use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::section::{ACCURACY, Section, Table};
use crate::experiments::plan::methods::{ALL, base, composed, expert_rate};
use crate::experiments::plan::recipes::{CODE, MIXTURE, On, Shape, Stage};
use crate::experiments::plan::{Plan, RunIndex};
use crate::experiments::results::finding::Findings;
use crate::model::ExpertInit;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "failures",
    title: "Failures and their signatures",
    is_open: false,
    pilot: ["mode-2x", "unfrozen"],
    cells,
    timed: Vec::new,
    report,
};

/// As few examples as Figure 5 begins with.
const FEW: usize = 30;

/// What gates give each expert at first where they are to shut the backbone out.
const SHUT: f64 = 0.999;

/// Cells, and how to read what `mode inspect` prints of their first model.
const CELLS: [(&str, &str); 7] = [
    (
        "stage-1",
        "stage-1, healthy. A line a block: mean has the share of each branch, mean log falls far below zero for a branch that is shut, and the \
         entropy lies between 0, one branch alone, and 0.69 for two alike or 1.10 for three. Gates that work have other shares on other \
         texts, the last blocks most of all.",
    ),
    (
        "one-layer",
        "one-layer: there is one gate. If its shares are alike on all texts it has not learnt to tell them apart.",
    ),
    (
        "few-examples",
        "few-examples: an expert that knows its examples by heart has taught the gates to trust it. Look whether the last blocks give it all on \
         every text, its own and others.",
    ),
    (
        "mode-2x",
        "mode-2x, healthy. On the text of each expert's domain that expert has more than the other, in the last blocks.",
    ),
    (
        "unfrozen",
        "unfrozen: gates can't tell, for they weigh the backbone as it is now. What tells is mode inspect without --gates, which says that the \
         base model was trained.",
    ),
    ("shut", "shut: look for a mean log of the backbone that is far below zero on every text, English too."),
    ("one-domain", "one-domain: look for an expert that is shut on every text, its own too."),
];

fn cells(plan: &mut Plan) -> Result<(), Error> {
    let steps = plan.settings().steps;
    plan.untuned("base", &ALL, |plan, seed| Ok(vec![base(plan, seed)?]))?;
    let Some(of_experts) = expert_rate(plan)? else { return Ok(()) };
    let usual = plan.shape(ExpertInit::Copy);
    let stage_1 = [
        ("stage-1", usual, 0),
        ("one-layer", Shape { blocks: 1, layers: 1, ..usual }, 0),
        ("few-examples", usual, FEW),
    ];
    for (name, shape, examples) in stage_1 {
        plan.untuned(name, &ALL, |plan, seed| {
            let on = On::all(base(plan, seed)?, seed, CODE);
            let expert = plan.expert(On { examples, ..on }, shape, of_experts, steps)?;
            Ok(vec![expert, plan.compose(on, &[expert], Stage::gates(), of_experts, 0)?])
        })?;
    }
    plan.cells("mode-2x", &ALL, |plan, seed, rate| {
        composed(plan, seed, (ExpertInit::Copy, of_experts), Stage::all(), rate, steps)
    })?;
    let Some(rate) = plan.known_rate("mode-2x") else { return Ok(()) };
    let stage_2 = [
        ("unfrozen", usual, Stage::everything(), MIXTURE),
        ("shut", Shape { share: SHUT, ..usual }, Stage::all(), MIXTURE),
        ("one-domain", usual, Stage::all(), CODE),
    ];
    for (name, shape, stage, data) in stage_2 {
        plan.untuned(name, &ALL, |plan, seed| {
            let base = base(plan, seed)?;
            let of = |domain| plan.expert(On::all(base, seed, &[(domain, 1.0)]), shape, of_experts, steps);
            let mut runs: Vec<RunIndex> = [1, 2].into_iter().map(of).collect::<Result<_, _>>()?;
            runs.push(plan.compose(On::all(base, seed, data), &runs, stage, rate, steps)?);
            Ok(runs)
        })?;
    }
    CELLS.iter().for_each(|(name, _)| plan.inspect(name));
    Ok(())
}

fn report(found: &Findings) -> Section {
    let (english, code, math) = (&DOMAINS[..1], &DOMAINS[1..2], &DOMAINS[2..]);
    let row = |name: &str| {
        let of = |domains: &[&str]| found.percent(name, domains);
        vec![name.to_string(), of(code), of(math), of(english)]
    };
    let find =
        |claim: &str, healthy: &str, sick: &str, domains: &[&str]| found.finding(claim, None, healthy, sick, domains);
    let names = CELLS.map(|(name, _)| name);
    Section {
        lead: vec![
            "Each failure differs from the healthy cell above it in one thing, and takes its learning rate. stage-1 is an expert for Code alone, \
             mode-2x both experts after stage 2. one-layer has one block of one layer and so one gate, few-examples 30 windows of Code, unfrozen trains the \
             backbone too in stage 2, shut's gates gave each expert 0.999 in stage 1, and one-domain has Code alone in stage 2. Healthy \
             means no more than that: what a usual recipe keeps of base's English stands in the table. What a failure should cost is compared \
             below, healthy less sick. Commands name models in runs/ and text in data/, which this experiment makes where it is carried out."
                .into(),
        ],
        tables: vec![Table {
            caption: ACCURACY.into(),
            head: ["Cell", "Code", "Math", "English"].map(String::from).to_vec(),
            rows: std::iter::once("base").chain(names).map(row).collect(),
        }],
        gates: found.gates(&names),
        printed: CELLS.iter().filter_map(|(name, what)| Some((what.to_string(), found.printed(name)?.into()))).collect(),
        findings: vec![
            find("Too few layers: a poor score on the expert's domain", "stage-1", "one-layer", code),
            find("Too little data: a poor score on the expert's domain", "stage-1", "few-examples", code),
            find("The backbone not frozen: English is lost", "mode-2x", "unfrozen", english),
            find("Gates shut to the backbone: English is lost", "mode-2x", "shut", english),
            find("(not in the paper) Gates that saw one domain: English is lost", "mode-2x", "one-domain", english),
            find("(not in the paper) Gates that saw one domain: the other is lost", "mode-2x", "one-domain", math),
        ],
        ..Section::of(&EXPERIMENT)
    }
}
