//! Tensors: contiguous, row-major, on one device; f32, and weights that are only read also f16 or bf16.
//!
//! This floor knows shapes and no tape: a backward here is an operation like any other. Each operation has a file of its
//! name, which checks its operands' shapes, takes memory for the result and launches one kernel; a shape that does not fit is
//! an error that names the operation and both shapes.

mod error;
mod ids;
mod safetensors;
mod tensor;

mod adamw;
mod add;
mod attention;
mod cross_entropy;
mod embedding;
mod fill;
mod gate_merge;
mod matmul;
mod rms_norm;
mod rotary;
mod scale;
mod sum_of_squares;
mod swiglu;

pub use self::safetensors::{SafeTensors, write_safetensors};
pub use adamw::{AdamWStep, adamw};
pub use add::add;
pub use attention::{Attended, AttentionShape, attention, attention_backward};
pub use cross_entropy::{CrossEntropy, cross_entropy, cross_entropy_backward};
pub use embedding::{embedding, embedding_backward};
pub use error::TensorError;
pub use fill::fill;
pub use gate_merge::{GateGradients, Merged, Wanted, gate_merge, gate_merge_backward};
pub use ids::Ids;
pub use matmul::{Product, matmul, matmul_into};
pub use mode_kernels::{Counters, Device, Dtype};
pub use rms_norm::{rms_norm, rms_norm_dw, rms_norm_dx};
pub use rotary::{Rotation, rotary};
pub use scale::{accumulate, copy, copy_rows, scale};
pub use sum_of_squares::sum_of_squares;
pub use swiglu::{swiglu, swiglu_backward};
pub use tensor::{Target, Tensor};
