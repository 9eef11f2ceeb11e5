//! A fourth domain: whether what table 1 finds of two experts holds of three.
//!
//! The fourth is Rust about shaders, or the user's own, `--set data.NAME=SOURCE`. `four-mode` composes experts of Code, Math and the fourth
//! and trains them and the gates on a third of each; `four-full` trains all weights of the base on that, `four-full-long` for as many steps
//! as all four stages of `four-mode`.

use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::section::{ACCURACY, Section, Table};
use crate::experiments::plan::Plan;
use crate::experiments::plan::methods::{ADAPTED, base, expert_rate, experts_beside, full};
use crate::experiments::plan::recipes::{On, Stage};
use crate::experiments::results::finding::{Finding, Findings};
use crate::model::ExpertInit;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "fourth",
    title: "A fourth domain",
    is_open: false,
    pilot: ["four-mode", "four-full"],
    cells,
    timed: Vec::new,
    report,
};

/// Stages of S steps that three experts and their composition take together.
const STAGES: u64 = 4;

fn cells(plan: &mut Plan) -> Result<(), Error> {
    let (steps, fourth) = (plan.settings().steps, plan.setup.fourth()?);
    let adapted = [&ADAPTED[..], &[fourth]].concat();
    let mixture: Vec<(usize, f64)> = adapted.iter().map(|&domain| (domain, 1.0 / adapted.len() as f64)).collect();
    let measured = [&[0], &adapted[..]].concat();
    plan.untuned("base", &measured, |plan, seed| Ok(vec![base(plan, seed)?]))?;
    for (name, steps) in [("four-full", steps), ("four-full-long", STAGES * steps)] {
        plan.cells(name, &measured, |plan, seed, rate| {
            let on = On::all(base(plan, seed)?, seed, &mixture);
            Ok(vec![full(plan, on, rate, steps)?])
        })?;
    }
    let Some(of_experts) = expert_rate(plan)? else { return Ok(()) };
    plan.cells("four-mode", &measured, |plan, seed, rate| {
        let base = base(plan, seed)?;
        let mut runs = experts_beside(plan, (base, seed), &adapted, ExpertInit::Copy, of_experts)?;
        runs.push(plan.compose(On::all(base, seed, &mixture), &runs, Stage::all(), rate, steps)?);
        Ok(runs)
    })
}

fn report(found: &Findings) -> Section {
    let all = [&DOMAINS[..], &[found.fourth()]].concat();
    let row = |name: &str| {
        let each = all.iter().map(|&domain| found.percent(name, &[domain]));
        let words = [name.to_string(), found.rate(name)].into_iter();
        words.chain(each).chain([found.percent(name, &all)]).collect()
    };
    let find = |claim: &str, b: &str, domains: &[&str], words: &str| {
        let compared = format!("four-mode − {b}, {words}");
        Finding::new(claim, compared, found.difference("four-mode", b, domains))
    };
    let (english, mean) = ("english", "mean of four");
    Section {
        lead: vec![format!(
            "Experts of Code, Math and {}, composed, against all weights, on a third of each. The rate of stage 1 is that of the first two. Where \
             the fourth is a built-in one, 5 of Code's 101 test documents are near what it trains on.",
            found.fourth()
        )],
        tables: vec![Table {
            caption: ACCURACY.into(),
            head: ["Cell", "Rate"].into_iter().chain(all.iter().copied()).chain(["mean"]).map(String::from).collect(),
            rows: ["base", "four-full", "four-full-long", "four-mode"].map(row).to_vec(),
        }],
        findings: vec![
            find("Four domains: MoDE keeps more English than full fine-tuning", "four-full", &all[..1], english),
            find("Four domains: MoDE is better in the mean", "four-full", &all, mean),
            find("Four domains: (as many steps) MoDE keeps more English", "four-full-long", &all[..1], english),
            find("Four domains: (as many steps) MoDE is better in the mean", "four-full-long", &all, mean),
        ],
        gates: found.gates(&["four-mode"]),
        ..Section::of(&EXPERIMENT)
    }
}
