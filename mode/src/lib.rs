//! Modular Domain Experts (arXiv 2410.10181): a frozen pre-trained language model, cut into blocks; beside each block, per
//! domain, an expert of a few transformer layers; per token, a softmax gate that merges their outputs.
//!
//! [`model`] is the maths, [`data`] text and tokens, [`train`] recipes, steps and runs, [`generate`] what comes next, [`report`] the
//! page, [`cli`] the program. Tensors, gradients and kernels live on the floors below: `mode-tensor`, `mode-autograd`, `mode-kernels`.
//!
//! ```
//! use mode::model::{Backbone, Config, Expert, ExpertInfo, ExpertInit, Gate, Model, Random, Trained};
//! use mode::generate::generate;
//! use mode::train::one_step;
//! use mode_autograd::{AdamW, AdamWSettings};
//! use mode_tensor::Device;
//!
//! // A small backbone, cut into two blocks, with an expert of one layer beside each: stage 1.
//! let (device, mut random) = (Device::cpu(), Random::new(1));
//! let config = Config {
//!     vocabulary: 32, width: 16, hidden: 24, layers: 4, heads: 2, kv_heads: 1, head_width: 8, positions: 64,
//!     tied: true, ..Config::default()
//! };
//! let backbone = Backbone::random(config, &device, &mut random)?;
//! let info = ExpertInfo::new("counting", "numbers in order", "", 2, 1)?;
//! let expert = Expert::new(&backbone, info, ExpertInit::Copy, &mut random)?;
//! let gates = (0..2).map(|block| Gate::with_share(&device, block, 16, 0.5)).collect::<Result<_, _>>()?;
//! let model = Model::with_experts(backbone, vec![expert], gates)?;
//! model.set_trained(Trained::Experts);
//!
//! let mut optimizer = AdamW::new(model.params(), AdamWSettings::default())?;
//! let windows = [(0..32).collect()];
//! let mut step = || one_step(&model, &mut optimizer, &windows, 1, 1e-2);
//! let first = step()?.loss;
//! for _ in 0..10 {
//!     step()?;
//! }
//! assert!(step()?.loss < first);
//! assert_eq!(generate(&model, &[7, 8, 9], 3, &[])?.ids.len(), 3);
//! # Ok::<(), mode::Error>(())
//! ```

pub mod bench;
pub mod cli;
pub mod data;
pub mod demo;
mod error;
pub mod experiments;
mod files;
mod folders;
pub mod generate;
#[cfg(feature = "hub")]
pub mod hub;
pub mod inspect;
mod memory;
pub mod mesh;
pub mod model;
pub mod report;
mod set;
pub mod train;
mod tune;

pub use error::Error;
