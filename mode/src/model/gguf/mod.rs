//! GGUF files (ggml's format): a whole model in one, its weights quantised as a rule. <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>
//!
//! Metadata become the keys of a Hugging Face `config.json` (`keys.rs`), GGUF's names those of the family, and what its converter
//! changed is undone (`names.rs`). Halves stay as they are stored; quantised blocks become f32 when they are read (`blocks.rs`,
//! `quant.rs`).

mod blocks;
mod container;
mod keys;
mod meta;
mod names;
mod quant;
mod tokenizer;

use super::config::Config;
use super::family::Names;
use super::weights::Source;
use crate::Error;
use container::{Container, Stored};
use meta::shown;
use mode_tensor::{Device, Dtype, Tensor, TensorError};
use names::{Change, family_name};
use std::collections::BTreeMap;
use std::path::Path;
pub use tokenizer::open_tokenizer;
pub(crate) use tokenizer::tokenizer_file;

/// True if a path is that of a GGUF file, by its name.
pub(crate) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) && !path.is_dir()
}

/// An open file: tensors by the family's names.
pub(crate) struct Gguf {
    file: Container,
    tensors: BTreeMap<String, (Stored, Change)>,
    names: &'static Names,
}

impl Gguf {
    /// Opens a file; its configuration beside it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Config), Error> {
        let file = Container::open(path)?;
        let content = |what: String| Error::content(path, what);
        let (keys, architecture) = keys::keys(&file).map_err(content)?;
        let config = Config::from_keys(keys).map_err(content)?;
        let names = &config.family.names;
        let mut tensors = BTreeMap::new();
        // The angles' factors are part of the configuration.
        for (name, stored) in file.tensors.iter().filter(|(name, _)| *name != "rope_freqs.weight") {
            // What has no place stays under its own name, under which it will be refused.
            let ours = family_name(names, name).unwrap_or_else(|| shown(name));
            let change = Change::of(&ours, &architecture, &config);
            tensors.insert(ours, (stored.clone(), change));
        }
        Ok((Self { file, tensors, names }, config))
    }

    fn stored(&self, name: &str) -> Result<&(Stored, Change), Error> {
        let missing = || TensorError::Missing { path: self.file.file.path().into(), name: name.into() };
        Ok(self.tensors.get(name).ok_or_else(missing)?)
    }

    /// `with` on a tensor's place and bytes, if it has the shape wanted.
    fn wanted<T>(
        &self,
        name: &str,
        wanted: &[usize],
        with: impl FnOnce(&Stored, Change, &[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (stored, change) = self.stored(name)?;
        if stored.shape != wanted {
            let (path, name) = (self.file.file.path().into(), name.into());
            let (found, wanted) = (stored.shape.clone(), wanted.to_vec());
            return Err(TensorError::WrongShape { path, name, found, wanted }.into());
        }
        let bytes = self.file.bytes(stored);
        let result = with(stored, *change, bytes);
        self.file.file.forget(bytes);
        result
    }
}

impl Source for Gguf {
    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    /// As Hugging Face stores it: what lies the other way round there was turned by the converter.
    fn shape(&self, name: &str) -> Result<Vec<usize>, Error> {
        let mut shape = self.stored(name)?.0.shape.clone();
        if self.names.is_transposed(name) {
            shape.reverse();
        }
        Ok(shape)
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        self.wanted(name, shape, |stored, change, bytes| {
            let mut values = change.undo_rows(stored.blocks.decode(bytes), shape.first().copied().unwrap_or(1));
            change.undo_values(&mut values);
            Ok(values)
        })
    }

    fn load(&self, device: &Device, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        let dtype = match self.stored(name)?.0.dtype {
            "F16" => Dtype::F16,
            "BF16" => Dtype::BF16,
            _ => return Ok(Tensor::from_slice(device, &self.read(name, shape)?, shape)?),
        };
        self.wanted(name, shape, |_, change, bytes| {
            let halves: Vec<u16> = bytes.chunks_exact(2).map(|half| u16::from_le_bytes([half[0], half[1]])).collect();
            let halves = change.undo_rows(halves, shape.first().copied().unwrap_or(1));
            Ok(Tensor::from_halves(device, dtype, &halves, shape)?)
        })
    }

    /// The converter has turned it already.
    fn load_transposed(&self, device: &Device, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        self.load(device, name, shape)
    }

    fn same(&self, one: &str, other: &str) -> Result<bool, Error> {
        Ok(self.file.same(&self.stored(one)?.0, &self.stored(other)?.0))
    }
}
