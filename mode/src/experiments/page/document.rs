//! `README.md` and `report.html`: what all experiments have found so far, with where and by what; and `reported.csv`, the figures of single
//! seeds that they are made of.

use super::section::{Section, Table};
use crate::experiments::lab::Lab;
use crate::experiments::plan::Cell;
use crate::experiments::plan::base::Base;
use crate::experiments::plan::setup::Setup;
use crate::experiments::results::finding::{Finding, Findings, Verdict};
use crate::experiments::results::numbers::{nats, points, signed};
use crate::experiments::results::statistics::CONFIDENCE;
use crate::experiments::results::{Line, Results, Score, tuned};
use crate::experiments::{ALL, Experiment, VERSION};
use crate::report::{PageSection, around, environment, escape};
use crate::{Error, files, folders};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// What stands above the sections.
const LEAD: &str = "The experiments of Modular Domain Experts (arXiv 2410.10181), rerun at small scale: the paper's figures beside ours, and \
    of each of its findings whether it is reproduced, contradicted, or too small for this design to tell.";

/// What words mean on the page.
const WORDS: &str = "Accuracy is the share of next tokens predicted right, a point one per cent of all; loss is the mean of -ln of what the right one \
    was given, in nats. A seed makes another base, other weights and another order of the data; two methods are compared seed by seed, so a \
    difference can be surer than the figures that it is of. Stage 1 trains an expert alone beside the frozen base, stage 2 experts that are \
    composed, on a mixture; S is the steps of either. A block is some layers of the base, with its experts' layers and a gate. A rate is a \
    learning rate. There is in the paper, here is what was measured.";

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
    let mut sections = Vec::new();
    let mut reported = String::from(COLUMNS);
    for experiment in &ALL {
        // Others may have their figures all the same, but need texts that no one has asked for.
        if !results.is_tested(experiment.name) {
            continue;
        }
        // What this command was not asked for must not end it.
        let plan = match tuned::plan(experiment, setup, results) {
            Ok(plan) if lab.left(&plan, results, |_| true).cells.is_empty() => plan,
            why => {
                let why = match why {
                    Ok(_) => format!(
                        "it is not whole, or was measured with other settings, cells or learning rates than these; mode experiment {} \
                         carries it out, with --again if it is to look at its test text once more",
                        experiment.name
                    ),
                    Err(error) => error.to_string(),
                };
                lab.warn(&format!("{} is not on the page: {why}", experiment.name));
                continue;
            }
        };
        let found = Findings::of_plan(&plan, results);
        for (cell, line) in found.reported() {
            let rows = found.domains(cell).map(|domain| row(experiment.name, cell, domain, line));
            reported.extend(rows);
        }
        let mut section = (experiment.report)(&found);
        section.lead.extend_from_slice(found.left_out);
        if let (within, all @ 1..) = found.covered() {
            section.lead.push(format!(
                "Each seed's figure held against the interval of the others: {within} of {all} lie within, {:.1} %, where {:.0} % are \
                 expected. Figures of one seed share its base, so they tend to lie within or without together.",
                100.0 * within as f64 / all as f64,
                100.0 * CONFIDENCE
            ));
        }
        section.findings.retain(|finding| finding.seeds > 0);
        if setup.base.given().is_some() {
            section.command = format!("mode experiment {} --scale gpu --set base=FOLDER", experiment.name);
        }
        let times = results.times_tested(experiment.name, &plan.test_text());
        if times > 1 {
            section.lead.push(format!("The test text was measured {times} times, with different settings."));
        }
        sections.push((experiment, section));
    }
    let summary = summary(&sections);
    let mut facts = facts(setup, results);
    let lacking = ALL
        .iter()
        .map(|experiment| experiment.name)
        .filter(|name| !sections.iter().any(|(of, _): &(&Experiment, _)| of.name == *name));
    let lacking: Vec<&str> = lacking.collect();
    if !lacking.is_empty() {
        facts.push(("not here".into(), lacking.join(", ")));
    }
    let mut text = format!("{TITLE}\n{LEAD}\n\n{WORDS}\n\n");
    for (name, value) in &facts {
        text.push_str(&format!("- {name}: {value}\n"));
    }
    for section in std::iter::once(&summary).chain(sections.iter().map(|(_, section)| section)) {
        text.push_str(&format!("\n{}\n", section.markdown().trim_end()));
    }
    files::write(&lab.root.join(PAGE), text)?;
    files::write(&lab.root.join(REPORTED), reported)?;
    let folder = lab.root.join("figures");
    folders::create(&folder)?;
    for figure in sections.iter().flat_map(|(_, section)| &section.figures) {
        files::write(&folder.join(format!("{}.svg", figure.name)), figure.svg()?)?;
    }
    let of = |(experiment, section): &(&Experiment, Section)| {
        Ok(PageSection { id: experiment.name, title: experiment.title, body: section.html()? })
    };
    let of_all = sections.iter().map(of).collect::<Result<Vec<_>, Error>>()?;
    let first = PageSection { id: "found", title: SUMMARY, body: summary.html()? };
    let sections: Vec<PageSection> = std::iter::once(first).chain(of_all).chain(environment(&facts)).collect();
    let html = around(
        "Experiments",
        &format!("<p class=\"lead\">{}</p>\n<p>{}</p>\n", escape(LEAD), escape(WORDS)),
        &sections,
    );
    files::write(&lab.root.join(REPORT), html)?;
    lab.say(&format!("{0}/{PAGE}, {REPORT} and {REPORTED} written", lab.root.display()));
    Ok(())
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

