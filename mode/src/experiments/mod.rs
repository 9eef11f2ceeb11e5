//! The paper's experiments, at a scale that this machine can bear.
//!
//! An experiment (`paper/table1.rs`, .., `questions/`) says which cells it has: a method, a seed, and the recipes that make its model. A plan
//! (`plan/`) knows every run by the hash of its recipe, so that what two cells share is trained once and what is there is not trained
//! again. The lab (`lab/`) carries it out: learning rates are tuned by the same grid for every method, on validation text and with a seed
//! of their own, but where an experiment asks for one that is given; test text is measured when all models are there, once a design.
//! Results (`results/`) are JSON lines; differences come with intervals over seeds and text, and each of the paper's findings gets a
//! verdict, which may be "no". A page (`page/`) shows them.

mod lab;
mod page;
mod paper;
mod plan;
mod questions;
mod results;

pub use lab::dry_run::{Estimate, Row, estimate};
pub use lab::rerun::{Rerun, rerun};
pub use lab::study::carry_out;
pub use lab::{Lab, Said};
pub use plan::base::{Base, Given};
pub use plan::settings::{Scale, Settings};

use crate::Error;
use page::section::Section;
use paper::{claims, failures, fig3, fig5, fourth, one_rate, table1, table2, table3, widths};
use plan::Plan;
use questions::{amounts, cost, kinds_of_gates, more_experts};
use results::finding::Findings;
use results::timed::Case;

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
    timed: fn() -> Vec<Case>,
    /// What was found.
    report: fn(&Findings) -> Section,
}

/// All of them, in the order in which they are carried out.
pub const ALL: [Experiment; 14] = [
    table1::EXPERIMENT,
    one_rate::EXPERIMENT,
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
