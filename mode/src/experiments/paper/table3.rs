//! Table 3: how many blocks and how many layers a block, of one fresh expert on Code.

use crate::Error;
use crate::data::DOMAINS;
use crate::experiments::Experiment;
use crate::experiments::page::section::{ACCURACY, Section, Table};
use crate::experiments::plan::Plan;
use crate::experiments::plan::methods::{ALL, base, uninitialised};
use crate::experiments::plan::recipes::{CODE, On, Shape};
use crate::experiments::results::finding::Findings;
use crate::model::ExpertInit;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "table3",
    title: "Table 3: blocks and layers of an expert",
    is_open: false,
    pilot: ["6-2", "2-1"],
    cells,
    timed: Vec::new,
    report,
};

/// The paper's rows: blocks, layers a block; Code and English.
const PAPER: [([usize; 2], [f64; 2]); 6] = [
    ([2, 1], [76.98, 47.87]),
    ([2, 2], [77.17, 47.86]),
    ([3, 1], [77.26, 47.49]),
    ([3, 2], [77.51, 47.95]),
    ([6, 1], [77.79, 47.61]),
    ([6, 2], [77.96, 47.65]),
];

/// A shape's cell.
pub(crate) fn name([blocks, layers]: [usize; 2]) -> String {
    format!("{blocks}-{layers}")
}

/// The shapes.
pub(crate) fn shapes() -> [[usize; 2]; 6] {
    PAPER.map(|(shape, _)| shape)
}

pub(crate) fn cells(plan: &mut Plan) -> Result<(), Error> {
    let steps = plan.settings().steps;
    let all = plan.settings().layers;
    for [blocks, layers] in shapes() {
        if !all.is_multiple_of(blocks) {
            plan.leave_out(format!(
                "{} is left out: {blocks} blocks do not divide {all} layers.",
                name([blocks, layers])
            ));
            continue;
        }
        plan.cells_best_at(&[1], &name([blocks, layers]), &ALL, |plan, seed, rate| {
            let shape = Shape { blocks, layers, ..plan.shape(ExpertInit::Random) };
            let on = On::all(base(plan, seed)?, seed, CODE);
            Ok(vec![uninitialised(plan, on, (1, shape), rate, steps)?])
        })?;
    }
    plan.untuned("base", &ALL, |plan, seed| Ok(vec![base(plan, seed)?]))
}

fn report(found: &Findings) -> Section {
    let row = |(shape, [code, english]): &([usize; 2], [f64; 2])| {
        let name = name(*shape);
        let trained = found.of(&name).first()?.params_trained;
        let [of_code, of_english] = [&DOMAINS[1..2], &DOMAINS[..1]].map(|domains| found.percent(&name, domains));
        let ours = [trained.to_string(), found.rate(&name), of_code, of_english];
        let words = [shape[0].to_string(), shape[1].to_string()].into_iter();
        Some(words.chain(ours).chain([format!("{code:.2}"), format!("{english:.2}")]).collect())
    };
    let code = &DOMAINS[1..2];
    let find = |claim: &str, a: usize, b: usize| {
        let paper = Some(PAPER[a].1[0] - PAPER[b].1[0]);
        found.finding(claim, paper, &name(PAPER[a].0), &name(PAPER[b].0), code)
    };
    let [smallest, largest] = [0, 5].map(|row| name(PAPER[row].0));
    let english = "The smallest expert keeps more English than the largest (flat there)";
    let base = ["base", "", "", "", &found.percent("base", code), &found.percent("base", &DOMAINS[..1]), "", ""]
        .map(String::from);
    let head = ["Blocks", "Layers a block", "Trained", "Rate", "Code", "English", "Code there", "English there"];
    Section {
        lead: vec!["One fresh expert on Code alone, S steps, at the rate that is best for Code.".into()],
        tables: vec![Table {
            caption: format!("{ACCURACY}; there: the paper's"),
            head: head.map(String::from).to_vec(),
            rows: std::iter::once(base.to_vec()).chain(PAPER.iter().filter_map(row)).collect(),
        }],
        findings: vec![
            find("The largest expert is better than the smallest", 5, 0),
            find("Six blocks are better than two, with one layer each", 4, 0),
            find("Six blocks are better than two, with two layers each", 5, 1),
            find("As many layers in more blocks are better", 4, 3),
            find("Two layers a block are better than one, in two blocks", 1, 0),
            find("Two layers a block are better than one, in six blocks", 5, 4),
            found.finding(english, None, &smallest, &largest, &DOMAINS[..1]),
        ],
        ..Section::of(&EXPERIMENT)
    }
}
