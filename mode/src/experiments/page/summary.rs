//! What came of the paper's claims in numbers, over all sections.

use super::section::{Section, Table};
use crate::experiments::results::finding::{Finding, Verdict};
use crate::experiments::results::numbers::{nats, points, signed};
use std::collections::BTreeSet;

/// Its heading.
pub(crate) const SUMMARY: &str = "What was found";

/// A claim of a section.
struct Claimed<'s> {
    section: &'s str,
    finding: &'s Finding,
    /// None of chance beside the others of its section.
    is_held: bool,
}

impl Claimed<'_> {
    /// The claim without the words in brackets, which say in which of several ways it is asked.
    fn claim(&self) -> &str {
        let claim = &self.finding.claim;
        claim.split_once(") ").filter(|_| claim.starts_with('(')).map_or(claim, |(_, claim)| claim)
    }
}

/// The paper's claims of all sections, by name, and what came of each.
pub(crate) fn summary(sections: &[(&str, &Section)]) -> Section {
    let mut claimed: Vec<Claimed> = Vec::new();
    let mut again = 0;
    for &(section, of) in sections {
        for (finding, is_held) in of.findings.iter().zip(of.held()).filter(|(finding, _)| finding.paper.is_some()) {
            let this = Claimed { section, finding, is_held };
            match claimed.iter().any(|other| other.claim() == this.claim() && other.finding.is_same(finding)) {
                true => again += 1,
                false => claimed.push(this),
            }
        }
    }
    let claims: BTreeSet<&str> = claimed.iter().map(Claimed::claim).collect();
    let count = |is: &dyn Fn(&Claimed) -> bool| claimed.iter().filter(|claimed| is(claimed)).count();
    let of = |verdict| count(&|claimed| claimed.finding.verdict() == verdict);
    let unsure = count(&|claimed| claimed.finding.verdict() != Verdict::Undecided && !claimed.is_held);
    let row = |Claimed { section, finding, is_held }: &Claimed| {
        let there = finding.paper.map_or_else(String::new, signed);
        let mark = if *is_held { " *" } else { "" };
        let verdict = format!("{}{mark}", finding.verdict().words(false));
        let loss = finding.loss.map_or_else(|| "–".into(), nats);
        vec![finding.claim.clone(), there, points(finding.measured), verdict, loss, section.to_string()]
    };
    Section {
        title: SUMMARY,
        lead: vec![format!(
            "{} comparisons of {} claims that the paper makes in numbers, for some are asked in several ways, which stand in brackets: {} are \
             reproduced, of {} we find the opposite, and {} are below what we can detect; {unsure} of those that are decided are without a *, so \
             may be of chance. {again} more compare the very same models, as where a row's own rate is one that all have, and are not counted again. \
             They are not independent of each other: many share a row. What the paper does not say, or says without numbers, stands in the sections.",
            claimed.len(),
            claims.len(),
            of(Verdict::Reproduced),
            of(Verdict::Contradicted),
            of(Verdict::Undecided)
        )],
        tables: vec![Table {
            caption: "Differences in percentage points, with 95 % intervals".into(),
            head: ["Claim", "There", "Here", "Verdict", "Loss", "Section"].map(String::from).to_vec(),
            rows: claimed.iter().map(row).collect(),
        }],
        ..Section::default()
    }
}
