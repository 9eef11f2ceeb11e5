//! Modular Domain Experts (arXiv 2410.10181): a frozen pre-trained language model, cut into blocks; beside each block, per
//! domain, an expert of a few transformer layers; per token, a softmax gate that merges their outputs.
//!
//! [`model`] is the maths, [`data`] text and tokens, [`train`] recipes, steps and runs, [`report`] the page, [`cli`] the
//! program. Tensors, gradients and kernels live on the floors below: `mode-tensor`, `mode-autograd`, `mode-kernels`.

pub mod bench;
pub mod cli;
pub mod data;
pub mod demo;
mod error;
mod files;
pub mod inspect;
mod memory;
pub mod model;
pub mod report;
pub mod train;

pub use error::Error;
