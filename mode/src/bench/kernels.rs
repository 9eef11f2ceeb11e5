//! W1 to W3b, and their sizes for GPUs: single operations, forward, and forward with backward.

use super::Workload;
use crate::Error;
use mode_kernels::fill_hash::fill;
use mode_tensor::{
    AttentionShape, Device, Dtype, GateGradients, Merged, Product, Target, Tensor, Wanted, attention as attend,
    attention_backward, gate_merge as merge, gate_merge_backward, matmul as multiply,
};

fn tensor(device: &Device, seed: u32, shape: &[usize], scale: f32) -> Result<Tensor, Error> {
    Ok(Tensor::from_slice(device, &fill(seed, shape.iter().product(), scale), shape)?)
}

/// The sum of the results' mean absolute values.
fn check(results: &[&Tensor]) -> Result<f64, Error> {
    let mean = |x: Vec<f32>| x.iter().map(|v| f64::from(v.abs())).sum::<f64>() / x.len() as f64;
    let mut sum = 0.0;
    for result in results {
        sum += mean(result.to_vec()?);
    }
    Ok(sum)
}

/// `compute` once a run, waited for; its check value is taken from one run more.
pub(super) fn timed<'a>(
    device: &Device,
    flop: f64,
    compute: impl Fn() -> Result<Vec<Tensor>, Error> + Clone + 'a,
) -> Workload<'a> {
    let (device, once) = (device.clone(), compute.clone());
    Workload {
        flop,
        tokens: None,
        run: Box::new(move || {
            let results = compute()?;
            device.synchronize()?;
            drop(results);
            Ok(0.0)
        }),
        check: Some(Box::new(move || check(&once()?.iter().collect::<Vec<_>>()))),
    }
}

/// [m, k] times [k, n], the latter stored as `dtype`.
pub(super) fn matmul(device: &Device, [m, k, n]: [usize; 3], dtype: Dtype) -> Result<Workload<'static>, Error> {
    let a = tensor(device, 1, &[m, k], 1.0)?;
    let b = match dtype {
        Dtype::F32 => tensor(device, 2, &[k, n], 1.0)?,
        halves => Tensor::from_halves(device, halves, &halves.encode(&fill(2, k * n, 1.0)), &[k, n])?,
    };
    let (flop, on_gpu) = (2.0 * (m * k * n) as f64, device.is_gpu());
    Ok(timed(device, flop, move || {
        let product = Product::new(&a, &b);
        // Halves are multiplied as such, where the device may have a way to.
        Ok(vec![multiply(if dtype == Dtype::F32 || !on_gpu { product } else { product.half() })?])
    }))
}

/// B = 4, H = 4, `t` tokens, heads of width `d`; with `half` of operands that may be rounded to f16. The shared inputs are laid out
/// [B, H, T, Dh]; ours is [B, T, H, Dh].
pub(super) fn attention(
    device: &Device,
    [t, d]: [usize; 2],
    backward: bool,
    half: bool,
) -> Result<Workload<'static>, Error> {
    let (b, h) = (4, 4);
    let input = |seed: u32| -> Result<Tensor, Error> {
        let from = fill(seed, b * h * t * d, 1.0);
        let at = |i: usize| {
            let (x, head, token, window) = (i % d, i / d % h, i / (d * h) % t, i / (d * h * t));
            from[((window * h + head) * t + token) * d + x]
        };
        Ok(Tensor::from_slice(device, &(0..from.len()).map(at).collect::<Vec<_>>(), &[b * t, h * d])?)
    };
    let (q, k, v, g) = (input(1)?, input(2)?, input(3)?, input(4)?);
    let shape = AttentionShape::new(t, h, h);
    let shape = if half { shape.half() } else { shape };
    let flop = 4.0 * (b * h * t * t * d) as f64 * if backward { 3.0 } else { 1.0 };
    Ok(timed(device, flop, move || {
        let attended = attend(&q, &k, &v, shape)?;
        if !backward {
            return Ok(vec![attended.o]);
        }
        Ok(attention_backward([&q, &k, &v], &attended, &g, shape)?.into())
    }))
}

/// What a gate merge and its backward take.
pub(super) struct GateInputs {
    pub(super) x: Tensor,
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) f: Vec<Tensor>,
    /// The gradient of the result.
    pub(super) g: Tensor,
}

impl GateInputs {
    pub(super) fn new(device: &Device, [branches, t, d]: [usize; 3]) -> Result<Self, Error> {
        let x = tensor(device, 1, &[t, d], 1.0)?;
        // The shared gate is [d, branches]; ours is [branches, d], as in Hugging Face's files.
        let across = fill(2, d * branches, (3.0 / d as f32).sqrt());
        let rows: Vec<f32> = (0..branches * d).map(|i| across[i % d * branches + i / d]).collect();
        let weight = Tensor::from_slice(device, &rows, &[branches, d])?;
        let bias = tensor(device, 3, &[branches], 0.1)?;
        let f = Tensor::slots(device, branches, &[t, d])?;
        for (slot, seed) in f.iter().zip(4..) {
            slot.write(&fill(seed, t * d, 1.0))?;
        }
        let g = tensor(device, 4 + branches as u32, &[t, d], 1.0)?;
        Ok(Self { x, weight, bias, f, g })
    }

    pub(super) fn merge(&self) -> Result<Merged, Error> {
        Ok(merge(&self.x, &self.weight, &self.bias, &self.f.iter().collect::<Vec<_>>())?)
    }

    /// All gradients.
    pub(super) fn backward(&self, merged: &Merged) -> Result<GateGradients, Error> {
        let gate = [Some(Target::New), Some(Target::New)];
        let wanted = Wanted { branches: vec![true; self.f.len()], x: true, gate };
        Ok(gate_merge_backward(&self.x, &self.weight, merged, &self.g, wanted)?)
    }
}

/// Branches of `t` tokens of width `d`.
pub(super) fn gate_merge(device: &Device, sizes: [usize; 3], backward: bool) -> Result<Workload<'static>, Error> {
    let inputs = GateInputs::new(device, sizes)?;
    // Of three branches: that is how every engine counts.
    let flop = (sizes[1] * sizes[2]) as f64 * if backward { 32.0 } else { 11.0 };
    let inputs = std::rc::Rc::new(inputs);
    Ok(timed(device, flop, move || {
        let merged = inputs.merge()?;
        if !backward {
            return Ok(vec![merged.y]);
        }
        let made = inputs.backward(&merged)?;
        Ok(made.branches.into_iter().chain([made.x]).chain(made.gate).flatten().collect())
    }))
}
