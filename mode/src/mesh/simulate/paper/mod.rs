//! The paper's model (arXiv 2410.10181) on TPUs: its figure 4 from this project's own schedule (`fig4.rs`), and from there to thousands of
//! chips (`scale.rs`).

pub mod fig4;
pub mod scale;
