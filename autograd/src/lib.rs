//! Reverse-mode automatic differentiation on a tape.
//!
//! A [`Var`] is a tensor and, if anything above it is trained, a node on a [`Tape`]. Each operation has a file of its name
//! with the forward and, beside it, the vjp (vector-Jacobian product) that sends a gradient to its parents through a
//! [`Sink`]. What depends on nothing trained never gets a node: it keeps nothing alive and is never walked, and a vjp
//! launches nothing for a parent that wants no gradient. That is the whole of "frozen".
//!
//! ```
//! use mode_autograd::{Param, Tape, Var, linear};
//! use mode_tensor::{Device, Tensor};
//!
//! // y = x W^T, of which W is trained: for a gradient of ones, dW is the sum of x's rows.
//! let device = Device::cpu();
//! let x = Var::constant(Tensor::from_slice(&device, &[1.0, 2.0, 3.0, 4.0], &[2, 2])?);
//! let w = Param::new("w", Tensor::from_slice(&device, &[5.0, 6.0], &[1, 2])?);
//! w.set_trained(true);
//! let tape = Tape::new();
//! let y = linear(&x, &tape.param(&w))?;
//! let gradients = tape.backward(&y, Tensor::full(&device, &[2, 1], 1.0)?)?;
//! assert_eq!(gradients.of(&w)?.to_vec()?, [4.0, 6.0]);
//! # Ok::<(), mode_autograd::AutogradError>(())
//! ```

mod arena;
mod error;
mod gradcheck;
mod gradients;
pub mod loss_scale;
mod optimizer;
mod param;
mod recompute;
mod tape;

mod activation;
mod add;
mod attention;
mod columns;
mod embedding;
mod gate_merge;
mod glu;
mod layer_norm;
mod linear;
mod linear_cross_entropy;
mod rms_norm;
mod rotary;
mod scale;

pub use activation::activation;
pub use add::{add, add_at};
pub use attention::attention;
pub use columns::columns;
pub use embedding::embedding;
pub use error::AutogradError;
pub use gate_merge::{Gated, gate_merge, gate_merge_top};
pub use glu::glu;
pub use gradcheck::{Differentiable, gradcheck};
pub use gradients::{Gradients, Sink};
pub use layer_norm::layer_norm;
pub use linear::{Added, linear, linear_to};
pub use linear_cross_entropy::{Loss, linear_cross_entropy, loss_rows};
pub use loss_scale::LossScale;
pub use optimizer::{AdamW, AdamWSettings, Decayed};
pub use param::Param;
pub use recompute::{Segment, recompute};
pub use rms_norm::rms_norm;
pub use rotary::rotary;
pub use scale::scale;
pub use tape::{Tape, Var};
