//! Sizes of small models that are pre-trained here, by the demo and by experiments.

use super::settings::ModelShape;
use std::path::PathBuf;

/// Peak learning rate of pre-training, of every base alike.
pub(crate) const PRETRAIN_RATE: f64 = 3e-3;

/// A model's sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Width of the residual stream, d.
    pub width: usize,
    /// Width of the feed-forward's hidden layer.
    pub hidden: usize,
    /// Layers, L.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
}

impl Size {
    /// `times` half as wide, with heads of the same width; None where that comes out at no whole number.
    pub(crate) fn halves(self, times: usize) -> Option<Self> {
        let of = |number: usize| (number * times).is_multiple_of(2).then_some(number * times / 2);
        Some(Self { width: of(self.width)?, hidden: of(self.hidden)?, heads: of(self.heads)?, ..self })
    }

    /// A new model of these sizes, whose table is its head too, for windows of `length` tokens.
    pub(crate) fn shape(self, tokenizer: PathBuf, length: usize) -> ModelShape {
        let Self { width, hidden, layers, heads } = self;
        let positions = (2 * length).max(256);
        ModelShape { tokenizer, width, hidden, layers, heads, kv_heads: heads, positions, tied: true }
    }

    /// An error for heads that do not share the width, for blocks that do not share the layers, and for experts that have no layers or, if
    /// they are `copied`, more than a block.
    pub(crate) fn check(self, blocks: usize, layers_per_block: usize, copied: bool) -> Result<(), String> {
        let Self { width, layers, heads, .. } = self;
        if heads == 0 || !width.is_multiple_of(2 * heads) {
            return Err(format!("width {width} is no multiple of twice the {heads} heads"));
        }
        if blocks == 0 || layers == 0 || !layers.is_multiple_of(blocks) {
            return Err(format!("{blocks} blocks do not divide {layers} layers"));
        }
        let per_block = layers / blocks;
        if layers_per_block == 0 || copied && layers_per_block > per_block {
            return Err(format!("layers_per_block {layers_per_block}: 1 to {per_block} can be copied"));
        }
        Ok(())
    }
}
