//! Figure 3: what trainable parameters buy, and what examples do.
//!
//! Left, LoRA by rank (`table2.rs`) and one fresh expert by its size (`table3.rs`), both on Code alone. Right, LoRA and one fresh expert by
//! the number of examples of Code and Math, windows each; the paper's "same number of steps" can be read as the same number for every
//! point (`steps`), or as one pass over the examples (`pass`).

use super::{table2, table3};
use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::accuracy::{Beside, accuracies};
use crate::experiments::page::axis::Scale;
use crate::experiments::page::plot::{Figure, Series};
use crate::experiments::page::section::Section;
use crate::experiments::plan::methods::{ALL, LONG, base, lora, uninitialised};
use crate::experiments::plan::recipes::{MIXTURE, On};
use crate::experiments::plan::{Plan, RunIndex};
use crate::experiments::results::finding::Findings;
use crate::experiments::results::statistics::Interval;
use crate::model::ExpertInit;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "fig3",
    title: "Figure 3: parameters and examples",
    is_open: false,
    pilot: ["mode-steps-1000", "lora-steps-1000"],
    cells,
    timed: Vec::new,
    report,
};

/// Examples of each point, up to [`Settings::examples`](crate::experiments::Settings::examples).
const EXAMPLES: [usize; 9] = [100, 316, 1_000, 3_162, 10_000, 31_623, 100_000, 316_228, 1_000_000];

/// The paper's left panel: trained parameters and Code.
const PAPER_LORA: [(f64, f64); 8] = [
    (1.257e6, 76.015),
    (2.514e6, 76.167),
    (5.028e6, 76.509),
    (1.006e7, 76.245),
    (2.011e7, 76.247),
    (4.022e7, 76.05),
    (8.045e7, 75.844),
    (1.609e8, 76.037),
];
const PAPER_MODE: [(f64, f64); 3] = [(1.878e8, 77.169), (3.757e8, 77.513), (5.635e8, 77.958)];

/// Its right panel, by examples.
const PAPER_EXAMPLES: [f64; 5] = [160.0, 480.0, 1600.0, 4800.0, 16000.0];
const PAPER_RIGHT: [(&str, [f64; 5]); 2] =
    [("MoDE", [62.72, 65.06, 68.52, 73.32, 76.81]), ("LoRA", [64.46, 68.36, 71.24, 71.96, 72.08])];

/// Both methods, by the names of their cells.
const METHODS: [(&str, &str); 2] = [("MoDE", "mode"), ("LoRA", "lora")];

fn train(plan: &mut Plan, method: &str, on: On, rate: f64, steps: u64) -> Result<RunIndex, Error> {
    let shape = plan.shape(ExpertInit::Random);
    match method {
        "lora" => lora(plan, on, rate, steps),
        _ => uninitialised(plan, on, (1, shape), rate, steps),
    }
}

fn cells(plan: &mut Plan) -> Result<(), Error> {
    table2::sweep(plan, 0)?;
    table3::cells(plan)?;
    let (batch, stage, most) = (plan.settings().batch as u64, plan.settings().steps, plan.settings().examples);
    let wanted = EXAMPLES.into_iter().filter(|&examples| examples <= most);
    let points: Vec<usize> = wanted.filter(|&examples| plan.holds(examples, MIXTURE)).collect();
    for (reading, of) in ["steps", "pass"].into_iter().flat_map(|reading| METHODS.map(|(_, of)| (reading, of))) {
        let steps = |examples: usize| if reading == "steps" { LONG * stage } else { (examples as u64).div_ceil(batch) };
        for (place, &examples) in points.iter().enumerate() {
            let name = format!("{of}-{reading}-{examples}");
            let make = |plan: &mut Plan, seed: u64, rate: f64| {
                let on = On { examples, ..On::all(base(plan, seed)?, seed, MIXTURE) };
                Ok(vec![train(plan, of, on, rate, steps(examples))?])
            };
            // One pass over the most takes the longest by far: its rate is that of the next.
            if reading == "pass" && place > 0 && place + 1 == points.len() {
                let before = format!("{of}-{reading}-{}", points[place - 1]);
                let Some(rate) = plan.known_rate(&before) else { continue };
                plan.untuned(&name, &ALL, |plan, seed| make(plan, seed, rate))?;
            } else {
                plan.cells_best_at(&[1, 2], &name, &ALL, make)?;
            }
        }
    }
    Ok(())
}

