//! Agreement of a device's kernels with the f64 reference, over each kernel's cases and over random launches.
//!
//! An element may be off by [`TOLERANCE`] times what it is plus the root mean square of its output. Cases are chosen so that this
//! is fair. Among random launches there are some that nobody would choose: one sum whose terms cancel, or a gradient of exactly
//! nothing, of which f32 leaves the rounding of its terms. An element of a draw may be off by as much besides as the reference itself
//! moves, in the root mean square, when each number of its inputs changes by [`NUDGE`] of itself up or down. Where nothing
//! cancels that is less than half of the tolerance.
//!
//! The reference knows nothing of storage: it is given inputs as they are stored, and what it makes is not rounded. An output that is
//! stored as halves may be off by what that rounding does to each element, and by no more than that besides (`Dtype::rounding`).

use crate::profile::settings;
use crate::{
    Bindings, Case, Data, Device, Draw, Dtype, Kernel, KernelError, Parameters, Sizes, View, fill_hash, launch,
};
use std::collections::BTreeMap;

/// Greatest accepted error: |got - want| / (|want| + root mean square of want), less in |got - want| what a tier that rounds on its way
/// may add to it, [`Kernel::rounding`], and what storing it as halves may.
pub const TOLERANCE: f64 = 3e-5;

/// What inputs of a draw are changed by, of themselves, to see what rounding can do: 168 units in the last place, by which a sum of as
/// many terms is off if all of its roundings go one way.
pub const NUDGE: f64 = 1e-5;

/// How often they are.
const NUDGES: u32 = 8;

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
    /// The own seed of the draw where it was, which draws it again alone.
    pub seed: Option<u32>,
    /// Draws that agree only by what a change of their inputs' last bits makes of them.
    pub nudged: usize,
}

impl Outcome {
    /// That of no case.
    pub fn none(kernel: &'static str) -> Self {
        Self { kernel, cases: 0, not_run: Vec::new(), worst: 0.0, at: String::new(), seed: None, nudged: 0 }
    }

    /// This and `more` cases of the same kernel.
    #[must_use]
    pub fn with(mut self, more: Self) -> Self {
        self.cases += more.cases;
        self.nudged += more.nudged;
        self.not_run.extend(more.not_run);
        if more.worst > self.worst {
            (self.worst, self.at, self.seed) = (more.worst, more.at, more.seed);
        }
        self
    }

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
    let mut outcome = Outcome::none(K::NAME);
    for (number, case) in K::cases(sizes, seed).iter().enumerate() {
        meet::<K>(device, case, &mut outcome, None, || format!("case {number}"))?;
    }
    Ok(outcome)
}

/// Runs those of `count` draws of kernel `K` that `device` can run against the reference; the first has `seed`, the others have
/// [`Draw::nth_seed`].
///
/// # Errors
/// What a launch reports, with the draw's own seed.
pub fn draws<K: Kernel>(device: &Device, count: u32, seed: u32) -> Result<Outcome, KernelError> {
    let mut outcome = Outcome::none(K::NAME);
    for number in 0..count {
        let own = Draw::nth_seed(seed, number);
        let case = K::draw(&mut Draw::new(own));
        let sizes = || {
            let settings = settings(K::Params::FIELDS, bytemuck::bytes_of(&case.params));
            settings.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(" ")
        };
        meet::<K>(device, &case, &mut outcome, Some(own), sizes)
            .map_err(|source| KernelError::Draw { seed: own, source: Box::new(source) })?;
    }
    Ok(outcome)
}

