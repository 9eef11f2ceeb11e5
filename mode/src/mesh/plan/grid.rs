//! A mesh: devices in a grid of two named axes.
//!
//! Along *data* each device has its own windows of a batch, along *tensor* its own part of every matrix. A program runs on one mesh (SPMD);
//! a layout has one mesh, or one for the backbone and one or more for experts (MPMD; arXiv 2410.10181, section 4).

use std::ops::Range;

/// An axis of a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Axis {
    /// Windows are shared out.
    Data,
    /// Heads, hidden elements and words of the vocabulary are shared out.
    Tensor,
}

/// Devices that run one program in step. Their numbers are consecutive, the tensor axis innermost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// What it is called.
    pub name: String,
    /// Devices along the data axis.
    pub data: usize,
    /// Devices along the tensor axis.
    pub tensor: usize,
    /// The number of its first device among all of the layout's.
    pub first: usize,
}

impl Mesh {
    /// How many devices it has.
    pub fn size(&self) -> usize {
        self.data * self.tensor
    }

    /// Their numbers.
    pub fn devices(&self) -> Range<usize> {
        self.first..self.first + self.size()
    }

    /// Where one of its devices stands along an axis.
    pub fn position(&self, device: usize, axis: Axis) -> usize {
        let number = device - self.first;
        if axis == Axis::Tensor { number % self.tensor } else { number / self.tensor }
    }

    /// The devices that differ from this one along an axis alone, it among them, in order.
    pub fn group(&self, device: usize, axis: Axis) -> Vec<usize> {
        let position = self.position(device, axis);
        let (count, stride) = if axis == Axis::Tensor { (self.tensor, 1) } else { (self.data, self.tensor) };
        (0..count).map(|i| device + i * stride - position * stride).collect()
    }

    /// `4`, or `2x2` where windows are shared out too.
    pub fn shape(&self) -> String {
        if self.data == 1 { self.tensor.to_string() } else { format!("{}x{}", self.data, self.tensor) }
    }
}

/// Part number `part` of `total` things in `parts` parts that are as even as can be.
pub fn share(total: usize, parts: usize, part: usize) -> Range<usize> {
    let at = |part: usize| (total as u64 * part as u64 / parts as u64) as usize;
    at(part)..at(part + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lie_along_axes() {
        let mesh = Mesh { name: "backbone".into(), data: 2, tensor: 3, first: 4 };
        assert_eq!(mesh.devices(), 4..10);
        assert_eq!(mesh.group(8, Axis::Tensor), [7, 8, 9]);
        assert_eq!(mesh.group(8, Axis::Data), [5, 8]);
        assert_eq!((mesh.position(8, Axis::Data), mesh.position(8, Axis::Tensor)), (1, 1));
    }

    #[test]
    fn shares_cover_all() {
        let parts: Vec<_> = (0..3).map(|part| share(8, 3, part)).collect();
        assert_eq!(parts, [0..2, 2..5, 5..8]);
    }
}
