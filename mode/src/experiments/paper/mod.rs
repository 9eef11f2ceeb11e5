//! What the paper reports: its tables and figures, table 1 at one rate for all (`one_rate.rs`), what it claims in words (`claims.rs`, and of a fourth domain and other widths
//! `fourth.rs` and `widths.rs`), and the failures that it warns of.

pub(super) mod claims;
pub(super) mod failures;
pub(super) mod fig3;
pub(super) mod fig5;
pub(super) mod fourth;
pub(super) mod one_rate;
pub(super) mod table1;
pub(super) mod table2;
pub(super) mod table3;
pub(super) mod widths;
