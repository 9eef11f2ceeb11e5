//! Figure 5: how few examples of the mixture stage 2 needs, beside methods that have seen nothing else.

use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::accuracy::{Beside, accuracies};
use crate::experiments::page::axis::Scale;
use crate::experiments::page::plot::{Figure, Series};
use crate::experiments::page::section::Section;
use crate::experiments::plan::methods::{ALL, base, expert_rate, experts, full, lora, uninitialised};
use crate::experiments::plan::recipes::{MIXTURE, On, Stage};
use crate::experiments::plan::{Plan, RunIndex};
use crate::experiments::results::finding::Findings;
use crate::experiments::results::statistics::Interval;
use crate::model::ExpertInit;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "fig5",
    title: "Figure 5: examples of the mixture",
    is_open: false,
    pilot: ["frozen-30", "mode-30"],
    cells,
    timed: Vec::new,
    report,
};

/// Examples of each point, as in the paper.
const EXAMPLES: [usize; 5] = [30, 100, 300, 1_000, 3_000];

/// Names of cells and what figures call them.
const METHODS: [(&str, &str); 5] =
    [("mode", "MoDE"), ("frozen", "MoDE, frozen"), ("uninit", "MoDE, fresh"), ("lora", "LoRA"), ("full", "full")];

/// The paper's points: method, and Code, Math, English (Figure 5, its legend's names for ours).
const PAPER: [(&str, [[f64; 5]; 3]); 5] = [
    (
        "MoDE",
        [[53.04, 63.95, 74.11, 76.94, 77.21], [48.78, 54.69, 65.26, 67.04, 67.3], [28.99, 32.61, 47.77, 49.36, 49.47]],
    ),
    (
        "MoDE, frozen",
        [[72.94, 75.05, 75.46, 75.53, 75.56], [62.99, 64.76, 65.09, 65.16, 65.19], [46.84, 48.44, 48.78, 48.85, 48.88]],
    ),
    (
        "MoDE, fresh",
        [[57.21, 61.76, 70.28, 75.82, 75.92], [48.33, 51.94, 60.31, 65.83, 65.92], [29.02, 30.89, 40.33, 49.11, 49.29]],
    ),
    (
        "LoRA",
        [[69.62, 70.11, 71.72, 74.81, 75.84], [58.68, 59.08, 61.54, 65.2, 66.26], [40.02, 39.92, 41.79, 46.88, 48.43]],
    ),
    (
        "full",
        [[72.88, 75.77, 75.89, 76.55, 76.04], [62.81, 65.45, 65.68, 66.44, 66.43], [45.72, 47.91, 48.15, 48.66, 48.67]],
    ),
];

/// A point's cell.
fn name(method: &str, examples: usize) -> String {
    format!("{method}-{examples}")
}

fn cells(plan: &mut Plan) -> Result<(), Error> {
    let Some(of_experts) = expert_rate(plan)? else { return Ok(()) };
    let points: Vec<usize> = EXAMPLES.into_iter().filter(|&examples| plan.holds(examples, MIXTURE)).collect();
    for (method, _) in METHODS {
        for &examples in &points {
            plan.cells(&name(method, examples), &ALL, |plan, seed, rate| {
                train(plan, method, (seed, examples), rate, of_experts)
            })?;
        }
    }
    Ok(())
}

fn train(
    plan: &mut Plan,
    method: &str,
    (seed, examples): (u64, usize),
    rate: f64,
    of_experts: f64,
) -> Result<Vec<RunIndex>, Error> {
    let steps = plan.settings().steps;
    let on = On { examples, ..On::all(base(plan, seed)?, seed, MIXTURE) };
    let composed = |plan: &mut Plan, stage| {
        let mut runs = experts(plan, seed, of_experts)?;
        runs.push(plan.compose(on, &runs, stage, rate, steps)?);
        Ok(runs)
    };
    match method {
        "mode" => composed(plan, Stage::all()),
        "frozen" => composed(plan, Stage::gates()),
        "uninit" => {
            let shape = plan.shape(ExpertInit::Random);
            Ok(vec![uninitialised(plan, on, (2, shape), rate, steps)?])
        }
        "lora" => Ok(vec![lora(plan, on, rate, steps)?]),
        _ => Ok(vec![full(plan, on, rate, steps)?]),
    }
}

fn report(found: &Findings) -> Section {
    let figure = |place: usize, file, domain: &'static str| {
        let series = |(method, label): (&str, &str)| {
            let point = |examples: usize| {
                let seeds = found.accuracies(&name(method, examples), &[domain]);
                (!seeds.is_empty()).then(|| (examples as f64, Interval::of_mean(&seeds)))
            };
            Series { name: label.into(), points: EXAMPLES.into_iter().filter_map(point).collect() }
        };
        let paper = |(label, figures): (&str, [[f64; 5]; 3])| {
            Series::of_paper(label, EXAMPLES.map(|examples| examples as f64).into_iter().zip(figures[place]))
        };
        Figure {
            name: file,
            caption: format!("{domain} by examples of the mixture; S steps for every point."),
            x: "examples of the mixture",
            y: "next tokens right, %",
            scales: [Scale::Ratios, Scale::Linear],
            ours: METHODS.map(series).to_vec(),
            paper: PAPER.map(paper).to_vec(),
        }
    };
    let mean = |method: usize, point: usize| PAPER[method].1.iter().map(|figures| figures[point]).sum::<f64>() / 3.0;
    let find = |claim: &str, a: usize, b: usize, point: usize, domains: &[&str]| {
        let paper = match domains.len() {
            1 => PAPER[a].1[2][point] - PAPER[b].1[2][point],
            _ => mean(a, point) - mean(b, point),
        };
        let [a, b] = [a, b].map(|method| name(METHODS[method].0, EXAMPLES[point]));
        found.finding(claim, Some(paper), &a, &b, domains)
    };
    let names = METHODS.iter().flat_map(|(method, _)| EXAMPLES.map(|examples| name(method, examples)));
    Section {
        lead: vec![
            "All methods take S steps, so few examples are gone through many times; the learning rate is tuned at every point. Experts of \
             MoDE and its frozen variant come from stage 1, with all of their own domain, so beside methods that have seen nothing else they are \
             ahead by what that taught them; what the base knows is table 1's first row."
                .into(),
        ],
        tables: vec![accuracies(found, names, &[Beside::Rate])],
        figures: vec![
            figure(0, "fig5-code", DOMAINS[1]),
            figure(1, "fig5-math", DOMAINS[2]),
            figure(2, "fig5-english", DOMAINS[0]),
        ],
        findings: vec![
            find("With 30 examples frozen is better than MoDE", 1, 0, 0, &DOMAINS),
            find("With 30 examples frozen is better than full fine-tuning", 1, 4, 0, &DOMAINS),
            find("With 30 examples frozen is better than LoRA", 1, 3, 0, &DOMAINS),
            find("With 3,000 examples MoDE is better than frozen", 0, 1, 4, &DOMAINS),
            find("With 3,000 examples MoDE is better than full fine-tuning", 0, 4, 4, &DOMAINS),
            find("With 3,000 examples MoDE is better than fresh experts", 0, 2, 4, &DOMAINS),
            find("With 30 examples frozen keeps more English than MoDE", 1, 0, 0, &DOMAINS[..1]),
        ],
        ..Section::of(&EXPERIMENT)
    }
}
