//! What was found, for people: a finding's words, tables and figures (`section.rs`, `plot.rs`, `axis.rs`) as Markdown and as HTML, and the pages of
//! all of them (`document.rs`).

pub(super) mod axis;
pub(super) mod document;
pub(super) mod plot;
pub(super) mod section;
