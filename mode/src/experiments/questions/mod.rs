//! What the paper leaves open: more experts than two (question 1, `more_experts.rs`), other gates (2, `kinds_of_gates.rs`), very small and
//! very large data (3, `amounts.rs`), and what a gate over many experts costs (4, `cost.rs`).

pub(super) mod amounts;
pub(super) mod cost;
pub(super) mod kinds_of_gates;
pub(super) mod more_experts;
