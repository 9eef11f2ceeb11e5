//! The paper's experiments, at a scale that this machine can bear.
//!
//! An experiment (`table1.rs`, ..) says which cells it has: a method, a seed, and the recipes that make its model. A plan (`plan.rs`) knows every
//! run by the hash of its recipe, so that what two cells share is trained once and what is there is not trained again. Learning rates
//! are tuned by the same grid for every method, on validation text and with a seed of their own. Test text is measured once, when all
//! models are there. What was found are JSON lines (`results.rs`); differences come with intervals over seeds and text
//! (`statistics.rs`), and each of the paper's findings gets a verdict, which may be "no" (`finding.rs`).

mod amounts;
mod base;
mod claims;
mod cost;
mod document;
mod dry_run;
mod failures;
mod fig3;
mod fig5;
mod finding;
mod fourth;
mod inspected;
mod jobs;
mod kinds_of_gates;
mod lab;
mod methods;
mod more_experts;
mod numbers;
mod page;
mod plan;
mod plot;
mod prices;
mod rates;
mod recipes;
mod rerun;
mod results;
mod settings;
mod setup;
pub mod statistics;
mod study;
mod table1;
mod table2;
mod table3;
mod texts;
mod timed;
mod topics;
mod widths;

pub use base::{Base, Given};
pub use dry_run::{Estimate, Row, estimate};
pub use lab::{Lab, Said};
pub use rerun::{Rerun, rerun};
pub use settings::{Scale, Settings};
pub use study::carry_out;

use crate::Error;
use finding::Findings;
use plan::Plan;

/// What results are made by: the program's version, and a number that is raised whenever a change makes other figures of the same recipe.
/// Lines of others count for nothing.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// One of the paper's tables or figures, or a question of its own.
pub struct Experiment {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in a line.
    pub title: &'static str,
    /// Whether it asks what the paper leaves open.
    is_open: bool,
    /// Two cells whose difference tells beforehand how much seeds differ.
    pilot: [&'static str; 2],
    /// Adds its cells to a plan.
    cells: fn(&mut Plan) -> Result<(), Error>,
    /// Steps that are timed.
    timed: fn() -> Vec<timed::Case>,
    /// What was found.
    report: fn(&Findings) -> page::Section,
}

/// All of them, in the order in which they are carried out.
pub const ALL: [Experiment; 13] = [
    table1::EXPERIMENT,
    table2::EXPERIMENT,
    table3::EXPERIMENT,
    fig3::EXPERIMENT,
    fig5::EXPERIMENT,
    claims::EXPERIMENT,
    fourth::EXPERIMENT,
    widths::EXPERIMENT,
    more_experts::EXPERIMENT,
    kinds_of_gates::EXPERIMENT,
    amounts::EXPERIMENT,
    cost::EXPERIMENT,
    failures::EXPERIMENT,
];

impl Experiment {
    /// Those of a name: one of them, `open-questions`, all, or `claims`, which are also asked of a fourth domain and of bases of other sizes.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn named(name: &str) -> Result<Vec<&'static Self>, Error> {
        match name {
            "all" => Ok(ALL.iter().collect()),
            "claims" => ["claims", "fourth", "widths"].into_iter().map(Self::of).collect(),
            "open-questions" => Ok(ALL.iter().filter(|experiment| experiment.is_open).collect()),
            name => Ok(vec![Self::of(name)?]),
        }
    }

    /// By its name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn of(name: &str) -> Result<&'static Self, Error> {
        ALL.iter().find(|experiment| experiment.name == name).ok_or_else(|| {
            let known: Vec<&str> = ALL.iter().map(|experiment| experiment.name).collect();
            Error::Setting(format!(
                "there is no experiment {name}; there are {}, open-questions, and all",
                known.join(", ")
            ))
        })
    }
}
