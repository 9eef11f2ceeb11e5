//! What all runs of a plan have in common: sizes, the base, and texts by number.

use super::base::Base;
use super::prices::Prices;
use super::settings::Settings;
use super::texts::{Domain, Texts};
use super::topics;
use crate::Error;
use crate::data::DOMAINS;
use crate::data::{Corpus, Source};
use crate::train::{DryStep, Recipe};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The number of a domain of the user's own.
const OWN: usize = DOMAINS.len() + topics::COUNT;

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
    /// The user's own domain, once it is asked for.
    own: OnceLock<Texts>,
    /// What steps take.
    prices: Prices,
}

impl Setup {
    /// Of texts that lie below `root`, if there is one.
    pub fn new(settings: Settings, base: Base, texts: Texts, root: Option<PathBuf>) -> Self {
        let (topics, own, prices) = Default::default();
        Self { settings, base, texts, root, topics, own, prices }
    }

    /// The numbers of the topics, which are read the first time.
    ///
    /// # Errors
    /// A package's source that is not there, or a file that can't be read or written.
    pub fn topics(&self) -> Result<Range<usize>, Error> {
        if self.topics.get().is_none() {
            let corpora = topics::corpora()?;
            let _ = self.topics.set(self.texts.beside(self.root.as_deref(), &self.settings, corpora)?);
        }
        Ok(DOMAINS.len()..OWN)
    }

    /// The number of a fourth domain, the user's own or the first topic, which is read the first time.
    ///
    /// # Errors
    /// As [`Self::topics`], or a text that can't be read or is too small.
    pub fn fourth(&self) -> Result<usize, Error> {
        let Some(name) = self.settings.own_domain() else { return Ok(self.topics()?.start) };
        if self.own.get().is_none() {
            let corpus = Corpus::open(name, &self.settings.data[name].parse::<Source>()?)?;
            let corpora = vec![(name.to_string(), corpus)];
            let _ = self.own.set(self.texts.beside(self.root.as_deref(), &self.settings, corpora)?);
        }
        Ok(OWN)
    }

    /// Its name.
    pub fn fourth_name(&self) -> &str {
        self.settings.own_domain().unwrap_or(topics::names()[0])
    }

    /// What a step of a recipe takes, whose models are made by the recipes it `needs`.
    ///
    /// # Errors
    /// Sizes that do not fit each other, or a given base that can't be read.
    pub(crate) fn step(&self, recipe: &Recipe, needs: &[&Recipe]) -> Result<DryStep, Error> {
        self.prices.of((&self.settings, &self.base), recipe, needs)
    }

    /// Texts beside the three, and the number of the first of them.
    fn beside(&self, number: usize) -> Option<(usize, &Texts)> {
        match number {
            OWN.. => Some((OWN, self.own.get()?)),
            number if number >= DOMAINS.len() => Some((DOMAINS.len(), self.topics.get()?)),
            _ => None,
        }
    }

    /// All domains that were asked for.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        let beside = [self.topics.get(), self.own.get()].into_iter().flatten();
        std::iter::once(&self.texts).chain(beside).flat_map(|texts| &texts.domains)
    }

    /// A domain by its number.
    pub fn domain(&self, number: usize) -> &Domain {
        let (first, texts) = self.beside(number).unwrap_or((0, &self.texts));
        &texts.domains[number - first]
    }

    /// The texts that these domains are of: their windows are known by its hashes.
    pub fn texts_of(&self, domains: &[usize]) -> &Texts {
        let greatest = domains.iter().copied().max().unwrap_or(0);
        self.beside(greatest).map_or(&self.texts, |(_, texts)| texts)
    }
}
