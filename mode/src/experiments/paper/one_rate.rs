//! Table 1's methods at one learning rate for all, as the paper has it: 1e-3, the paper's own, and three times that, for models as small as
//! these are trained at higher ones. Composed experts have it in both stages.

use super::table1::{PAPER, fresh, of_paper};
use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::accuracy::accuracies;
use crate::experiments::page::section::Section;
use crate::experiments::plan::Plan;
use crate::experiments::plan::methods::{ALL, LONG, base, composed, full, lora};
use crate::experiments::plan::recipes::{MIXTURE, On, Stage};
use crate::experiments::results::finding::{Finding, Findings};
use crate::model::ExpertInit;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "one-rate",
    title: "Table 1 at one learning rate for all methods",
    is_open: false,
    pilot: ["mode-2x-at-1e-3", "full-at-1e-3"],
    cells,
    timed: Vec::new,
    report,
};

/// Rates, by how cells name them.
const RATES: [(&str, f64); 2] = [("1e-3", 1e-3), ("3e-3", 3e-3)];

/// Not in the paper: for as many steps as both stages of two experts take.
const FULL_LONG: &str = "full-long";

fn name(method: &str, rate: &str) -> String {
    format!("{method}-at-{rate}")
}

fn cells(plan: &mut Plan) -> Result<(), Error> {
    let steps = plan.settings().steps;
    for (word, rate) in RATES {
        for method in PAPER.map(|(method, _)| method).into_iter().chain([FULL_LONG]) {
            plan.untuned(&name(method, word), &ALL, |plan, seed| {
                let on = On::all(base(plan, seed)?, seed, MIXTURE);
                let experts = (ExpertInit::Copy, rate);
                match method {
                    "full" => Ok(vec![full(plan, on, rate, steps)?]),
                    "lora" => Ok(vec![lora(plan, on, rate, steps)?]),
                    "mode-1x-uninit" => Ok(vec![fresh(plan, on, 1, rate, steps)?]),
                    "mode-2x-uninit" => Ok(vec![fresh(plan, on, 2, rate, steps)?]),
                    "mode-2x-frozen" => composed(plan, seed, experts, Stage::gates(), rate, steps),
                    "mode-2x" => composed(plan, seed, experts, Stage::all(), rate, steps),
                    _ => Ok(vec![full(plan, on, rate, LONG * steps)?]),
                }
            })?;
        }
    }
    Ok(())
}

fn report(found: &Findings) -> Section {
    let methods = PAPER.map(|(method, _)| method).into_iter().chain([FULL_LONG]);
    let names: Vec<String> =
        RATES.iter().flat_map(|(rate, _)| methods.clone().map(move |method| name(method, rate))).collect();
    let mut findings = Vec::new();
    for (rate, _) in RATES {
        findings.extend(of_paper(found, &format!("(all at {rate}) "), |method| name(method, rate)));
        findings.extend(as_many_steps(found, &format!("all at {rate}"), [rate; 2]));
    }
    findings.extend(as_many_steps(found, "MoDE at 3e-3, full fine-tuning at 1e-3", ["3e-3", "1e-3"]));
    Section {
        lead: vec![
            "Table 1's rows with nothing tuned: every method and both stages at 1e-3, as the paper trains all, and at 3e-3. A method that would \
             rather have another rate is not helped to it."
                .into(),
        ],
        tables: vec![accuracies(found, names, &[])],
        findings,
        ..Section::of(&EXPERIMENT)
    }
}

/// MoDE against full fine-tuning of as many steps, at a rate of each.
fn as_many_steps(found: &Findings, rates: &str, [of_mode, of_full]: [&str; 2]) -> [Finding; 2] {
    let [mode, full] = [name("mode-2x", of_mode), name(FULL_LONG, of_full)];
    let compared: [(&str, &[&str]); 2] =
        [("keeps more English than", &DOMAINS[..1]), ("is better in the mean than", &DOMAINS)];
    compared.map(|(words, domains)| {
        let claim = format!("({rates}, as many steps) MoDE {words} full fine-tuning");
        found.finding(&claim, None, &mode, &full, domains)
    })
}
