//! Launches as the floors above make them, through the kernels' own functions, which choose tiers and tiles.

use crate::check::{place, worst_error};
use crate::fill_hash::fill;
use crate::{Data, Device, Dtype, KernelError, View};
use crate::{attention, attention_backward, gate_merge, gate_merge_backward, matmul};

type Run = Box<dyn Fn(&Device, &[View], &[View]) -> Result<(), KernelError>>;

/// One launch: what goes in, what comes out, and the function that makes it.
pub struct Launch {
    /// Its shape, for a person.
    pub(super) name: String,
    inputs: Vec<Data>,
    outputs: Vec<Data>,
    run: std::rc::Rc<Run>,
}

/// One whose contents lie on a device.
pub(super) struct Placed {
    pub(super) name: String,
    inputs: Vec<View>,
    outputs: Vec<View>,
    run: std::rc::Rc<Run>,
}

impl Placed {
    pub(super) fn launch(&self, device: &Device) -> Result<(), KernelError> {
        (self.run)(device, &self.inputs, &self.outputs)
    }
}

impl Launch {
    pub(super) fn place(&self, device: &Device) -> Result<Placed, KernelError> {
        let (inputs, outputs) = (place(device, &self.inputs)?, place(device, &self.outputs)?);
        Ok(Placed { name: self.name.clone(), inputs, outputs, run: self.run.clone() })
    }

    /// What it writes.
    fn results(&self, device: &Device) -> Result<Vec<Vec<f64>>, KernelError> {
        let placed = self.place(device)?;
        placed.launch(device)?;
        placed.outputs.iter().map(|view| device.read_f64(view)).collect()
    }

    /// The worst error of what `device` makes of it, as in [`crate::check`].
    pub(super) fn error(&self, device: &Device) -> Result<f64, KernelError> {
        let (got, want) = (self.results(device)?, self.results(&Device::reference())?);
        Ok(got.iter().zip(&want).map(|(got, want)| worst_error(got, want, 0.0).0).fold(0.0, f64::max))
    }
}

fn launch(
    name: String,
    inputs: Vec<Data>,
    outputs: impl Into<Vec<usize>>,
    run: impl Fn(&Device, &[View], &[View]) -> Result<(), KernelError> + 'static,
) -> Launch {
    let outputs = outputs.into().into_iter().map(Data::Out).collect();
    Launch { name, inputs, outputs, run: std::rc::Rc::new(Box::new(run)) }
}

/// A product of m x k by k x n, the latter stored as `dtype`; of operands that f16 holds, if they may be rounded to it.
pub(super) fn product([m, n, k]: [usize; 3], transposes: [bool; 2], dtype: Dtype, rounded: bool) -> Launch {
    use matmul::{Params, Precision};
    let numbers = |seed: u32, n: usize| {
        let mut values = fill(seed, n, 1.0);
        if rounded {
            Dtype::F16.decode(&Dtype::F16.encode(&values.clone()), &mut values);
        }
        values
    };
    let precision = if rounded { Precision::Half } else { Precision::F32 };
    let params = Params { precision: precision.code(), ..Params::new(1, m, n, k, transposes[0], transposes[1]) };
    let inputs = vec![Data::F32(numbers(1, m * k)), Data::stored(dtype, numbers(2, k * n))];
    launch(format!("{m} x {n} x {k}"), inputs, [m * n], move |device, i, o| {
        matmul::matmul(device, params, &i[0], &i[1], &o[0])
    })
}

fn shape([batch, length, heads, kv_heads, width]: [usize; 5], past: usize) -> (attention::Params, String) {
    let name = format!("{batch} x {length} queries after {past}, {heads} heads of {width}");
    let scale = 1.0 / (width as f32).sqrt();
    let [batch, length, heads, kv_heads, width, past] =
        [batch, length, heads, kv_heads, width, past].map(|size| size as u32);
    (attention::Params { batch, length, heads, kv_heads, scale, past, window: 0, cap: 0.0, width, tile: 0 }, name)
}

