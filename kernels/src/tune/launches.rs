//! Launches as the floors above make them, through the kernels' own functions, which choose tiers and tiles.

use crate::check::{view, worst_error};
use crate::fill_hash::fill;
use crate::matmul::Precision;
use crate::{Capabilities, Data, Device, Dtype, Epilogue, Kernel, KernelError, Tuning, View};
use crate::{attention, attention_backward, gate_merge, gate_merge_backward, matmul};

/// How a launch is computed: two launches of one shape with the same numbers are the same dispatches.
pub(super) struct Way {
    pub(super) numbers: [u32; 2],
    /// [`Kernel::rounding`] of the first output.
    rounding: f64,
}

impl Way {
    fn exact(numbers: [u32; 2]) -> Self {
        Self { numbers, rounding: 0.0 }
    }
}

/// How an input is stored, and its numbers.
type Operand = (Dtype, Vec<f32>);

/// One that is stored as f32.
fn plain(values: Vec<f32>) -> Operand {
    (Dtype::F32, values)
}

type Ways = dyn Fn(Capabilities, &Tuning) -> Way;
type Run = dyn Fn(&Device, &[View], &[View]) -> Result<(), KernelError>;

/// One launch: what goes in, elements of what comes out, and the function that makes it.
pub struct Launch {
    /// Its shape, for a person.
    pub(super) name: String,
    inputs: Box<dyn Fn() -> Vec<Operand>>,
    outputs: Vec<usize>,
    pub(super) way: Box<Ways>,
    pub(super) run: Box<Run>,
}

impl Launch {
    /// What it reads and writes.
    pub(super) fn place(&self, device: &Device) -> Result<[Vec<View>; 2], KernelError> {
        let inputs = (self.inputs)().into_iter().map(|(dtype, values)| view(device, dtype, &Data::F32(values)));
        let outputs = self.outputs.iter().map(|&count| view(device, Dtype::F32, &Data::Out(count)));
        Ok([inputs.collect::<Result<_, _>>()?, outputs.collect::<Result<_, _>>()?])
    }

    /// Bytes of the largest buffer.
    #[cfg(test)]
    pub(super) fn largest(&self) -> usize {
        let inputs =
            (self.inputs)().iter().map(|(dtype, values)| 4 * dtype.words(values.len())).max().unwrap_or_default();
        self.outputs.iter().map(|count| 4 * count).fold(inputs, usize::max)
    }

    fn results(&self, device: &Device) -> Result<Vec<Vec<f64>>, KernelError> {
        let [inputs, outputs] = self.place(device)?;
        (self.run)(device, &inputs, &outputs)?;
        outputs.iter().map(|view| device.read_f64(view)).collect()
    }

    /// The worst error of what `device` makes of it, as in [`crate::check`].
    pub(super) fn error(&self, device: &Device) -> Result<f64, KernelError> {
        let (got, want) = (self.results(device)?, self.results(&Device::reference())?);
        let rounding = (self.way)(device.capabilities(), &device.tuning()).rounding;
        let greatest = want[0].iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        let errors = got.iter().zip(&want).enumerate().map(|(i, (got, want))| {
            let allowed = if i == 0 { rounding * greatest } else { 0.0 };
            worst_error(got, want, |_| allowed).0
        });
        Ok(errors.fold(0.0, f64::max))
    }
}

/// Numbers, such as f16 holds if they may be rounded to it.
fn numbers(seed: u32, count: usize, scale: f32, rounded: bool) -> Vec<f32> {
    let values = fill(seed, count, scale);
    if rounded { Dtype::F16.round(&values) } else { values }
}

fn precision(rounded: bool) -> u32 {
    if rounded { Precision::Half } else { Precision::F32 }.code()
}

/// A product of m x k by k x n, the latter stored as `dtype`; of operands that f16 holds, if they may be rounded to it.
pub(super) fn product([m, n, k]: [usize; 3], transposes: [bool; 2], dtype: Dtype, rounded: bool) -> Launch {
    use matmul::Params;
    let params = Params {
        precision: precision(rounded),
        dtype: dtype.code(),
        ..Params::new(1, m, n, k, transposes[0], transposes[1])
    };
    Launch {
        name: format!("{m} x {n} x {k}"),
        inputs: Box::new(move || {
            vec![plain(numbers(1, m * k, 1.0, rounded)), (dtype, numbers(2, k * n, 1.0, rounded))]
        }),
        outputs: vec![m * n],
        way: Box::new(move |device, tuning| {
            let (params, parts) = matmul::way(&params, device, tuning);
            Way::exact([params.tier, parts])
        }),
        run: Box::new(move |device, i, o| matmul::matmul(device, params, [&i[0], &i[1]], &Epilogue::default(), &o[0])),
    }
}

fn heads(
    [batch, length, heads, kv_heads, width]: [usize; 5],
    past: usize,
    rounded: bool,
) -> (attention::Params, String) {
    let name = format!("{batch} x {length} queries after {past}, {heads} heads of {width}");
    let (scale, precision) = (1.0 / (width as f32).sqrt(), precision(rounded));
    let [batch, length, heads, kv_heads, width, past] =
        [batch, length, heads, kv_heads, width, past].map(|size| size as u32);
    let (window, cap, tier, dtype) = (0, 0.0, 0, Dtype::F32.code());
    let params =
        attention::Params { batch, length, heads, kv_heads, scale, past, window, cap, width, tier, precision, dtype };
    (params, name)
}

