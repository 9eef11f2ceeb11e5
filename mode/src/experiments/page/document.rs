//! `README.md` and `report.html`: what all experiments have found so far, with where and by what; and `reported.csv`, the figures of single
//! seeds that they are made of.

use super::section::Section;
use super::summary::{SUMMARY, summary};
use crate::experiments::lab::Lab;
use crate::experiments::plan::Cell;
use crate::experiments::plan::base::Base;
use crate::experiments::plan::setup::Setup;
use crate::experiments::results::finding::Findings;
use crate::experiments::results::statistics::CONFIDENCE;
use crate::experiments::results::{Line, Results, Score, tuned};
use crate::experiments::{ALL, Experiment, VERSION};
use crate::report::{PageSection, around, environment, escape};
use crate::train::PRETRAIN_RATE;
use crate::{Error, files, folders};
use std::path::Path;
use std::process::Command;

/// What stands above the sections.
const LEAD: &str = "The experiments of Modular Domain Experts (arXiv 2410.10181), rerun at small scale: the paper's figures beside ours, and \
    of each of its findings whether it is reproduced, contradicted, or too small for this design to tell.";

/// What words mean on the page.
const WORDS: [&str; 3] = [
    "Accuracy is the share of next tokens predicted right, a point one per cent of all; loss is the mean of -ln of what the right one was \
     given, in nats. A seed makes other weights and another order of the data, and another base where none is given; two methods are \
     compared seed by seed, so a difference can be surer than the figures that it is of, or than bars of figures, which are of each method \
     alone. Stage 1 trains an expert alone beside the frozen base, stage 2 experts that are composed, on a mixture; S is the steps of \
     either. A block is some layers of the base, with its experts' layers and a gate. A rate is the greatest of a run's learning rates; \
     composed experts have one for each stage, or one for both where a single one stands. Trained last: parameters that the last stage trains.",
    "Tables of differences. There: the paper's. Here: ours, with 95 % intervals over seeds and text. A claim that the paper makes in numbers \
     is reproduced where the interval lies on the paper's side of zero, however much greater or smaller the difference is than there; not \
     reproduced where it lies on the other side; and below what we can detect where it holds zero: there may be no difference, or one as \
     great as the interval reaches. To claims of ours the answer is yes or no. Loss: the same difference in nats, over seeds alone; below \
     zero the first is better, so where it is above zero beside a yes the two measures disagree. Detectable: what this design finds four \
     times in five. Seeds: how many are needed to find a difference as great as ours so often, if any number is.",
    "p: how likely so great a difference is where there is none; * where it is none of chance beside all others of its table (Holm, 5 %). \
     Learning rates were chosen with one seed, which no interval knows of.",
];

/// What the built-in texts are.
const BUILT_IN: &str = "English: documentation of the packages that this program is built of; Code: their Rust; Math: word problems that a \
    program makes; others: Rust of some of the packages";

/// The files.
const PAGE: &str = "README.md";
const REPORT: &str = "report.html";
const REPORTED: &str = "reported.csv";

/// How the page begins.
const TITLE: &str = "# Experiments\n";

/// An error if a folder has a page that is none of experiments.
pub(crate) fn refuse_other(root: &Path) -> Result<(), Error> {
    let [page, report, reported] = [PAGE, REPORT, REPORTED].map(|name| root.join(name));
    let begins = |file: &Path, with: &str| files::read_text(file).is_ok_and(|text| text.starts_with(with));
    let is_ours = begins(&page, TITLE);
    let files = [(&page, is_ours), (&report, is_ours), (&reported, begins(&reported, COLUMNS))];
    match files.into_iter().find(|(file, is_ours)| file.exists() && !is_ours) {
        Some((path, _)) => {
            Err(Error::content(path, "is none of `mode experiment`, which would replace it; choose another --out"))
        }
        None => Ok(()),
    }
}

