//! What all runs of a plan have in common: sizes, the base, and texts by number.

use super::base::Base;
use super::settings::Settings;
use super::texts::Texts;

/// Sizes, base and texts.
pub struct Setup {
    /// Sizes and steps.
    pub settings: Settings,
    /// What is adapted.
    pub base: Base,
    /// Texts by number.
    pub texts: Texts,
}
