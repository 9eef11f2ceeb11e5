//! The report: everything a run of `mode demo` measured, or several runs beside each other, on one HTML page.
//!
//! Plain data goes in ([`Report`]), one string comes out ([`html`]). The page needs nothing beside itself: no network,
//! no scripts, no fonts, its style and drawings inline, so that it can be mailed, printed and opened years later.
//! Each section lives in a file of its own and is left out when there is nothing to say in it.

mod choices;
mod curves;
mod data;
mod frozen;
mod gates;
mod methods;
mod nullable;
mod page;
mod results;
mod runs;
mod samples;
mod table;
mod text;
mod tradeoff;

pub(crate) use curves::last_tenth;
pub use data::{
    ChoiceScore, Continuation, Curve, DomainGates, FrozenNote, GateTable, GridScore, Report, Row, RunRow, Sample,
    SeedRow, Verdict,
};
pub(crate) use gates::maps as gate_maps;
pub(crate) use page::{Section as PageSection, around, environment};
pub(crate) use text::escape;

/// Why a report or a plot could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The plotting library refused to draw.
    #[error("the plot can't be drawn: {0}")]
    Plot(#[from] plotters::drawing::DrawingAreaErrorKind<std::io::Error>),
}

/// Renders `report` as one self-contained HTML page.
pub fn html(report: &Report) -> Result<String, ReportError> {
    let sections = [
        results::section(&report.rows),
        tradeoff::section(&report.rows),
        runs::seeds(&report.seeds),
        runs::section(&report.runs),
        curves::section(&report.curves)?,
        gates::section(&report.gates),
        frozen::section(&report.frozen),
        choices::grid(&report.grid),
        choices::defaults(&report.defaults),
        samples::section(&report.samples),
        page::environment(&report.environment),
    ];
    let sections: Vec<_> = sections.into_iter().flatten().collect();
    Ok(page::page(report, &sections))
}

#[cfg(test)]
mod tests;
