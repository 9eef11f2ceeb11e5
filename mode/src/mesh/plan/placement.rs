//! How a tensor lies on the tensor axis of a mesh: the words of GSPMD (arXiv 2105.04663) and of PyTorch's DTensor.

/// How a tensor lies along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placement {
    /// Each device has its own tokens.
    Shard,
    /// Each device has all of it, to the bit.
    Replicate,
    /// Each device has a term of the sum that it is.
    Partial,
}