/// Attention of windows x queries x heads x key heads x width, after `past` keys.
pub(super) fn attend(sizes: [usize; 5], past: usize) -> Launch {
    let (params, name) = shape(sizes, past);
    let [batch, length, heads, kv_heads, width] = sizes;
    let (n, kv) = (batch * length * heads * width, batch * (past + length) * kv_heads * width);
    let inputs = [(n, 2.0), (kv, 2.0), (kv, 1.0)].into_iter().zip(1..).map(|((n, scale), seed)| fill(seed, n, scale));
    launch(name, inputs.map(Data::F32).collect(), [n, batch * length * heads], move |device, i, o| {
        attention::attention(device, params, &i[0], &i[1], &i[2], &o[0], &o[1])
    })
}

/// The gradients of attention, of an output that is any.
pub(super) fn attend_backward(sizes: [usize; 5]) -> Launch {
    let (params, name) = shape(sizes, 0);
    let [batch, length, heads, kv_heads, width] = sizes;
    let (n, kv, rows) = (batch * length * heads * width, batch * length * kv_heads * width, batch * length * heads);
    // A log sum exp above all scores, so that weights are below 1, as they are.
    let lse = fill(5, rows, 1.0).into_iter().map(|x| x + 6.0).collect();
    let inputs = vec![fill(1, n, 1.0), fill(2, kv, 1.0), fill(3, kv, 1.0), fill(4, n, 1.0), lse, fill(6, n, 1.0)];
    launch(name, inputs.into_iter().map(Data::F32).collect(), [n, kv, kv], move |device, i, o| {
        attention_backward::attention_backward(
            device,
            params,
            [&i[0], &i[1], &i[2], &i[3], &i[4], &i[5]],
            [&o[0], &o[1], &o[2]],
        )
    })
}

/// A gate merge of tokens x width x branches, or all its gradients.
pub(super) fn merge([tokens, width, branches]: [usize; 3], backward: bool) -> Launch {
    let (n, stride) = (tokens * width, tokens * width);
    let weight = fill(2, branches * width, (3.0 / width as f32).sqrt());
    let sizes = [tokens, width, branches, stride].map(|size| size as u32);
    let name = format!("{tokens} tokens of {width}, {branches} branches");
    let [tokens_u32, width_u32, branches_u32, stride_u32] = sizes;
    if !backward {
        let params = gate_merge::Params {
            tokens: tokens_u32,
            width: width_u32,
            branches: branches_u32,
            stride: stride_u32,
            lanes: 0,
        };
        let inputs = vec![fill(1, n, 1.0), weight, fill(3, branches, 0.1), fill(4, branches * stride, 1.0)];
        return launch(
            name,
            inputs.into_iter().map(Data::F32).collect(),
            [n, tokens * branches],
            move |device, i, o| gate_merge::gate_merge(device, params, [&i[0], &i[1], &i[2], &i[3]], [&o[0], &o[1]]),
        );
    }
    let [df_mask_0, df_mask_1, df_mask_2] = gate_merge_backward::Params::masks(&vec![true; branches]);
    let params = gate_merge_backward::Params {
        tokens: tokens_u32,
        width: width_u32,
        branches: branches_u32,
        stride: stride_u32,
        df_mask_0,
        df_mask_1,
        df_mask_2,
        want_dx: 1,
        want_gate: 1,
        chunk: 0,
        lanes: 0,
    };
    let p = fill(3, tokens * branches, 0.5).into_iter().map(|x| x + 0.5).collect();
    let inputs = vec![fill(1, n, 1.0), weight, fill(4, branches * stride, 1.0), p, fill(5, n, 1.0)];
    let outputs = [branches * stride, tokens * branches, n, branches * width, branches];
    launch(format!("{name}, gradients"), inputs.into_iter().map(Data::F32).collect(), outputs, move |device, i, o| {
        let to = gate_merge_backward::Gradients { df: &o[0], dz: &o[1], dx: &o[2], dweight: &o[3], dbias: &o[4] };
        gate_merge_backward::gate_merge_backward(device, params, [&i[0], &i[1], &i[2], &i[3], &i[4]], &to)
    })
}
