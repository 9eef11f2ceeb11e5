//! Sizes of the base: whether what table 1 finds hangs on its width.
//!
//! Bases half, as and one and a half times as wide, pre-trained on as many tokens; `full`, `full-long` and `mode-2x` of each as in table 1,
//! at rates tuned for each.

use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::accuracy::{Beside, accuracies};
use crate::experiments::page::axis::Scale;
use crate::experiments::page::plot::{Figure, Series};
use crate::experiments::page::section::Section;
use crate::experiments::plan::methods::{ADAPTED, ALL, LONG, experts_beside, full, rate_beside};
use crate::experiments::plan::recipes::{MIXTURE, On, Stage};
use crate::experiments::plan::{Plan, RunIndex};
use crate::experiments::results::finding::Findings;
use crate::model::ExpertInit;
use crate::train::Size;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "widths",
    title: "Bases of other sizes",
    is_open: false,
    pilot: ["narrow-mode-2x", "narrow-full"],
    cells,
    timed: Vec::new,
    report,
};

/// Halves of the usual width, and how names of cells begin; the usual one's are as in table 1.
const WIDTHS: [(usize, &str); 3] = [(1, "narrow-"), (2, ""), (3, "wide-")];

fn name(width: &str, method: &str) -> String {
    format!("{width}{method}")
}

fn cells(plan: &mut Plan) -> Result<(), Error> {
    if plan.setup.base.given().is_some() {
        plan.leave_out("widths has nothing to do where the base is given: give another one to compare.".into());
        return Ok(());
    }
    for (halves, width) in WIDTHS {
        match plan.settings().size().halves(halves) {
            Some(size) => beside(plan, width, size)?,
            None => {
                plan.leave_out(format!("{width}base is left out: {halves} halves of these sizes are no whole numbers."))
            }
        }
    }
    Ok(())
}

/// The cells beside bases of one size.
fn beside(plan: &mut Plan, width: &str, size: Size) -> Result<(), Error> {
    let steps = plan.settings().steps;
    let base = |plan: &mut Plan, seed: u64| plan.pretrain(seed, size);
    plan.untuned(&name(width, "base"), &ALL, |plan, seed| Ok(vec![base(plan, seed)?]))?;
    for (method, steps) in [("full", steps), ("full-long", LONG * steps)] {
        plan.cells(&name(width, method), &ALL, |plan, seed, rate| {
            let on = On::all(base(plan, seed)?, seed, MIXTURE);
            Ok(vec![full(plan, on, rate, steps)?])
        })?;
    }
    let Some(of_experts) = rate_beside(plan, &name(width, "expert"), base, ExpertInit::Copy)? else {
        return Ok(());
    };
    plan.cells(&name(width, "mode-2x"), &ALL, |plan, seed, rate| -> Result<Vec<RunIndex>, Error> {
        let base = base(plan, seed)?;
        let mut runs = experts_beside(plan, (base, seed), &ADAPTED, ExpertInit::Copy, of_experts)?;
        runs.push(plan.compose(On::all(base, seed, MIXTURE), &runs, Stage::all(), rate, steps)?);
        Ok(runs)
    })
}

fn report(found: &Findings) -> Section {
    let there: Vec<&str> =
        WIDTHS.map(|(_, width)| width).into_iter().filter(|width| !found.of(&name(width, "base")).is_empty()).collect();
    let parameters = |width: &str| found.of(&name(width, "base")).first().map_or(0, |line| line.params_total);
    let methods = ["base", "full", "full-long", "mode-2x"];
    let rows = there.iter().flat_map(|width| methods.map(|method| name(width, method)));
    let findings = there.iter().flat_map(|width| {
        let [full, long, mode] = ["full", "full-long", "mode-2x"].map(|method| name(width, method));
        let of = |claim: &str, b: &str, domains: &[&str]| {
            found.finding(&format!("{} parameters: {claim}", parameters(width)), None, &mode, b, domains)
        };
        [
            of("MoDE keeps more English than full fine-tuning", &full, &DOMAINS[..1]),
            of("MoDE is better in the mean", &full, &DOMAINS),
            of("(as many steps) MoDE keeps more English", &long, &DOMAINS[..1]),
            of("(as many steps) MoDE is better in the mean", &long, &DOMAINS),
        ]
    });
    let series = |label: &str, b: &str, domains: &[&str]| Series {
        name: label.into(),
        points: there
            .iter()
            .map(|width| {
                let difference = found.difference(&name(width, "mode-2x"), &name(width, b), domains).measured;
                (parameters(width) as f64, difference)
            })
            .collect(),
    };
    Section {
        lead: vec!["Of each width a base, pre-trained on as many tokens, and what table 1 compares of it.".into()],
        tables: vec![accuracies(found, rows, &[Beside::Parameters, Beside::Rate])],
        figures: vec![Figure {
            name: "widths",
            caption: "mode-2x less full fine-tuning by the base's parameters.".into(),
            x: "parameters of the base",
            y: "percentage points",
            scales: [Scale::Ratios, Scale::Linear],
            ours: vec![
                series("English", "full", &DOMAINS[..1]),
                series("mean", "full", &DOMAINS),
                series("English, as many steps", "full-long", &DOMAINS[..1]),
                series("mean, as many steps", "full-long", &DOMAINS),
            ],
            paper: Vec::new(),
        }],
        findings: findings.collect(),
        ..Section::of(&EXPERIMENT)
    }
}