/// Writes all three, of all experiments whose results are whole.
///
/// # Errors
/// A file that can't be written.
pub(crate) fn write(lab: &Lab, setup: &Setup, results: &Results) -> Result<(), Error> {
    let parts: Vec<Part> = ALL.iter().filter_map(|experiment| part(lab, experiment, setup, results)).collect();
    let sections: Vec<(&str, &Section)> = parts.iter().map(|part| (part.experiment.name, &part.section)).collect();
    let summary = summary(&sections);
    let mut facts = facts(setup, results);
    let is_here = |name: &str| sections.iter().any(|(of, _)| *of == name);
    let lacking: Vec<&str> = ALL.iter().map(|experiment| experiment.name).filter(|name| !is_here(name)).collect();
    if !lacking.is_empty() {
        facts.push(("not here".into(), lacking.join(", ")));
    }
    let mut text = format!("{TITLE}\n{LEAD}\n\n");
    WORDS.iter().for_each(|paragraph| text.push_str(&format!("{paragraph}\n\n")));
    facts.iter().for_each(|(name, value)| text.push_str(&format!("- {name}: {value}\n")));
    for section in std::iter::once(&summary).chain(parts.iter().map(|part| &part.section)) {
        text.push_str(&format!("\n{}\n", section.markdown().trim_end()));
    }
    files::write(&lab.root.join(PAGE), text)?;
    let rows: String = parts.iter().map(|part| part.rows.as_str()).collect();
    files::write(&lab.root.join(REPORTED), format!("{COLUMNS}{rows}"))?;
    let folder = lab.root.join("figures");
    folders::create(&folder)?;
    for figure in parts.iter().flat_map(|part| &part.section.figures) {
        files::write(&folder.join(format!("{}.svg", figure.name)), figure.svg()?)?;
    }
    files::write(&lab.root.join(REPORT), html(&parts, &summary, &facts)?)?;
    lab.say(&format!("{0}/{PAGE}, {REPORT} and {REPORTED} written", lab.root.display()));
    Ok(())
}

/// An experiment's part of the page, and its rows of `reported.csv`.
struct Part {
    experiment: &'static Experiment,
    section: Section,
    rows: String,
}

/// That of an experiment whose results are whole; of one that was measured otherwise it is said why there is none.
fn part(lab: &Lab, experiment: &'static Experiment, setup: &Setup, results: &Results) -> Option<Part> {
    // Others may have their figures all the same, but need texts that no one has asked for.
    if !results.is_tested(experiment.name) {
        return None;
    }
    // What this command was not asked for must not end it.
    let plan = match tuned::plan(experiment, setup, results) {
        Ok(plan) if lab.left(&plan, results, |_| true).cells.is_empty() => plan,
        why => {
            let why = match why {
                Ok(_) => format!(
                    "it is not whole, or was measured with other settings, cells or learning rates than these; mode experiment {} carries it \
                     out, with --again if it is to look at its test text once more",
                    experiment.name
                ),
                Err(error) => error.to_string(),
            };
            lab.warn(&format!("{} is not on the page: {why}", experiment.name));
            return None;
        }
    };
    let found = Findings::of_plan(&plan, results);
    let rows = found
        .reported()
        .flat_map(|(cell, line)| found.domains(cell).map(move |domain| row(experiment.name, cell, domain, line)))
        .collect();
    let mut section = (experiment.report)(&found);
    section.lead.extend_from_slice(found.left_out);
    if let (within, all @ 1..) = found.covered() {
        let shared = match setup.base {
            Base::Pretrained => "Figures of one seed share its base, so they tend to lie within or without together.",
            Base::Given(_) => "All seeds have the same base.",
        };
        section.lead.push(format!(
            "Each seed's figure held against the interval of the others: {within} of {all} lie within, {:.1} %, where {:.0} % are expected. \
             {shared}",
            100.0 * within as f64 / all as f64,
            100.0 * CONFIDENCE
        ));
    }
    section.findings.retain(|finding| finding.seeds > 0);
    section.command = format!("mode experiment {} {}", experiment.name, setup.settings.flags());
    let times = results.times_tested(experiment.name, &plan.test_text());
    if times > 1 {
        section.lead.push(format!(
            "The test text was measured {times} times, with other settings, cells or ways to choose rates before; this is the last."
        ));
    }
    Some(Part { experiment, section, rows })
}

