//! How long each launch took.
//!
//! On the CPU a launch is timed as it runs. On a GPU each dispatch gets a compute pass of its own, whose beginning and end the GPU
//! writes down; that keeps launches from overlapping, so a profiled step is slower than a step. Every submission is waited for and
//! read, so between some dispatches there are pauses.

use crate::Cost;

/// Names and values of a launch's whole-number parameters.
pub type Settings = Vec<(&'static str, u32)>;

/// One launch, or one dispatch of it on a GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The kernel.
    pub kernel: &'static str,
    /// The shader's entry point, on a GPU.
    pub entry: Option<&'static str>,
    /// Its parameters that are whole numbers: the sizes, and what is switched on.
    pub settings: Settings,
    /// True if its shader multiplies by cooperative matrices.
    pub cooperative: bool,
    /// What it costs at the least; of several dispatches the first has all of it.
    pub cost: Cost,
    /// When it began, in seconds after the profile's start, on a GPU after the first dispatch's.
    pub begin: f64,
    /// How long it took.
    pub seconds: f64,
}

/// The whole numbers among the fields of some parameters, each of four bytes.
pub(crate) fn settings(fields: &[(&'static str, &'static str)], params: &[u8]) -> Settings {
    let values = fields.iter().zip(params.chunks_exact(4));
    values
        .filter(|((_, ty), _)| *ty == "u32")
        .map(|((name, _), bytes)| (*name, bytemuck::pod_read_unaligned(bytes)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_named() {
        let params = crate::scale::Params { count: 7, alpha: 0.5, accumulate: 1, dtype: 0, y_dtype: 1 };
        let fields = <crate::scale::Params as crate::Parameters>::FIELDS;
        let expected = [("count", 7), ("accumulate", 1), ("dtype", 0), ("y_dtype", 1)];
        assert_eq!(settings(fields, bytemuck::bytes_of(&params)), expected);
    }
}