fn report(found: &Findings) -> Section {
    let code = &DOMAINS[1..2];
    let by_size = |names: &[String]| {
        let point = |name: &String| {
            let trained = found.of(name).first()?.params_trained as f64;
            Some((trained, Interval::of_mean(&found.accuracies(name, code))))
        };
        let mut points: Vec<_> = names.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let ranks = table2::ranks(found.settings.width);
    let loras: Vec<String> = ranks.into_iter().map(|rank| table2::name(rank, "alpha-r")).collect();
    let loras_named: Vec<&str> = loras.iter().map(String::as_str).collect();
    let best_lora = found.best_of(&loras_named).unwrap_or_default();
    let left = Figure {
        name: "fig3-parameters",
        caption: "Code by trained parameters: LoRA of growing rank, and a fresh expert of growing size.".into(),
        x: "trained parameters",
        y: "next tokens of Code right, %",
        scales: [Scale::Ratios, Scale::Linear],
        ours: vec![
            Series { name: "MoDE".into(), points: by_size(&table3::shapes().map(table3::name)) },
            Series { name: "LoRA".into(), points: by_size(&loras) },
        ],
        paper: vec![Series::of_paper("MoDE", PAPER_MODE), Series::of_paper("LoRA", PAPER_LORA)],
    };
    let adapted = &DOMAINS[1..];
    let points: Vec<usize> =
        EXAMPLES.into_iter().filter(|examples| !found.of(&format!("mode-steps-{examples}")).is_empty()).collect();
    let right = |reading: &'static str, name, words: &str| {
        let series = |(label, of): (&str, &str)| {
            let point = |examples: usize| {
                let cell = format!("{of}-{reading}-{examples}");
                (examples as f64, Interval::of_mean(&found.accuracies(&cell, adapted)))
            };
            Series { name: label.into(), points: points.iter().copied().map(point).collect() }
        };
        Figure {
            name,
            caption: format!("The mean of Code and Math by examples, {words}."),
            x: "examples",
            y: "next tokens of Code and Math right, %",
            scales: [Scale::Ratios, Scale::Linear],
            ours: METHODS.map(series).to_vec(),
            paper: PAPER_RIGHT.map(|(name, y)| Series::of_paper(name, PAPER_EXAMPLES.into_iter().zip(y))).to_vec(),
        }
    };
    let claim = "The largest expert is better than LoRA of its best rank";
    let leads = found.finding(claim, Some(77.958 - 76.509), "6-2", best_lora, code);
    let mode_grows = found.finding("MoDE turns parameters into accuracy", Some(77.958 - 77.169), "6-2", "2-2", code);
    let mut findings = vec![mode_grows, leads];
    for reading in ["steps", "pass"] {
        let cell = |of: &str, examples: usize| format!("{of}-{reading}-{examples}");
        let few = format!("({reading}) LoRA leads with few examples");
        let many = format!("({reading}) MoDE leads with many");
        let [first, last] = [points.first(), points.last()].map(|point| point.copied().unwrap_or(0));
        findings.push(found.finding(&few, Some(64.46 - 62.72), &cell("lora", first), &cell("mode", first), adapted));
        findings.push(found.finding(&many, Some(76.81 - 72.08), &cell("mode", last), &cell("lora", last), adapted));
    }
    let of_right = ["steps", "pass"].into_iter().flat_map(|reading| {
        let of = |(_, of)| points.iter().map(move |examples| format!("{of}-{reading}-{examples}"));
        METHODS.into_iter().flat_map(of).collect::<Vec<_>>()
    });
    let tables = vec![accuracies(found, of_right, &[Beside::Rate])];
    Section {
        lead: vec![
            "Examples are windows drawn from all over the texts. The learning rate is the best at each point for what its figure shows, but of \
             one pass over the most examples it is that of the point before. Points by parameters are those of tables 2 and 3."
                .into(),
        ],
        tables,
        figures: vec![
            left,
            right("steps", "fig3-examples-steps", "the same number of steps for every point"),
            right("pass", "fig3-examples-pass", "one pass over the examples"),
        ],
        findings,
        ..Section::of(&EXPERIMENT)
    }
}
