//! What all runs of a plan have in common: sizes, and texts by number.

use super::settings::Settings;
use super::texts::Texts;

/// Sizes and texts.
pub struct Setup {
    /// Sizes and steps.
    pub settings: Settings,
    /// Texts by number.
    pub texts: Texts,
}
