//! What can go wrong with tensors.

use mode_kernels::KernelError;
use std::path::PathBuf;

/// An error of a tensor operation or of a safetensors file.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// Operands whose shapes do not fit.
    #[error("{op}: {what}: {left:?} and {right:?}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// What should have been.
        what: &'static str,
        /// One shape.
        left: Vec<usize>,
        /// The other.
        right: Vec<usize>,
    },
    /// An id that its table does not have.
    #[error("token {id} is out of range: the vocabulary has {rows} tokens (0 to {})", .rows.saturating_sub(1))]
    Id {
        /// The id.
        id: u32,
        /// Rows of the table.
        rows: usize,
    },
    /// The device or a kernel failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A file that can't be read or written.
    #[error("{}: {source}; check the path, its permissions and the free space", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is no safetensors file, or a broken one.
    #[error("{}: not a whole safetensors file ({why}); copy or download it again", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A tensor that a file does not have.
    #[error("{}: no tensor '{name}'", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor of another shape than wanted.
    #[error("{}: tensor '{name}' has shape {found:?}, the configuration says {wanted:?}", .path.display())]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape wanted.
        wanted: Vec<usize>,
    },
    /// A tensor of an element type that is not read.
    #[error("{}: tensor '{name}' has element type {dtype}; F32, F16 and BF16 are read", .path.display())]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type in the file.
        dtype: String,
    },
}

impl TensorError {
    pub(crate) fn shape(op: &'static str, what: &'static str, left: &[usize], right: &[usize]) -> Self {
        Self::Shape { op, what, left: left.into(), right: right.into() }
    }
}