/// `report.html`.
fn html(parts: &[Part], summary: &Section, facts: &[(String, String)]) -> Result<String, Error> {
    let of = |Part { experiment, section, .. }: &Part| {
        Ok(PageSection { id: experiment.name, title: experiment.title, body: section.html()? })
    };
    let of_all = parts.iter().map(of).collect::<Result<Vec<_>, Error>>()?;
    let first = PageSection { id: "found", title: SUMMARY, body: summary.html()? };
    let sections: Vec<PageSection> = std::iter::once(first).chain(of_all).chain(environment(facts)).collect();
    let words: String = WORDS.iter().map(|paragraph| format!("<p>{}</p>\n", escape(paragraph))).collect();
    Ok(around("Experiments", &format!("<p class=\"lead\">{}</p>\n{words}", escape(LEAD)), &sections))
}

/// Columns of `reported.csv`: lines of `results/` that no page shows any more, of other settings or rates, are not in it.
const COLUMNS: &str = "experiment,cell,seed,domain,accuracy,nll,tokens,params_total,params_trained,steps,tokens_seen,seconds,learning_rate,run\n";

/// A cell's figures on a domain; none where training left no numbers.
fn row(experiment: &str, cell: &Cell, domain: &str, line: &Line) -> String {
    let Cell { name, seed, .. } = cell;
    let Line { params_total, params_trained, steps, tokens_seen, seconds, learning_rate, run, .. } = line;
    let score = line.scores.get(domain);
    let score =
        score.map_or_else(|| ",,".into(), |Score { accuracy, nll, tokens, .. }| format!("{accuracy},{nll},{tokens}"));
    format!(
        "{experiment},{name},{seed},{domain},{score},{params_total},{params_trained},{steps},{tokens_seen},{seconds},{learning_rate},{run}\n"
    )
}

/// When, where and by what.
fn facts(setup: &Setup, results: &Results) -> Vec<(String, String)> {
    let s = &setup.settings;
    let made = match &setup.base {
        Base::Pretrained => format!("pre-trained for {} steps", s.pretrain_steps),
        Base::Given(given) => format!("given, hash {}..", given.id),
    };
    let mut facts = vec![
        ("date".to_string(), time::OffsetDateTime::now_utc().date().to_string()),
        (
            "written by".into(),
            format!("mode {VERSION}{}", commit().map_or_else(String::new, |hash| format!(", commit {hash}"))),
        ),
        (
            "model".into(),
            format!("{} layers of width {}, {} heads, vocabulary {}, {made}", s.layers, s.width, s.heads, s.vocabulary),
        ),
        ("a step".into(), format!("{} windows of {} tokens", s.batch, s.length)),
        ("experts".into(), format!("{} blocks, {} layers a block", s.blocks, s.layers_per_block)),
        (
            "training".into(),
            format!(
                "AdamW; rates rise over the first tenth of the steps, 50 at the most, and fall as a cosine to a tenth of the greatest, which in \
                 pre-training is {PRETRAIN_RATE:.0e}"
            ),
        ),
        (
            "lora".into(),
            format!(
                "rank {}, alpha twice that, beside the four matrices of attention; large ones beside the feed-forward's three as well",
                s.rank
            ),
        ),
        ("steps".into(), format!("S = {} for an expert and on the mixture, {} seeds", s.steps, s.seeds)),
    ];
    facts.extend(results.machines().into_iter().map(|machine| ("measured on".to_string(), machine.to_string())));
    facts.extend(setup.domains().map(|domain| ("text".to_string(), domain.words())));
    if s.data.is_empty() {
        facts.push(("texts".into(), BUILT_IN.into()));
    }
    facts
}

/// The project's commit, where the program is started in its sources.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
    };
    git(&["ls-files", "--error-unmatch", "mode/src/experiments/mod.rs"])?;
    git(&["rev-parse", "--short=12", "HEAD"])
}
