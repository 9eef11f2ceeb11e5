//! Table 2: LoRA on Code, by its rank and by what it stands beside.
//!
//! Ranks are the paper's as shares of the width, from 8/1536 to 2048/1536. The paper does not say alpha; three rules are tried, with
//! the factor alpha / r on B A: alpha = r (factor 1), alpha = 16 whatever the rank, and alpha = √r. Every point has a learning rate of its
//! own; `at-RATE` has one for all ranks and alpha = r, as the paper has 1e-3 for all that it trains.

use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::section::{ACCURACY, Section, Table};
use crate::experiments::plan::Plan;
use crate::experiments::plan::methods::{ALL, base};
use crate::experiments::plan::recipes::{CODE, On};
use crate::experiments::results::finding::Findings;
use crate::model::Adapted;
use crate::train::LoraSettings;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "table2",
    title: "Table 2: LoRA by rank and by what it stands beside",
    is_open: false,
    pilot: ["on-embedding", "on-attention"],
    cells,
    timed: Vec::new,
    report,
};

/// The paper's ranks (8, 64, 256, 1024, 2048 of 1,536) as shares of the width.
const SHARES: [f64; 5] = [8.0 / 1536.0, 64.0 / 1536.0, 256.0 / 1536.0, 1024.0 / 1536.0, 2048.0 / 1536.0];

/// The paper's rows for these ranks: Code and English (Table 2).
const PAPER: [(usize, [f64; 2]); 5] =
    [(8, [76.02, 48.76]), (64, [76.25, 48.25]), (256, [76.05, 46.62]), (1024, [76.04, 43.91]), (2048, [66.55, 32.27])];

/// Its rows of rank 16 for what is adapted.
const PAPER_ADAPTED: [(&str, [f64; 2]); 3] =
    [("attention", [76.17, 48.64]), ("+ FFN", [76.44, 47.78]), ("+ FFN + embedding", [76.23, 47.04])];

/// Alpha of a rank.
type Rule = fn(f64) -> f64;

/// How alpha follows the rank.
const RULES: [(&str, Rule); 3] = [("alpha-r", |rank| rank), ("alpha-16", |_| 16.0), ("alpha-root", f64::sqrt)];

/// Rates that all ranks have, by how cells name them.
const RATES: [(&str, f64); 3] = [("at-1e-3", 1e-3), ("at-3e-3", 3e-3), ("at-1e-2", 1e-2)];

/// What is adapted, at [`Settings::rank`](crate::experiments::Settings::rank).
const ADAPTED: [(&str, Adapted); 3] =
    [("attention", Adapted::Attention), ("feed-forward", Adapted::FeedForward), ("embedding", Adapted::Embedding)];

/// Ranks of a width.
pub(crate) fn ranks(width: usize) -> Vec<usize> {
    SHARES.iter().map(|share| ((share * width as f64).round() as usize).max(1)).collect()
}

/// A LoRA's cell.
pub(crate) fn name(rank: usize, rule: &str) -> String {
    format!("r{rank}-{rule}")
}

/// Cells of all ranks by one rule, each with a rate of its own.
pub(crate) fn sweep(plan: &mut Plan, rule: usize) -> Result<(), Error> {
    let (word, alpha) = RULES[rule];
    for rank in ranks(plan.settings().width) {
        let lora = LoraSettings { rank, alpha: alpha(rank as f64), adapted: Adapted::Attention };
        one(plan, &name(rank, word), lora)?;
    }
    Ok(())
}

fn one(plan: &mut Plan, name: &str, lora: LoraSettings) -> Result<(), Error> {
    let steps = plan.settings().steps;
    plan.cells_best_at(&[1], name, &ALL, |plan, seed, rate| {
        let on = On::all(base(plan, seed)?, seed, CODE);
        Ok(vec![plan.lora(on, lora.clone(), rate, steps)?])
    })
}

