//! Tensors: contiguous, row-major, on one device; f32, and weights that are only read also f16 or bf16.
//!
//! This floor knows shapes and no tape: a backward here is an operation like any other. Each operation has a file of its
//! name, which checks its operands' shapes, takes memory for the result and launches one kernel; a shape that does not fit is
//! an error that names the operation and both shapes.
//!
//! ```
//! use mode_tensor::{Device, Product, Tensor, matmul};
//!
//! // A linear layer: x [2, 3] times W^T, W [1, 3].
//! let device = Device::cpu();
//! let x = Tensor::from_slice(&device, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
//! let w = Tensor::from_slice(&device, &[1.0, 0.0, -1.0], &[1, 3])?;
//! assert_eq!(matmul(Product::new(&x, &w).transpose_b())?.to_vec()?, [-2.0, -2.0]);
//! let error = matmul(Product::new(&x, &w)).unwrap_err();
//! assert_eq!(error.to_string(), "matmul: the inner dims of the product differ: [2, 3] and [1, 3]");
//! # Ok::<(), mode_tensor::TensorError>(())
//! ```

mod error;
mod ids;
mod mapped;
mod safetensors;
mod tensor;

mod activation;
mod adamw;
mod add;
mod as_f16;
mod attention;
mod columns;
mod copy;
mod cross_entropy;
mod cross_entropy_part;
mod embedding;
mod fill;
mod gate_merge;
mod glu;
mod matmul;
mod rms_norm;
mod rotary;
mod scale;
mod sum_of_squares;
mod sum_rows;

pub use self::safetensors::{SafeTensors, write_safetensors};
pub use activation::{activation, activation_backward};
pub use adamw::{AdamWStep, adamw};
pub use add::add;
pub use as_f16::as_f16;
pub use attention::{Attended, AttentionShape, attention, attention_backward};
pub use columns::{add_columns, columns};
pub use copy::{copy, copy_block, copy_rows};
pub use cross_entropy::CrossEntropy;
pub use cross_entropy_part::{Joined, cross_entropy_part, cross_entropy_part_gradient, join_parts};
pub use embedding::{embedding, embedding_backward};
pub use error::TensorError;
pub use fill::fill;
pub use gate_merge::{GateGradients, Merged, Wanted, gate_merge, gate_merge_backward, gate_merge_top};
pub use glu::{glu, glu_backward};
pub use ids::Ids;
pub use mapped::Mapped;
pub use matmul::{Product, matmul, matmul_into};
pub use mode_kernels::{Activation, Counters, Device, Dtype};
pub use rms_norm::{layer_norm, rms_norm, rms_norm_dw, rms_norm_dx};
pub use rotary::{Rotation, rotary};
pub use scale::{accumulate, scale};
pub use sum_of_squares::sum_of_squares;
pub use sum_rows::sum_rows;
pub use tensor::{Target, Tensor};