/// Runs one case, a draw if it has a seed, and adds what came of it to `outcome`.
fn meet<K: Kernel>(
    device: &Device,
    case: &Case<K::Params>,
    outcome: &mut Outcome,
    seed: Option<u32>,
    place: impl Fn() -> String,
) -> Result<(), KernelError> {
    let got = match run::<K>(device, case) {
        Err(KernelError::Lack { file, what, .. }) => {
            outcome.not_run.push((file, what));
            return Ok(());
        }
        got => got?,
    };
    outcome.cases += 1;
    let want = reference::<K>(case, None);
    let errors = |moved: &[f64]| -> Vec<(usize, (f64, usize))> {
        let checked = (0..got.len()).filter(|&i| !matches!(case.outputs[i], Data::Scratch(_)));
        let worst = |i: usize| {
            let greatest = want[i].iter().fold(0.0, |most: f64, v| most.max(v.abs()));
            let all = moved[i] + K::rounding(&case.params, i) * greatest;
            let dtype = K::dtype(&case.params, K::INPUTS.len() + i);
            worst_error(&got[i], &want[i], |want| all + dtype.rounding(want, device.is_gpu()))
        };
        checked.map(|i| (i, worst(i))).collect()
    };
    let mut found = errors(&vec![0.0; got.len()]);
    if seed.is_some() && found.iter().any(|(_, (error, _))| *error > TOLERANCE && error.is_finite()) {
        found = errors(&moved::<K>(case, &want));
        outcome.nudged += usize::from(found.iter().all(|(_, (error, _))| *error <= TOLERANCE));
    }
    for (i, (error, element)) in found {
        if error > outcome.worst {
            (outcome.worst, outcome.seed) = (error, seed);
            outcome.at = format!("{}, {}[{element}]", place(), K::OUTPUTS[i]);
        }
    }
    Ok(())
}

/// The worst error, past what each element is allowed to be off by in any case, and its element; infinite for NaN.
pub(crate) fn worst_error(got: &[f64], want: &[f64], allowed: impl Fn(f64) -> f64) -> (f64, usize) {
    let floor = mean_square(want.iter().copied()).sqrt().max(1e-30);
    let mut worst = (0.0, 0);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = ((got - want).abs() - allowed(*want)) / (want.abs() + floor);
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > worst.0 {
            worst = (error, i);
        }
    }
    worst
}

fn mean_square(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.map(|value| value * value).sum::<f64>() / count
}

/// How far the outputs of the reference move, in the root mean square, when inputs change by [`NUDGE`].
fn moved<K: Kernel>(case: &Case<K::Params>, want: &[Vec<f64>]) -> Vec<f64> {
    let mut sums = vec![0.0; want.len()];
    for nudge in 0..NUDGES {
        for ((sum, moved), want) in sums.iter_mut().zip(reference::<K>(case, Some(nudge))).zip(want) {
            *sum += mean_square(moved.iter().zip(want).map(|(moved, want)| moved - want)) / f64::from(NUDGES);
        }
    }
    sums.into_iter().map(f64::sqrt).collect()
}

/// What the reference makes of a case, or of one whose numbers are nudged.
fn reference<K: Kernel>(case: &Case<K::Params>, nudge: Option<u32>) -> Vec<Vec<f64>> {
    // Each buffer's numbers go ways of their own: what is the same in two of them must not stay so.
    let way = |buffer: usize, i: usize| match nudge {
        Some(round) if fill_hash::hash(100 * round + buffer as u32, i as u32) & 1 == 0 => 1.0 - NUDGE,
        Some(_) => 1.0 + NUDGE,
        None => 1.0,
    };
    let widen = |(buffer, data): (usize, &Data)| {
        let dtype = K::dtype(&case.params, buffer);
        match data {
            Data::F32(values) => {
                dtype.round(values).iter().enumerate().map(|(i, &v)| f64::from(v) * way(buffer, i)).collect()
            }
            Data::U32(ids) => ids.iter().map(|&v| f64::from(v)).collect(),
            Data::Out(count) | Data::Scratch(count) => vec![f64::NAN; *count],
        }
    };
    let mut buffers: Vec<Vec<f64>> = case.inputs.iter().chain(&case.outputs).enumerate().map(widen).collect();
    let mut outputs = buffers.split_off(case.inputs.len());
    let bindings =
        Bindings::new(buffers.iter().map(Vec::as_slice).collect(), outputs.iter_mut().map(Vec::as_mut_slice).collect());
    K::reference(&case.params, bindings);
    outputs
}

/// What the device makes of it.
fn run<K: Kernel>(device: &Device, case: &Case<K::Params>) -> Result<Vec<Vec<f64>>, KernelError> {
    let [inputs, outputs] = place::<K>(device, case)?;
    launch::<K>(device, &case.params, &inputs.iter().collect::<Vec<_>>(), &outputs.iter().collect::<Vec<_>>())?;
    outputs.iter().map(|view| device.read_f64(view)).collect()
}

