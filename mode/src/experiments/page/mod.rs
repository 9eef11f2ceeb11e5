//! What was found, for people: a finding's words, tables and figures (`section.rs`, `accuracy.rs`, `plot.rs`, `axis.rs`) as Markdown and as HTML, and the pages of
//! all of them (`document.rs`), which begin with what came of the paper's claims (`summary.rs`).

pub(super) mod accuracy;
pub(super) mod axis;
pub(super) mod document;
pub(super) mod plot;
pub(super) mod section;
pub(super) mod summary;
