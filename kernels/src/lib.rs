//! The kernels of MoDE: every numerical operation, three times.
//!
//! Each file named after an operation holds, in this order: its maths and shapes, its parameters, the [`Kernel`]
//! definition with the launch geometry of its WGSL, a fast CPU body, a naive f64 reference that reads like the maths, the
//! odd-sized cases on which all three must agree, and a hand-worked test that guards the reference itself.
//!
//! A [`Device`] runs kernels: a GPU through wgpu, the CPU, or the reference (f64, slow, the oracle of the other two).
//! This is the only crate that names wgpu.
//!
//! ```
//! use mode_kernels::{Device, Epilogue, Sizes, View, check, matmul, registry::Matmul};
//!
//! // c [1, 1] = a [1, 2] times b [2, 1].
//! let device = Device::cpu();
//! let [a, b, c] = [2, 2, 1].map(|len| device.alloc(len).map(View::whole));
//! let (a, b, c) = (a?, b?, c?);
//! device.write(&a, &[1.0, 2.0])?;
//! device.write(&b, &[3.0, 4.0])?;
//! matmul::matmul(&device, matmul::Params::new(1, 1, 1, 2, false, false), [&a, &b], &Epilogue::default(), &c)?;
//! assert_eq!(device.read(&c)?, [11.0]);
//!
//! // The same kernel on odd sizes against its f64 reference, as `mode check` does it.
//! assert!(check::kernel::<Matmul>(&device, Sizes::Odd, 7)?.agrees());
//! # Ok::<(), mode_kernels::KernelError>(())
//! ```
//!
//! To add a kernel: one `.wgsl` file and its name in `shaders/`, one file and its name here, one word in [`registry`].

mod bindings;
mod buffer;
pub mod check;
mod cooperative;
mod cpu;
mod device;
mod draw;
mod dtype;
mod error;
pub mod fill_hash;
mod gemm;
mod gpu;
mod kernel;
mod memory;
mod narrow;
mod pool;
mod profile;
mod reading;
pub mod registry;
mod scratch;
pub mod shaders;
mod simd;
mod stream;
mod strips;
mod time;
pub mod tune;
mod tuning;
mod watch;

pub mod activation;
pub mod activation_backward;
pub mod adamw;
pub mod add;
pub mod attention;
pub mod attention_backward;
pub mod bias;
pub mod columns;
pub mod cross_entropy;
pub mod cross_entropy_part;
pub mod embedding;
pub mod embedding_backward;
pub mod epilogue;
pub mod fill;
pub mod fma;
pub mod gate_merge;
pub mod gate_merge_backward;
pub mod glu;
pub mod glu_backward;
pub mod matmul;
pub mod mma;
pub mod multiply;
pub mod rms_norm;
pub mod rms_norm_dw;
pub mod rms_norm_dx;
pub mod rotary;
pub mod scale;
pub mod softmax;
pub mod softmax_backward;
pub mod sum_of_squares;
pub mod sum_rows;

pub use activation::Activation;
pub use bindings::Bindings;
pub use buffer::{Buffer, View};
pub use device::{AdapterSummary, Capabilities, Device};
pub use draw::{Draw, SEEDS};
pub use dtype::Dtype;
pub use epilogue::Epilogue;
pub use error::{KernelError, ShaderError};
pub use kernel::{Case, Cost, Data, Kernel, Parameters, Pass, Sizes, grid, launch};
pub use pool::Counters;
pub use profile::{Settings, Timing};
pub use reading::{Arrived, Reading};
pub use time::Time;
pub use tuning::Tuning;
