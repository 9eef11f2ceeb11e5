//! Question 1, which the paper leaves open: does it hold for more experts than two?
//!
//! The first n of ten domains: Math, and Rust by what it is for (`topics.rs`). Each has an expert of S steps; `many-n` composes n of
//! them and trains experts and gates on all n in equal shares, `many-n-frozen` gates alone, `many-n-joined` nothing, `many-n-full` all
//! weights of the base, and `many-n-full-long` these for as many steps as the n + 1 stages of `many-n` together. `alone-DOMAIN` is an expert
//! as stage 1 left it: what joining others costs it on its own domain is the difference to that.

use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::axis::Scale;
use crate::experiments::page::plot::{Figure, Series};
use crate::experiments::page::section::{ACCURACY, Section, Table};
use crate::experiments::plan::methods::{base, expert_rate, full};
use crate::experiments::plan::recipes::{On, Stage};
use crate::experiments::plan::topics;
use crate::experiments::plan::{Plan, RunIndex};
use crate::experiments::results::finding::{Finding, Findings};
use crate::experiments::results::numbers::percent;
use crate::experiments::results::statistics::{Interval, mean};
use crate::model::ExpertInit;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "q1",
    title: "Question 1: two, five and ten experts",
    is_open: true,
    pilot: ["many-2", "many-2-full"],
    cells,
    timed: Vec::new,
    report,
};

/// How many experts.
const COUNTS: [usize; 3] = [2, 5, 10];

/// Number of Math among the domains, the first that has an expert.
const MATH: usize = 2;

/// The domains in the order in which experts join.
fn domain_names() -> Vec<&'static str> {
    std::iter::once(DOMAINS[MATH]).chain(topics::names()).collect()
}

fn name(count: usize, kind: &str) -> String {
    format!("many-{count}{kind}")
}

fn alone(domain: &str) -> String {
    format!("alone-{domain}")
}

fn cells(plan: &mut Plan) -> Result<(), Error> {
    let steps = plan.settings().steps;
    let numbers: Vec<usize> = std::iter::once(MATH).chain(plan.setup.topics()?).collect();
    let Some(of_experts) = expert_rate(plan)? else { return Ok(()) };
    let expert = |plan: &mut Plan, seed, domain| -> Result<RunIndex, Error> {
        let (base, shape) = (base(plan, seed)?, plan.shape(ExpertInit::Copy));
        plan.expert(On::all(base, seed, &[(domain, 1.0)]), shape, of_experts, steps)
    };
    for (&domain, name) in numbers.iter().zip(domain_names()) {
        plan.untuned(&alone(name), &[0, domain], |plan, seed| {
            let (base, expert) = (base(plan, seed)?, expert(plan, seed, domain)?);
            let composed = plan.compose(On::all(base, seed, &[]), &[expert], Stage::gates(), of_experts, 0)?;
            Ok(vec![expert, composed])
        })?;
    }
    for count in COUNTS {
        let mixture: Vec<(usize, f64)> = numbers[..count].iter().map(|&domain| (domain, 1.0 / count as f64)).collect();
        let measured: Vec<usize> = std::iter::once(0).chain(numbers[..count].iter().copied()).collect();
        for (kind, stage) in [("", Stage::all()), ("-frozen", Stage::gates())] {
            plan.cells(&name(count, kind), &measured, |plan, seed, rate| {
                let of = numbers[..count].iter().map(|&domain| expert(plan, seed, domain));
                let mut runs = of.collect::<Result<Vec<_>, _>>()?;
                let on = On::all(base(plan, seed)?, seed, &mixture);
                runs.push(plan.compose(on, &runs, stage, rate, steps)?);
                Ok(runs)
            })?;
        }
        plan.untuned(&name(count, "-joined"), &measured, |plan, seed| {
            let of = numbers[..count].iter().map(|&domain| expert(plan, seed, domain));
            let mut runs = of.collect::<Result<Vec<_>, _>>()?;
            let on = On::all(base(plan, seed)?, seed, &[]);
            runs.push(plan.compose(on, &runs, Stage::gates(), of_experts, 0)?);
            Ok(runs)
        })?;
        for (kind, stages) in [("-full", 1), ("-full-long", count as u64 + 1)] {
            plan.cells(&name(count, kind), &measured, |plan, seed, rate| {
                let on = On::all(base(plan, seed)?, seed, &mixture);
                Ok(vec![full(plan, on, rate, stages * steps)?])
            })?;
        }
    }
    Ok(())
}

/// What is compared, by what figures call it and the ends of its cells' names.
const KINDS: [(&str, &str); 5] = [
    ("MoDE", ""),
    ("MoDE, frozen", "-frozen"),
    ("MoDE, joined", "-joined"),
    ("full", "-full"),
    ("full, as many steps", "-full-long"),
];

