//! Agreement of a device's kernels with the f64 reference, over each kernel's cases.

use crate::{Bindings, Case, Data, Device, Dtype, Kernel, KernelError, Sizes, View, launch};
use std::collections::BTreeMap;

/// Greatest accepted error: |got - want| / (|want| + root mean square of want), less in |got - want| what a tier that rounds on its way
/// may add to it, [`Kernel::rounding`].
pub const TOLERANCE: f64 = 3e-5;

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
    for (number, case) in cases.into_iter().enumerate() {
        let got = match run::<K>(device, &case) {
            Err(KernelError::Lack { file, what, .. }) => {
                outcome.not_run.push((file, what));
                continue;
            }
            got => got?,
        };
        let want = reference::<K>(&case);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            if matches!(case.outputs[i], Data::Scratch(_)) {
                continue;
            }
            let (error, element) = worst_error(got, want, K::rounding(&case.params, i));
            if error > outcome.worst {
                outcome.worst = error;
                outcome.at = format!("case {number}, {}[{element}]", K::OUTPUTS[i]);
            }
        }
        outcome.cases += 1;
    }
    Ok(outcome)
}

/// The worst error and its element, past `rounding` of what is greatest; infinite for NaN.
fn worst_error(got: &[f64], want: &[f64], rounding: f64) -> (f64, usize) {
    let mean_square = want.iter().map(|v| v * v).sum::<f64>() / want.len().max(1) as f64;
    let floor = mean_square.sqrt().max(1e-30);
    let rounded = rounding * want.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    let mut worst = (0.0, 0);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = ((got - want).abs() - rounded) / (want.abs() + floor);
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > worst.0 {
            worst = (error, i);
        }
    }
    worst
}

/// What the reference makes of a case.
fn reference<K: Kernel>(case: &Case<K::Params>) -> Vec<Vec<f64>> {
    let widen = |data: &Data| match data {
        Data::F32(values) => values.iter().map(|&v| f64::from(v)).collect(),
        Data::Halves(dtype, values) => {
            let mut rounded = vec![0.0; values.len()];
            dtype.decode(&dtype.encode(values), &mut rounded);
            rounded.into_iter().map(f64::from).collect()
        }
        Data::U32(ids) => ids.iter().map(|&v| f64::from(v)).collect(),
        Data::Out(count) | Data::Scratch(count) => vec![f64::NAN; *count],
    };
    let inputs: Vec<Vec<f64>> = case.inputs.iter().map(widen).collect();
    let mut outputs: Vec<Vec<f64>> = case.outputs.iter().map(widen).collect();
    let bindings =
        Bindings::new(inputs.iter().map(Vec::as_slice).collect(), outputs.iter_mut().map(Vec::as_mut_slice).collect());
    K::reference(&case.params, bindings);
    outputs
}

/// What the device makes of it.
fn run<K: Kernel>(device: &Device, case: &Case<K::Params>) -> Result<Vec<Vec<f64>>, KernelError> {
    let (inputs, outputs) = (place(device, &case.inputs)?, place(device, &case.outputs)?);
    launch::<K>(device, &case.params, &inputs.iter().collect::<Vec<_>>(), &outputs.iter().collect::<Vec<_>>())?;
    outputs.iter().map(|view| device.read_f64(view)).collect()
}

/// A case's contents on the device.
pub(crate) fn place(device: &Device, contents: &[Data]) -> Result<Vec<View>, KernelError> {
    let place = |data: &Data| -> Result<View, KernelError> {
        let dtype = if let Data::Halves(dtype, _) = data { *dtype } else { Dtype::F32 };
        let view = View::whole(device.alloc_as(dtype, data.count())?);
        match data {
            Data::F32(values) | Data::Halves(_, values) => device.write(&view, values)?,
            Data::U32(ids) => device.write_ids(&view, ids)?,
            Data::Out(count) | Data::Scratch(count) => device.write(&view, &vec![f32::NAN; *count])?,
        }
        Ok(view)
    };
    contents.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwritten_output_is_infinitely_wrong() {
        assert_eq!(worst_error(&[1.0, f64::NAN], &[1.0, 2.0], 0.1), (f64::INFINITY, 1));
        assert_eq!(worst_error(&[1.0, 2.0], &[1.0, 2.0], 0.0), (0.0, 0));
        assert!(worst_error(&[1.0, 2.001], &[1.0, 2.0], 0.0).0 > TOLERANCE);
        assert!(worst_error(&[1.001, 2.0], &[1.0, 2.0], 4e-4).0 > TOLERANCE);
        assert_eq!(worst_error(&[1.001, 2.0], &[1.0, 2.0], 6e-4), (0.0, 0));
    }
}
