//! Question 3, which the paper leaves open: very small and very large data.
//!
//! Code alone: an expert that starts as a copy, LoRA, one of as many parameters as the expert, and all weights, on 10 to 1,000 examples
//! (windows drawn from all over the text) in S steps each, and on all there is in one pass: the built-in text's 8,000 windows, a million
//! tokens, at the rate of 1,000 examples. A pass is as many steps as the text has batches, so its point has more steps as well as more
//! examples.

use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::axis::Scale;
use crate::experiments::page::plot::{Figure, Series};
use crate::experiments::page::section::{ACCURACY, Section, Table};
use crate::experiments::plan::methods::{ALL, base, full, large_lora, lora};
use crate::experiments::plan::recipes::{CODE, On, Stage};
use crate::experiments::plan::{Plan, RunIndex};
use crate::experiments::results::finding::{Finding, Findings};
use crate::experiments::results::statistics::Interval;
use crate::model::ExpertInit;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "q3",
    title: "Question 3: very few and very many examples of one domain",
    is_open: true,
    pilot: ["code-expert-1000", "code-full-1000"],
    cells,
    timed: Vec::new,
    report,
};

/// Examples of each point but the last.
const EXAMPLES: [usize; 3] = [10, 100, 1_000];

/// The model that all adapt.
const BASE: &str = "base";

/// The last point's name.
const PASS: &str = "pass";

/// How cells' names begin, and what figures call them.
const METHODS: [(&str, &str); 4] =
    [("expert", "MoDE, one expert"), ("lora", "LoRA"), ("lora-large", "LoRA, as large"), ("full", "full")];

fn name(method: &str, point: impl std::fmt::Display) -> String {
    format!("code-{method}-{point}")
}

/// Names of the points.
fn points() -> Vec<String> {
    EXAMPLES.iter().map(ToString::to_string).chain([PASS.to_string()]).collect()
}

fn train(plan: &mut Plan, method: &str, on: On, rate: f64, steps: u64) -> Result<Vec<RunIndex>, Error> {
    Ok(match method {
        "lora" => vec![lora(plan, on, rate, steps)?],
        "lora-large" => vec![large_lora(plan, on, 1, rate, steps)?],
        "full" => vec![full(plan, on, rate, steps)?],
        _ => {
            let expert = plan.expert(on, plan.shape(ExpertInit::Copy), rate, steps)?;
            vec![expert, plan.compose(on, &[expert], Stage::gates(), rate, 0)?]
        }
    })
}

fn cells(plan: &mut Plan) -> Result<(), Error> {
    let s = plan.settings();
    let windows = (plan.setup.domain(1).trained_on / (s.length + 1)).min(s.examples);
    let pass = windows.div_ceil(s.batch) as u64;
    plan.untuned(BASE, &ALL, |plan, seed| Ok(vec![base(plan, seed)?]))?;
    for (method, _) in METHODS {
        for examples in EXAMPLES {
            if !plan.holds(examples, CODE) {
                continue;
            }
            plan.cells_best_at(&[1], &name(method, examples), &ALL, |plan, seed, rate| {
                let on = On { examples, ..On::all(base(plan, seed)?, seed, CODE) };
                train(plan, method, on, rate, s.steps)
            })?;
        }
        let most = EXAMPLES[EXAMPLES.len() - 1];
        let Some(rate) = plan.known_rate(&name(method, most)).filter(|_| plan.holds(most, CODE)) else { continue };
        plan.untuned(&name(method, PASS), &ALL, |plan, seed| {
            let on = On::all(base(plan, seed)?, seed, CODE);
            train(plan, method, on, rate, pass)
        })?;
    }
    Ok(())
}

fn report(found: &Findings) -> Section {
    // Where the points lie: as many windows as were seen, where each was seen once.
    let at = |point: &str| {
        let seen = || found.of(&name("full", PASS)).first().map_or(1, |line| line.tokens_seen) as f64;
        point.parse().unwrap_or_else(|_| seen() / found.settings.length as f64)
    };
    let figure = |file, domain: &'static str| {
        let series = |(method, label): (&str, &str)| {
            let point =
                |point: &String| (at(point), Interval::of_mean(&found.accuracies(&name(method, point), &[domain])));
            let is_there = |point: &&String| !found.of(&name(method, point)).is_empty();
            Series { name: label.into(), points: points().iter().filter(is_there).map(point).collect() }
        };
        Figure {
            name: file,
            caption: format!(
                "{domain} by examples of Code; S steps, but for the last point, which is one pass over all."
            ),
            x: "examples of Code",
            y: "next tokens right, %",
            scales: [Scale::Ratios, Scale::Linear],
            ours: METHODS.map(series).to_vec(),
            paper: Vec::new(),
        }
    };
    let row = |name: String| {
        let of = |domains: &[&str]| found.percent(&name, domains);
        let trained = found.of(&name).first().map_or(0, |line| line.params_trained).to_string();
        vec![name.clone(), trained, found.rate(&name), of(&DOMAINS[1..2]), of(&DOMAINS[..1])]
    };
    let cells = METHODS.iter().flat_map(|(method, _)| points().into_iter().map(move |point| name(method, point)));
    let few = points();
    let compare = |claim: &str, a: &str, b: &str, point: &str, domain: usize| {
        let [a, b] = [a, b].map(|method| if method == BASE { BASE.into() } else { name(method, point) });
        let (domains, words) = (&DOMAINS[domain..=domain], DOMAINS[domain]);
        Finding::new(&format!("{point}: {claim}"), format!("{a} − {b}, {words}"), found.difference(&a, &b, domains))
    };
    let findings = few.iter().flat_map(|point| {
        [
            compare("an expert knows more Code than base", "expert", BASE, point, 1),
            compare("LoRA knows more Code than base", "lora", BASE, point, 1),
            compare("full fine-tuning knows more Code than base", "full", BASE, point, 1),
            compare("an expert learns more Code than LoRA", "expert", "lora", point, 1),
            compare("an expert learns more Code than LoRA as large", "expert", "lora-large", point, 1),
            compare("an expert learns more Code than full fine-tuning", "expert", "full", point, 1),
            compare("an expert keeps more English than LoRA", "expert", "lora", point, 0),
            compare("an expert keeps more English than LoRA as large", "expert", "lora-large", point, 0),
            compare("an expert keeps more English than full fine-tuning", "expert", "full", point, 0),
        ]
    });
    Section {
        lead: vec![format!(
            "One expert as stage 1 leaves it, LoRA, one beside feed-forward too that trains as many parameters as the expert, and full \
                 fine-tuning, on Code alone, at the rate that is best for Code. Of few examples each is seen many times in {} steps; one pass over \
                 all there is has the rate of 1,000 examples, and more steps than they.",
            found.settings.steps
        )],
        tables: vec![Table {
            caption: ACCURACY.into(),
            head: ["Cell", "Trained", "Rate", "Code", "English"].map(String::from).to_vec(),
            rows: std::iter::once(BASE.to_string())
                .chain(cells)
                .filter(|name| !found.of(name).is_empty())
                .map(row)
                .collect(),
        }],
        figures: vec![figure("q3-code", DOMAINS[1]), figure("q3-english", DOMAINS[0])],
        findings: findings.collect(),
        ..Section::of(&EXPERIMENT)
    }
}
