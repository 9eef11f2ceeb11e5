//! What all runs of a plan have in common: sizes, and texts by number.

use super::settings::Settings;
use super::texts::{DOMAINS, Domain, Texts};
use super::topics;
use crate::Error;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Sizes and texts.
pub struct Setup {
    /// Sizes and steps.
    pub settings: Settings,
    /// Texts by number.
    pub texts: Texts,
    /// The plan's folder.
    root: PathBuf,
    /// Texts whose numbers follow those, once they are asked for.
    topics: OnceLock<Texts>,
}

impl Setup {
    /// Of texts that lie below `root`.
    pub fn new(settings: Settings, texts: Texts, root: PathBuf) -> Self {
        Self { settings, texts, root, topics: OnceLock::new() }
    }

    /// The numbers of the topics, which are read the first time.
    ///
    /// # Errors
    /// As [`topics::prepare`].
    pub fn topics(&self) -> Result<std::ops::Range<usize>, Error> {
        if self.topics.get().is_none() {
            let _ = self.topics.set(topics::prepare(&self.root, &self.settings, &self.texts)?);
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