/// Attention of windows x queries x heads x key heads x width, after `past` keys; of operands that f16 holds, if they may be rounded
/// to it.
pub(super) fn attend(sizes: [usize; 5], past: usize, rounded: bool) -> Launch {
    let (params, name) = heads(sizes, past, rounded);
    let [batch, length, heads, kv_heads, width] = sizes;
    let (n, kv) = (batch * length * heads * width, batch * (past + length) * kv_heads * width);
    Launch {
        name,
        inputs: Box::new(move || {
            let [q, k, v] = [(1, n, 2.0), (2, kv, 2.0), (3, kv, 1.0)];
            [q, k, v].map(|(seed, count, scale)| plain(numbers(seed, count, scale, rounded))).into()
        }),
        outputs: vec![n, batch * length * heads],
        way: Box::new(move |device, tuning| {
            let tier = attention::Tier::choose(&params, device, tuning).code();
            let rounding = attention::Attention::rounding(&attention::Params { tier, ..params }, 0);
            Way { numbers: [tier, 0], rounding }
        }),
        run: Box::new(move |device, i, o| attention::attention(device, params, &i[0], &i[1], &i[2], &o[0], &o[1])),
    }
}

/// The gradients of attention, of an output that is any.
pub(super) fn attend_backward(sizes: [usize; 5]) -> Launch {
    let (params, name) = heads(sizes, 0, false);
    let [batch, length, heads, kv_heads, width] = sizes;
    let (n, kv, rows) = (batch * length * heads * width, batch * length * kv_heads * width, batch * length * heads);
    Launch {
        name: format!("{name}, gradients"),
        inputs: Box::new(move || {
            // A log sum exp above all scores, so that weights are below 1, as they are.
            let lse = fill(5, rows, 1.0).into_iter().map(|x| x + 6.0).collect();
            let inputs = [fill(1, n, 1.0), fill(2, kv, 1.0), fill(3, kv, 1.0), fill(4, n, 1.0), lse, fill(6, n, 1.0)];
            inputs.map(plain).into()
        }),
        outputs: vec![n, kv, kv],
        way: Box::new(move |_, tuning| Way::exact([attention_backward::tier(&params, tuning).code(), 0])),
        run: Box::new(move |device, i, o| {
            let inputs = [&i[0], &i[1], &i[2], &i[3], &i[4], &i[5]];
            attention_backward::attention_backward(device, params, inputs, [&o[0], &o[1], &o[2]])
        }),
    }
}

/// How a merge of rows of `width` is computed, whose branches lie one after the other.
fn lanes(tuning: &Tuning, [tokens, width, _]: [usize; 3]) -> Way {
    Way::exact([gate_merge::lanes(width as u32, (tokens * width) as u32, tuning), 0])
}

fn merge_name([tokens, width, branches]: [usize; 3]) -> String {
    format!("{tokens} tokens of {width}, {branches} branches")
}

/// The weight of a gate.
fn gate([_, width, branches]: [usize; 3]) -> Vec<f32> {
    fill(2, branches * width, (3.0 / width as f32).sqrt())
}

/// A gate merge of tokens x width x branches.
pub(super) fn merge(sizes: [usize; 3]) -> Launch {
    let [tokens, width, branches] = sizes;
    let n = tokens * width;
    let [tokens, width, branches_u32, stride] = [tokens, width, branches, n].map(|size| size as u32);
    let params = gate_merge::Params { tokens, width, branches: branches_u32, stride, top: branches_u32, lanes: 0 };
    Launch {
        name: merge_name(sizes),
        inputs: Box::new(move || {
            [fill(1, n, 1.0), gate(sizes), fill(3, branches, 0.1), fill(4, branches * n, 1.0)].map(plain).into()
        }),
        outputs: vec![n, sizes[0] * branches],
        way: Box::new(move |_, tuning| lanes(tuning, sizes)),
        run: Box::new(move |device, i, o| {
            gate_merge::gate_merge(device, params, [&i[0], &i[1], &i[2], &i[3]], [&o[0], &o[1]])
        }),
    }
}

/// All its gradients.
pub(super) fn merge_backward(sizes: [usize; 3]) -> Launch {
    let [tokens, width, branches] = sizes;
    let n = tokens * width;
    let [df_mask_0, df_mask_1, df_mask_2] = gate_merge_backward::Params::masks(&vec![true; branches]);
    let params = gate_merge_backward::Params {
        tokens: tokens as u32,
        width: width as u32,
        branches: branches as u32,
        stride: n as u32,
        df_mask_0,
        df_mask_1,
        df_mask_2,
        want_dx: 1,
        want_gate: 1,
        chunk: 0,
        add_weight: 0,
        add_bias: 0,
        lanes: 0,
    };
    Launch {
        name: format!("{}, gradients", merge_name(sizes)),
        inputs: Box::new(move || {
            let p = fill(3, tokens * branches, 0.5).into_iter().map(|x| x + 0.5).collect();
            [fill(1, n, 1.0), gate(sizes), fill(4, branches * n, 1.0), p, fill(5, n, 1.0)].map(plain).into()
        }),
        outputs: vec![branches * n, tokens * branches, n, branches * width, branches],
        way: Box::new(move |_, tuning| lanes(tuning, sizes)),
        run: Box::new(move |device, i, o| {
            let to = gate_merge_backward::Gradients { df: &o[0], dz: &o[1], dx: &o[2], dweight: &o[3], dbias: &o[4] };
            gate_merge_backward::gate_merge_backward(device, params, [&i[0], &i[1], &i[2], &i[3], &i[4]], &to)
        }),
    }
}