/// A buffer's contents on the device, stored as `dtype`.
pub(crate) fn view(device: &Device, dtype: Dtype, data: &Data) -> Result<View, KernelError> {
    let view = View::whole(device.alloc_as(dtype, data.count())?);
    match data {
        Data::F32(values) => device.write(&view, values)?,
        Data::U32(ids) => device.write_ids(&view, ids)?,
        Data::Out(count) | Data::Scratch(count) => device.write(&view, &vec![f32::NAN; *count])?,
    }
    Ok(view)
}

/// A case's inputs and outputs on the device.
pub(crate) fn place<K: Kernel>(device: &Device, case: &Case<K::Params>) -> Result<[Vec<View>; 2], KernelError> {
    let place = |(binding, data)| view(device, K::dtype(&case.params, binding), data);
    let mut inputs = case.inputs.iter().chain(&case.outputs).enumerate().map(place).collect::<Result<Vec<_>, _>>()?;
    let outputs = inputs.split_off(case.inputs.len());
    Ok([inputs, outputs])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::add::{Add, Params};

    #[test]
    fn an_unwritten_output_is_infinitely_wrong() {
        let worst = |got: [f64; 2], allowed: f64| worst_error(&got, &[1.0, 2.0], |_| allowed);
        assert_eq!(worst([1.0, f64::NAN], 0.1), (f64::INFINITY, 1));
        assert_eq!(worst([1.0, 2.0], 0.0), (0.0, 0));
        assert!(worst([1.0, 2.001], 0.0).0 > TOLERANCE);
        assert!(worst([1.001, 2.0], 8e-4).0 > TOLERANCE);
        assert_eq!(worst([1.001, 2.0], 1.1e-3), (0.0, 0));
    }

    #[test]
    fn what_is_stored_as_halves_may_be_off_by_their_rounding_and_no_more() {
        let worst = |got: f64, want: f64, dtype: Dtype, gpu| worst_error(&[got], &[want], |v| dtype.rounding(v, gpu)).0;
        // Halves next to 2 lie 1 / 512 apart above it: the nearest is half of that away, and the next below, on a GPU, all of it.
        let unit = 1.0 / 512.0;
        assert!(worst(2.0 + 0.5 * unit, 2.0, Dtype::F32, true) > TOLERANCE);
        assert_eq!(worst(2.0, 2.0 + 0.5 * unit, Dtype::F16, false), 0.0);
        assert!(worst(2.0, 2.0 + 0.6 * unit, Dtype::F16, false) > TOLERANCE);
        assert_eq!(worst(2.0, 2.0 + 0.99 * unit, Dtype::F16, true), 0.0);
        assert!(worst(2.0, 2.0 + 1.2 * unit, Dtype::F16, true) > TOLERANCE);
        // A GPU may write zero for what is no normal number; main memory may not.
        assert_eq!(worst(0.0, 5e-5, Dtype::F16, true), 0.0);
        assert!(worst(0.0, 5e-5, Dtype::F16, false) > TOLERANCE);
    }

    #[test]
    fn what_cancels_may_be_off_by_the_rounding_of_its_terms_and_no_more() {
        // 1000.0001 less 1000: an f32 has no more than the first digit of what is left.
        let inputs = vec![Data::F32(vec![1_000.000_1; 2]), Data::F32(vec![-1_000.0; 2])];
        let params = Params { count: 2, dtype: Dtype::F32.code(), b_dtype: Dtype::F32.code() };
        let case = Case { params, inputs, outputs: vec![Data::Out(2)] };
        let want = reference::<Add>(&case, None);
        let moved = moved::<Add>(&case, &want)[0];
        let error = |off: f64| {
            let got: Vec<f64> = want[0].iter().map(|want| want + off).collect();
            (worst_error(&got, &want[0], |_| 0.0).0, worst_error(&got, &want[0], |_| moved).0)
        };
        let ((plain, nudged), (_, wrong)) = (error(6e-5), error(0.06));
        assert!(plain > TOLERANCE && nudged < TOLERANCE && wrong > TOLERANCE, "{plain} {nudged} {wrong}");
    }
}
