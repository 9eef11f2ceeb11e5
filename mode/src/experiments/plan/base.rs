//! The model that every method adapts: pre-trained here, one a seed, or given, and then the same for all seeds.
//!
//! A given base is known by what it computes, the hash of its weights and what else its function depends on. That is what ids of runs
//! have of it; where it lies they do not say, so that it may be moved.

use crate::mesh::paper_config;
use crate::model::{Backbone, Config, Random, base_sha256};
use crate::train::plain;
use crate::{Error, files};
use mode_tensor::Device;
use std::path::{Path, PathBuf};

/// Where the base comes from.
#[derive(Debug, Clone)]
pub enum Base {
    /// Pre-trained here.
    Pretrained,
    /// Given.
    Given(Box<Given>),
}

/// A model that is there already.
#[derive(Debug, Clone)]
pub struct Given {
    /// Hex digits of its hash.
    pub id: String,
    /// Its folder or GGUF file; empty on paper.
    pub place: PathBuf,
    /// Its shape.
    pub config: Config,
}

impl Base {
    /// The given model.
    pub fn given(&self) -> Option<&Given> {
        match self {
            Self::Pretrained => None,
            Self::Given(given) => Some(given),
        }
    }
}

impl Given {
    /// A plain model's folder or GGUF file, for windows of `length` predicted tokens.
    ///
    /// # Errors
    /// There is no model, one with experts or an adapter, or one of shorter windows.
    pub fn open(place: &Path, length: usize) -> Result<Self, Error> {
        // On a device that keeps nothing: tensors and their shapes are checked all the same.
        let model = plain(place, &Device::dry())?;
        model.fits(length).map_err(|error| Error::Setting(format!("--set length={length}: {error}")))?;
        let config = model.backbone.config;
        let known_by = format!("{} {}", base_sha256(place)?, config.maths());
        Ok(Self { id: files::sha256_of(known_by.as_bytes())[..16].into(), place: place.into(), config })
    }

    /// The paper's model, of which there is the shape alone.
    pub fn on_paper() -> Self {
        Self { id: "paper".into(), place: PathBuf::new(), config: paper_config() }
    }

    /// True if there is no more of it than its shape.
    pub fn is_on_paper(&self) -> bool {
        self.place.as_os_str().is_empty()
    }

    /// It on a device that computes nothing, its weights stored as they are.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn backbone(&self, dry: &Device) -> Result<Backbone, Error> {
        match self.is_on_paper() {
            true => Backbone::random(self.config.clone(), dry, &mut Random::new(0)),
            false => Backbone::open(&self.place, dry),
        }
    }
}
