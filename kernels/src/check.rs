//! Agreement of a device's kernels with the f64 reference, over each kernel's cases.
//!
//! Of an output that is stored as halves the reference's is rounded too, and one unit in the last place is forgiven before the
//! rest is held to [`TOLERANCE`]: two numbers that agree to that may lie on either side of where rounding turns, and a GPU may
//! round towards zero where the reference takes the nearest; either way they are stored one unit apart at the most, and what
//! lies between them otherwise. Below f16's least normal number, 2^-14, where a GPU may write zero, that much is forgiven.

use crate::{Case, Data, Device, Dtype, Kernel, KernelError, Sizes, View, launch};
use std::collections::BTreeMap;

/// Greatest accepted error: |got - want| / (|want| + root mean square of want), of halves less a unit in the last place.
pub const TOLERANCE: f64 = 3e-5;

/// A unit in the last place of an f16, relative to the number that it is the last place of, at the most.
const LAST_PLACE: f64 = 1.0 / 1024.0;
/// f16's least normal number.
const LEAST_NORMAL: f64 = 1.0 / 16_384.0;

/// How one kernel fared.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Cases that ran.
    pub cases: usize,
    /// Shaders of the cases that did not run, and what the device lacks for them.
    pub not_run: Vec<(&'static str, &'static str)>,
    /// Worst error over all outputs of all cases; infinite where an output was not written or is NaN.
    pub worst: f64,
    /// Where the worst error was.
    pub at: String,
}

impl Outcome {
    /// True if every output was within [`TOLERANCE`].
    pub fn agrees(&self) -> bool {
        self.worst <= TOLERANCE
    }
}

/// For the end of a line: how many cases of which shaders did not run, of [`Outcome::not_run`]; empty if all did.
pub fn not_run(lacks: &[(&'static str, &'static str)]) -> String {
    let mut counts = BTreeMap::new();
    lacks.iter().for_each(|lack| *counts.entry(lack).or_insert(0) += 1);
    counts.iter().map(|((file, what), cases)| format!("; not run: {cases} of {file}, for lack of {what}")).collect()
}

/// Runs each case of kernel `K` that `device` can run, with contents from `seed`, against the reference.
///
/// # Errors
/// What a launch reports.
pub fn kernel<K: Kernel>(device: &Device, sizes: Sizes, seed: u32) -> Result<Outcome, KernelError> {
    cases::<K>(device, K::cases(sizes, seed))
}

/// Runs those of `cases` that `device` can run against the reference.
///
/// # Errors
/// What a launch reports.
pub fn cases<K: Kernel>(device: &Device, cases: Vec<Case<K::Params>>) -> Result<Outcome, KernelError> {
    let mut outcome = Outcome { kernel: K::NAME, cases: 0, not_run: Vec::new(), worst: 0.0, at: String::new() };
    let reference = Device::reference();
    for (number, case) in cases.into_iter().enumerate() {
        let got = match run::<K>(device, &case) {
            Err(KernelError::Lack { file, what, .. }) => {
                outcome.not_run.push((file, what));
                continue;
            }
            got => got?,
        };
        let want = run::<K>(&reference, &case)?;
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            if matches!(case.outputs[i], Data::Scratch(_)) {
                continue;
            }
            let (error, element) = worst_error(got, want, K::dtype(&case.params, K::INPUTS.len() + i));
            if error > outcome.worst {
                outcome.worst = error;
                outcome.at = format!("case {number}, {}[{element}]", K::OUTPUTS[i]);
            }
        }
        outcome.cases += 1;
    }
    Ok(outcome)
}

/// The worst error of what is stored as `dtype` and its element; infinite for NaN.
fn worst_error(got: &[f64], want: &[f64], dtype: Dtype) -> (f64, usize) {
    let mean_square = want.iter().map(|v| v * v).sum::<f64>() / want.len().max(1) as f64;
    let floor = mean_square.sqrt().max(1e-30);
    let mut worst = (0.0, 0);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let forgiven = if dtype == Dtype::F32 { 0.0 } else { (want.abs() * LAST_PLACE).max(LEAST_NORMAL) };
        let difference = (got - want).abs();
        let error = if difference <= forgiven { 0.0 } else { (difference - forgiven) / (want.abs() + floor) };
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > worst.0 {
            worst = (error, i);
        }
    }
    worst
}

/// What a device makes of a case.
fn run<K: Kernel>(device: &Device, case: &Case<K::Params>) -> Result<Vec<Vec<f64>>, KernelError> {
    let [inputs, outputs] = place::<K>(device, case)?;
    launch::<K>(device, &case.params, &inputs.iter().collect::<Vec<_>>(), &outputs.iter().collect::<Vec<_>>())?;
    outputs.iter().map(|view| device.read_f64(view)).collect()
}

/// A case's inputs and outputs on the device.
pub(crate) fn place<K: Kernel>(device: &Device, case: &Case<K::Params>) -> Result<[Vec<View>; 2], KernelError> {
    let place = |(binding, data): (usize, &Data)| -> Result<View, KernelError> {
        let view = View::whole(device.alloc_as(K::dtype(&case.params, binding), data.count())?);
        match data {
            Data::F32(values) => device.write(&view, values)?,
            Data::U32(ids) => device.write_ids(&view, ids)?,
            Data::Out(count) | Data::Scratch(count) => device.write(&view, &vec![f32::NAN; *count])?,
        }
        Ok(view)
    };
    let mut inputs = case.inputs.iter().chain(&case.outputs).enumerate().map(place).collect::<Result<Vec<_>, _>>()?;
    let outputs = inputs.split_off(case.inputs.len());
    Ok([inputs, outputs])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwritten_output_is_infinitely_wrong() {
        let worst = |got: [f64; 2], dtype| worst_error(&got, &[1.0, 2.0], dtype);
        for dtype in [Dtype::F32, Dtype::F16] {
            assert_eq!(worst([1.0, f64::NAN], dtype), (f64::INFINITY, 1));
            assert_eq!(worst([1.0, 2.0], dtype), (0.0, 0));
            assert!(worst([1.0, 2.003], dtype).0 > TOLERANCE);
        }
        // A unit in the last place, and two.
        assert!(worst([1.0, 2.0 + 2.0 / 1024.0], Dtype::F32).0 > TOLERANCE);
        assert_eq!(worst([1.0, 2.0 + 2.0 / 1024.0], Dtype::F16).0, 0.0);
        assert!(worst([1.0, 2.0 + 4.0 / 1024.0], Dtype::F16).0 > TOLERANCE);
    }
}