/// Heading of what came of the paper's claims.
const SUMMARY: &str = "What was found";

/// The paper's claims in numbers, of all sections, and what came of each.
fn summary(sections: &[(&Experiment, Section)]) -> Section {
    let all = || {
        sections
            .iter()
            .flat_map(|(experiment, section)| section.findings.iter().map(|finding| (experiment.name, finding)))
    };
    let of_paper: Vec<_> = all().filter(|(_, finding)| finding.paper.is_some()).collect();
    // A claim that is asked in several ways says which in brackets.
    let distinct = |(_, finding): &(&str, &Finding)| {
        let claim = &finding.claim;
        claim.split_once(") ").filter(|_| claim.starts_with('(')).map_or(claim.clone(), |(_, claim)| claim.into())
    };
    let claims: BTreeSet<String> = of_paper.iter().map(distinct).collect();
    let count = |verdict| of_paper.iter().filter(|(_, finding)| finding.verdict() == verdict).count();
    let row = |(name, finding): &(&str, &Finding)| {
        let there = finding.paper.map_or_else(String::new, signed);
        let words = finding.verdict().words(false);
        let loss = finding.loss.map_or_else(|| "–".into(), nats);
        [&finding.claim, &there, &points(finding.measured), words, &loss, name].map(|cell| cell.to_string()).to_vec()
    };
    Section {
        title: SUMMARY.into(),
        lead: vec![format!(
            "{} comparisons of {} claims that the paper makes in numbers, for some are asked in several ways, which stand in brackets: {} are \
             reproduced, of {} we find the opposite, and {} are below what we can detect. They are not independent of each other: many share a row. \
             Loss: the same difference in nats; below zero the first is better. What the paper does not say, or says without numbers, stands in the \
             sections.",
            of_paper.len(),
            claims.len(),
            count(Verdict::Reproduced),
            count(Verdict::Contradicted),
            count(Verdict::Undecided)
        )],
        tables: vec![Table {
            caption: "Differences in percentage points, with 95 % intervals".into(),
            head: ["Claim", "There", "Here", "Verdict", "Loss", "Section"].map(String::from).to_vec(),
            rows: of_paper.iter().map(row).collect(),
        }],
        ..Section::default()
    }
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
