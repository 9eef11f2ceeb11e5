//! An expert in its owner's process, which answers others (`remote.rs`): its layers and what they need of the base, which is its configuration
//! and the rotary angles, and the keys and values of each sequence that it has been asked about.

use super::cache::{Cache, Span};
use super::config::Config;
use super::context::Context;
use super::decoder::stack;
use super::expert::{Expert, ExpertInfo};
use super::{backbone, folder};
use crate::{Error, memory};
use mode_autograd::{Tape, Var};
use mode_tensor::{Device, Dtype, Rotation, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Sequences that are kept at once at the most.
const MOST_KEPT: usize = 1 << 16;

/// New tokens of a sequence that another process numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The sequence's number.
    pub sequence: usize,
    /// Tokens before.
    pub past: usize,
    /// New tokens.
    pub tokens: usize,
    /// Tokens that it has at the most.
    pub capacity: usize,
}

/// An expert's layers on a device, and what they have kept.
pub struct ServedExpert {
    expert: Expert,
    config: Config,
    rotations: Vec<Rotation>,
    device: Device,
    kept: BTreeMap<usize, Kept>,
}

/// A sequence.
struct Kept {
    cache: Cache,
    /// Tokens that each block's layers have put in.
    held: Vec<usize>,
}

impl ServedExpert {
    /// Reads an expert; of the base its configuration is enough, but weights that are there must be those that the expert was made beside.
    ///
    /// # Errors
    /// A folder that is missing, broken or without layers, or another base.
    pub fn open(folder: &Path, base: &Path, device: &Device) -> Result<Self, Error> {
        let config = backbone::config(base)?;
        let expert = Expert::open(folder, &config, device, "")?;
        if backbone::weight_bytes(base).is_ok() {
            folder::check_base(folder, &expert.info.base_sha256, base)?;
        }
        Self::new(expert, config, device)
    }

    /// An expert that is open on this device.
    ///
    /// # Errors
    /// What the device reports.
    pub fn new(expert: Expert, config: Config, device: &Device) -> Result<Self, Error> {
        let rotations = backbone::rotations(&config, device)?;
        Ok(Self { expert, config, rotations, device: device.clone(), kept: BTreeMap::new() })
    }

    /// What its folder says.
    pub fn info(&self) -> &ExpertInfo {
        &self.expert.info
    }

    /// The base's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Lets go of a sequence.
    pub fn forget(&mut self, sequence: usize) {
        self.kept.remove(&sequence);
    }

    /// Lets go of all.
    pub fn forget_all(&mut self) {
        self.kept.clear();
    }

    /// f(x) of a block for windows of `length` tokens.
    ///
    /// # Errors
    /// What can't be asked for, or what the device reports.
    pub fn windows(&self, block: usize, x: &[f32], length: usize) -> Result<Vec<f32>, Error> {
        let rows = self.rows(block, x)?;
        if length == 0 || length > self.positions() || !rows.is_multiple_of(length) {
            return Err(asked(format!("{rows} tokens in windows of {length}")));
        }
        self.stack(block, x, length, &[])
    }

    /// f(x) of a block for new tokens of sequences, one sequence after the other.
    ///
    /// # Errors
    /// What can't be asked for, or what the device reports.
    pub fn chunks(&mut self, block: usize, x: &[f32], chunks: &[Chunk]) -> Result<Vec<f32>, Error> {
        let rows = self.rows(block, x)?;
        let tokens = chunks.iter().try_fold(0_usize, |sum, chunk| sum.checked_add(chunk.tokens));
        if tokens != Some(rows) {
            return Err(asked(format!("{rows} tokens for chunks of {tokens:?}")));
        }
        let mut sequences = BTreeSet::new();
        if !chunks.iter().all(|chunk| sequences.insert(chunk.sequence)) {
            return Err(asked("a sequence twice".into()));
        }
        for chunk in chunks {
            self.begin(block, chunk)?;
        }
        self.require_memory(block)?;
        let kept = |chunk: &Chunk| {
            self.kept.get(&chunk.sequence).map(|kept| Span { cache: &kept.cache, tokens: chunk.tokens })
        };
        let spans: Vec<Span> = chunks.iter().filter_map(kept).collect();
        let f = self.stack(block, x, rows, &spans)?;
        for chunk in chunks {
            if let Some(kept) = self.kept.get_mut(&chunk.sequence) {
                kept.held[block] = chunk.past + chunk.tokens;
            }
        }
        Ok(f)
    }

    /// An error unless there is memory for the keys and values that are still to come of all that is kept, where a block puts in first ones.
    fn require_memory(&self, block: usize) -> Result<(), Error> {
        let sequences = self.kept.len();
        if sequences > MOST_KEPT {
            return Err(asked(format!("{sequences} sequences at once, of {MOST_KEPT} at the most")));
        }
        if self.kept.values().all(|kept| kept.held[block] > 0) {
            return Ok(());
        }
        let row = 2 * (self.config.kv_heads * self.config.head_width) as u64;
        let rows = |kept: &Kept| {
            let layers = self.expert.blocks.iter().zip(&kept.held).filter(|(_, held)| **held == 0);
            kept.cache.capacity() as u64 * layers.map(|(layers, _)| layers.len() as u64).sum::<u64>()
        };
        let numbers = self.kept.values().map(rows).sum::<u64>().saturating_mul(row);
        memory::require(&self.device, numbers, &format!("what is kept of {sequences} sequences"))
    }

    /// Makes the cache of a chunk's sequence one that holds `past` tokens.
    fn begin(&mut self, block: usize, chunk: &Chunk) -> Result<(), Error> {
        let Chunk { sequence, past, tokens, capacity } = *chunk;
        let positions = self.positions();
        let ends = past.checked_add(tokens).filter(|&end| tokens > 0 && end <= capacity.min(positions));
        // The last token of a sequence is only predicted.
        if ends.is_none() || capacity > positions + 1 {
            return Err(asked(format!("{tokens} tokens behind {past} of {capacity}")));
        }
        let blocks = self.expert.blocks.len();
        let new = || Kept { cache: Cache::new(capacity), held: vec![0; blocks] };
        let kept = self.kept.entry(sequence).or_insert_with(new);
        // What no question has brought must not be read.
        if kept.cache.capacity() != capacity || past > kept.held[block] {
            return Err(asked(format!("{past} tokens of which {} are here", kept.held[block])));
        }
        kept.cache.go_on_from(past);
        Ok(())
    }

    /// Tokens of x, and an error unless it can be a block's.
    fn rows(&self, block: usize, x: &[f32]) -> Result<usize, Error> {
        let width = self.config.width;
        if block >= self.expert.blocks.len() || x.is_empty() || !x.len().is_multiple_of(width) {
            return Err(asked(format!("block {block} for {} numbers of width {width}", x.len())));
        }
        Ok(x.len() / width)
    }

    fn positions(&self) -> usize {
        self.config.positions_with(&self.rotations)
    }

    fn stack(&self, block: usize, x: &[f32], length: usize, spans: &[Span]) -> Result<Vec<f32>, Error> {
        let (tape, rotations, activations) = (Tape::frozen(), &self.rotations, Dtype::F32);
        let context = Context { tape: &tape, rotations, length, activations, recompute: false, spans };
        let x = Tensor::from_slice(&self.device, x, &[x.len() / self.config.width, self.config.width])?;
        Ok(stack(&context, &self.expert.blocks[block], &Var::constant(x), None)?.value().to_vec()?)
    }
}

fn asked(what: String) -> Error {
    Error::Setting(format!("asked for {what}, which can't be"))
}