fn cells(plan: &mut Plan) -> Result<(), Error> {
    for rule in 0..RULES.len() {
        sweep(plan, rule)?;
    }
    let (rank, steps) = (plan.settings().rank, plan.settings().steps);
    for (word, adapted) in ADAPTED {
        one(plan, &format!("on-{word}"), LoraSettings { rank, alpha: rank as f64, adapted })?;
    }
    for (word, rate) in RATES {
        for rank in ranks(plan.settings().width) {
            plan.untuned(&name(rank, word), &ALL, |plan, seed| {
                let lora = LoraSettings { rank, alpha: rank as f64, adapted: Adapted::Attention };
                let on = On::all(base(plan, seed)?, seed, CODE);
                Ok(vec![plan.lora(on, lora, rate, steps)?])
            })?;
        }
    }
    plan.untuned("base", &ALL, |plan, seed| Ok(vec![base(plan, seed)?]))
}

fn report(found: &Findings) -> Section {
    let ranks = ranks(found.settings.width);
    let [smallest, large, largest] = [ranks[0], ranks[3], ranks[4]];
    let words: Vec<&str> = RULES.iter().map(|(word, _)| *word).chain(RATES.iter().map(|(word, _)| *word)).collect();
    let row = |name: String| {
        let of = |domains: &[&str]| found.percent(&name, domains);
        vec![name.clone(), found.rate(&name), of(&DOMAINS[1..2]), of(&DOMAINS[..1])]
    };
    let mut rows = vec![row("base".into())];
    rows.extend(words.iter().flat_map(|word| ranks.iter().map(move |&rank| name(rank, word))).map(row));
    rows.extend(ADAPTED.map(|(word, _)| row(format!("on-{word}"))));
    let mut findings = Vec::new();
    for word in &words {
        let english = format!("({word}) English falls from the smallest rank to the largest");
        let (a, b) = (name(smallest, word), name(largest, word));
        findings.push(found.finding(&english, Some(48.76 - 32.27), &a, &b, &DOMAINS[..1]));
        let code = format!("({word}) Code collapses at the largest rank");
        findings.push(found.finding(&code, Some(76.04 - 66.55), &name(large, word), &b, &DOMAINS[1..2]));
        let gains = format!("({word}) Code gains from more rank, up to the largest but one (flat there)");
        findings.push(found.finding(&gains, None, &name(large, word), &a, &DOMAINS[1..2]));
    }
    let feed = "The feed-forward as well gains Code";
    findings.push(found.finding(feed, Some(0.27), "on-feed-forward", "on-attention", &DOMAINS[1..2]));
    let loses = "The feed-forward as well loses English";
    findings.push(found.finding(loses, Some(0.86), "on-attention", "on-feed-forward", &DOMAINS[..1]));
    let embedding = "The embedding as well loses Code";
    findings.push(found.finding(embedding, Some(0.21), "on-feed-forward", "on-embedding", &DOMAINS[1..2]));
    let english = "The embedding as well loses English";
    findings.push(found.finding(english, Some(0.74), "on-feed-forward", "on-embedding", &DOMAINS[..1]));
    let heads = ["Cell", "Rate", "Code", "English"].map(String::from).to_vec();
    let paper = PAPER.iter().map(|(rank, figures)| (format!("rank {rank}"), figures));
    let paper = paper.chain(PAPER_ADAPTED.iter().map(|(word, figures)| (format!("rank 16, {word}"), figures)));
    let paper =
        paper.map(|(name, [code, english])| vec![name, format!("{code:.2}"), format!("{english:.2}")]).collect();
    Section {
        lead: vec![
            "LoRA on Code alone, S steps, at the rate that is best for Code. The rank is the paper's as a share of the width; alpha is not said there. at-1e-3 and so on: all \
             ranks at one learning rate, alpha = r; the paper has 1e-3 for all that it trains."
                .into(),
        ],
        tables: vec![
            Table { caption: ACCURACY.into(), head: heads, rows },
            Table {
                caption: "The paper's (width 1,536)".into(),
                head: ["Rank", "Code", "English"].map(String::from).to_vec(),
                rows: paper,
            },
        ],
        findings,
        ..Section::of(&EXPERIMENT)
    }
}
