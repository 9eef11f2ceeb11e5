//! What all runs of a plan have in common: sizes, the base, and texts by number.

use super::base::Base;
use super::settings::Settings;
use super::texts::{DOMAINS, Domain, Texts};
use super::topics;
use crate::Error;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Sizes, base and texts.
pub struct Setup {
    /// Sizes and steps.
    pub settings: Settings,
    /// What is adapted.
    pub base: Base,
    /// Texts by number.
    pub texts: Texts,
    /// The plan's folder, if anything is to be written.
    root: Option<PathBuf>,
    /// Texts whose numbers follow those, once they are asked for.
    topics: OnceLock<Texts>,
}

impl Setup {
    /// Of texts that lie below `root`, if there is one.
    pub fn new(settings: Settings, base: Base, texts: Texts, root: Option<PathBuf>) -> Self {
        Self { settings, base, texts, root, topics: OnceLock::new() }
    }

    /// The numbers of the topics, which are read the first time.
    ///
    /// # Errors
    /// As [`topics::prepare`].
    pub fn topics(&self) -> Result<std::ops::Range<usize>, Error> {
        if self.topics.get().is_none() {
            let _ = self.topics.set(topics::prepare(self.root.as_deref(), &self.settings, &self.texts)?);
        }
        Ok(DOMAINS.len()..DOMAINS.len() + topics::COUNT)
    }

    /// A domain by its number.
    pub fn domain(&self, number: usize) -> &Domain {
        match (number.checked_sub(DOMAINS.len()), self.topics.get()) {
            (Some(topic), Some(topics)) => &topics.domains[topic],
            _ => &self.texts.domains[number],
        }
    }

    /// The texts that these domains are of: their windows are known by its hashes.
    pub fn texts_of(&self, domains: &[usize]) -> &Texts {
        let beyond = domains.iter().any(|&number| number >= DOMAINS.len());
        self.topics.get().filter(|_| beyond).unwrap_or(&self.texts)
    }
}