fn report(found: &Findings) -> Section {
    let names = domain_names();
    // The mean over the domains of each seed's expert alone, of as many seeds as all have.
    let of_alone = |count: usize, domain: Option<&str>| {
        let by_domain: Vec<Vec<f64>> =
            names[..count].iter().map(|name| found.accuracies(&alone(name), &[domain.unwrap_or(name)])).collect();
        let seeds = by_domain.iter().map(Vec::len).min().unwrap_or(0);
        (0..seeds).map(|seed| mean(&by_domain.iter().map(|of| of[seed]).collect::<Vec<_>>())).collect::<Vec<_>>()
    };
    let figure = |name, caption: &str, y, english: bool| {
        let of = |count: usize, kind: &str| match english {
            true => found.accuracies(&self::name(count, kind), &DOMAINS[..1]),
            false => found.accuracies(&self::name(count, kind), &names[..count]),
        };
        let series = |(label, kind): (&str, &str)| Series {
            name: label.into(),
            points: COUNTS.map(|count| (count as f64, Interval::of_mean(&of(count, kind)))).to_vec(),
        };
        let single =
            COUNTS.map(|count| (count as f64, Interval::of_mean(&of_alone(count, english.then_some(DOMAINS[0])))));
        let single = Series { name: "experts alone".into(), points: single.to_vec() };
        let ours = KINDS.map(series).into_iter().chain([single]).collect();
        Figure {
            name,
            caption: caption.into(),
            x: "experts and domains",
            y,
            scales: [Scale::Linear, Scale::Linear],
            ours,
            paper: Vec::new(),
        }
    };
    let rows = COUNTS.iter().flat_map(|&count| KINDS.map(|(_, kind)| (count, kind))).map(|(count, kind)| {
        let cell = name(count, kind);
        let trained = found.of(&cell).first().map_or(0, |line| line.params_trained);
        let [own, english] = [&names[..count], &DOMAINS[..1]].map(|on| found.percent(&cell, on));
        let rate = found.rate(&cell);
        vec![cell, trained.to_string(), rate, own, english]
    });
    let rows = rows.chain(COUNTS.iter().map(|&count| {
        let [own, english] = [None, Some(DOMAINS[0])].map(|on| percent(Interval::of_another(&of_alone(count, on))));
        vec![format!("the {count} alone"), "–".into(), "–".into(), own, english]
    }));
    let mut findings = Vec::new();
    for count in COUNTS {
        let compare = |claim: &str, a: &str, b: &str, on: &[&str], words: &str| {
            let [a, b] = [a, b].map(|kind| name(count, kind));
            Finding::new(
                &format!("{count} experts: {claim}"),
                format!("{a} − {b}, {words}"),
                found.difference(&a, &b, on),
            )
        };
        let own = &names[..count];
        findings.push(compare("MoDE is better on its domains than full fine-tuning", "", "-full", own, "its domains"));
        findings.push(compare("(as many steps) MoDE is better on its domains", "", "-full-long", own, "its domains"));
        findings.push(compare("MoDE keeps more English than full fine-tuning", "", "-full", &DOMAINS[..1], DOMAINS[0]));
        findings.push(compare("(as many steps) MoDE keeps more English", "", "-full-long", &DOMAINS[..1], DOMAINS[0]));
        let experts: Vec<String> = own.iter().map(|domain| alone(domain)).collect();
        for (kind, words) in [("-joined", "joined"), ("", "composed and trained S steps more")] {
            let composed = name(count, kind);
            let pairs: Vec<(&str, &str, &str)> =
                own.iter().zip(&experts).map(|(domain, alone)| (composed.as_str(), alone.as_str(), *domain)).collect();
            let claim = format!("{count} experts: {words} they know each domain better than its expert alone");
            let compared = format!("{composed} − alone, each on its own");
            findings.push(Finding::new(&claim, compared, found.difference_over(&pairs)));
        }
    }
    Section {
        lead: vec![format!(
            "The first n of {}: an expert each, of S steps, composed; joined: before stage 2. Own: the mean accuracy over the n domains; with n \
             the domains change, and English counts for one in n + 1 where rates are tuned, so rows compare within one n.",
            names.join(", ")
        )],
        tables: vec![Table {
            caption: ACCURACY.into(),
            head: ["Cell", "Trained last", "Rate", "Own", "English"].map(String::from).to_vec(),
            rows: rows.collect(),
        }],
        figures: vec![
            figure("q1-own", "The mean over the first n domains.", "next tokens right, %", false),
            figure(
                "q1-english",
                "English, which none of them was trained on.",
                "next tokens of English right, %",
                true,
            ),
        ],
        findings,
        ..Section::of(&EXPERIMENT)
    }
}
