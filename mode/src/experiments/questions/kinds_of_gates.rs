//! Question 2, which the paper leaves open: gates of other kinds than one softmax over a token (`model/gating.rs`).
//!
//! The experts of table 1 composed with gates that read the token (`token`), the sequence, or attend over it; that are four times as sharp
//! or as soft; or of which a token keeps the best branch or the best two. All of it is trained on the mixture (`all-`), or gates alone
//! (`gates-`), each at its own tuned rate.

use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::accuracy::{Beside, accuracies};
use crate::experiments::page::axis::Scale;
use crate::experiments::page::plot::{Figure, Series};
use crate::experiments::page::section::Section;
use crate::experiments::plan::Plan;
use crate::experiments::plan::methods::{ALL, composed, expert_rate};
use crate::experiments::plan::recipes::Stage;
use crate::experiments::results::finding::{Finding, Findings};
use crate::experiments::results::statistics::Interval;
use crate::model::{ExpertInit, Gating, Reads};

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "q2",
    title: "Question 2: gates that read more, choose more sharply, or skip branches",
    is_open: true,
    pilot: ["all-top-1", "mode-2x"],
    cells,
    timed: Vec::new,
    report,
};

const TOKEN: Gating = Gating { reads: Reads::Token, temperature: 1.0, top: 0 };

/// Kinds beside the token's.
const KINDS: [(&str, Gating); 6] = [
    ("sequence", Gating { reads: Reads::Sequence, ..TOKEN }),
    ("attention", Gating { reads: Reads::Attention, ..TOKEN }),
    ("sharp", Gating { temperature: 0.25, ..TOKEN }),
    ("soft", Gating { temperature: 4.0, ..TOKEN }),
    ("top-1", Gating { top: 1, ..TOKEN }),
    ("top-2", Gating { top: 2, ..TOKEN }),
];

/// What is trained: how cells' names begin, and the cell of the token gate, which is as in table 1.
const TRAINED: [(&str, &str); 2] = [("all", "mode-2x"), ("gates", "mode-2x-frozen")];

/// Kinds where this is trained: a gate that keeps one branch has no gradient, for of one branch the softmax is 1.
fn kinds(trained: &str) -> impl Iterator<Item = (&'static str, Gating)> {
    let learns = trained != "gates";
    KINDS.into_iter().filter(move |(_, gating)| learns || gating.top != 1)
}

fn stage(trained: &str) -> Stage {
    if trained == "all" { Stage::all() } else { Stage::gates() }
}

fn cells(plan: &mut Plan) -> Result<(), Error> {
    let steps = plan.settings().steps;
    let Some(of_experts) = expert_rate(plan)? else { return Ok(()) };
    for (trained, token) in TRAINED {
        let kinds = kinds(trained).map(|(kind, gating)| (format!("{trained}-{kind}"), gating));
        for (name, gating) in std::iter::once((token.to_string(), TOKEN)).chain(kinds) {
            let stage = Stage { gating, ..stage(trained) };
            plan.cells(&name, &ALL, |plan, seed, rate| {
                composed(plan, seed, (ExpertInit::Copy, of_experts), stage, rate, steps)
            })?;
        }
    }
    Ok(())
}

fn report(found: &Findings) -> Section {
    let names = |(trained, token): (&str, &'static str)| {
        let others = kinds(trained).map(|(kind, _)| format!("{trained}-{kind}"));
        std::iter::once(token.to_string()).chain(others).collect::<Vec<_>>()
    };
    let findings = TRAINED.iter().flat_map(|&(trained, token)| {
        kinds(trained).map(move |(kind, _)| {
            let name = format!("{trained}-{kind}");
            let claim = format!("{trained} trained: a {kind} gate in stage 2 is better than the token's");
            Finding::new(&claim, format!("{name} − {token}, mean"), found.difference(&name, token, &DOMAINS))
        })
    });
    let figure = |name, caption: &str, x, points: [(f64, &'static str); 3]| {
        let series = |(trained, token): (&str, &str)| {
            let point = |&(at, kind): &(f64, &str)| {
                let cell = if kind.is_empty() { token.to_string() } else { format!("{trained}-{kind}") };
                let seeds = found.accuracies(&cell, &DOMAINS);
                (!seeds.is_empty()).then(|| (at, Interval::of_mean(&seeds)))
            };
            Series { name: format!("{trained} trained"), points: points.iter().filter_map(point).collect() }
        };
        let ours = TRAINED.map(series).to_vec();
        Figure {
            name,
            caption: caption.into(),
            x,
            y: "mean of the three domains, %",
            scales: [Scale::Ratios, Scale::Linear],
            ours,
            paper: Vec::new(),
        }
    };
    Section {
        lead: vec![
            "mode-2x and mode-2x-frozen are as in table 1, with token gates. All have the same stage 1, with token gates at temperature 1: so sharp and \
             soft, temperatures 1/4 and 4, also begin stage 2 with logits four times as great or small, and sequence begins with weights that \
             read tokens. A top-k gate computes all branches and merges the best k, the backbone counted as one: keys and values of a skipped \
             token are there for those that come later. A gate that keeps one branch gets no gradient, for its weight is 1: all-top-1 trains \
             the experts under gates as they were composed."
                .into(),
        ],
        tables: vec![accuracies(found, TRAINED.into_iter().flat_map(names), &[Beside::Trained, Beside::Rate])],
        figures: vec![
            figure("q2-top", "Branches that a token keeps, of three.", "branches kept", [(1.0, "top-1"), (2.0, "top-2"), (3.0, "")]),
            figure("q2-temperature", "What logits are divided by.", "temperature", [(0.25, "sharp"), (1.0, ""), (4.0, "soft")]),
        ],
        findings: findings.collect(),
        ..Section::of(&EXPERIMENT)
    }
}
