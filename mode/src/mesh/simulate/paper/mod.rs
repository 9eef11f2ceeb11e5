//! The paper's model (arXiv 2410.10181) on TPUs: its figure 4 from this project's own schedule (`fig4.rs`), and from there to thousands of
//! chips (`scale.rs`).

pub mod fig4;
pub mod scale;

use crate::model::Config;

/// The paper's model of 1.58 B parameters. It says 18 layers; width, hidden layer and vocabulary are those of the only shapes that give its
/// table's counts, 28 d² parameters a layer and a tied table of about 256,000 words. Heads are ours, and so is how many positions there are.
pub fn config() -> Config {
    Config {
        vocabulary: 256_256,
        width: 1_536,
        hidden: 12_288,
        layers: 18,
        heads: 24,
        kv_heads: 24,
        head_width: 64,
        positions: 32_768,
        tied: true,
        ..Config::default()
    }
}
