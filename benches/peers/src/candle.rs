//! candle on the CPU. Its fused softmax and layer norm have no gradients: training takes the forms that have.

use crate::{
    Check, HEADS, LAYERS, LENGTH, Matrix, NEW, PROMPT, Result, Run, VOCABULARY, WIDTH, WINDOWS, fill, ids,
    layer_matrices, matrix, mean_abs, windows,
};
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::kv_cache::KvCache;
use candle_nn::ops::{softmax, softmax_last_dim};
use candle_nn::{AdamW, Embedding, LayerNorm, Linear, Module, Optimizer, ParamsAdamW, loss::cross_entropy};

pub fn workload(name: &str) -> Result<Run> {
    match name {
        "W1" => matmul(1024, 1024, 1024),
        "W1b" => matmul(512, 2048, 512),
        "W2" => attention(false),
        "W2b" => attention(true),
        "W3" => gate_merge(false),
        "W3b" => gate_merge(true),
        "W4" => train(),
        "W5" => decode(),
        "W5f" => logits(),
        _ => Err(format!("no workload {name}").into()),
    }
}

fn tensor(seed: u32, shape: &[usize], scale: f32) -> Result<Tensor> {
    Ok(Tensor::from_vec(fill(seed, shape.iter().product(), scale), shape, &Device::Cpu)?)
}

fn check(results: Vec<Tensor>) -> Check {
    Box::new(move || {
        let mean = |x: &Tensor| Ok(mean_abs(&x.flatten_all()?.to_vec1()?));
        results.iter().map(mean).sum()
    })
}

fn forward(compute: impl Fn() -> candle_core::Result<Tensor> + 'static) -> Result<Run> {
    Ok(Box::new(move || Ok(check(vec![compute()?]))))
}

fn with_backward(
    inputs: Vec<Tensor>,
    upstream: Tensor,
    compute: impl Fn(&[Tensor]) -> candle_core::Result<Tensor> + 'static,
) -> Result<Run> {
    let inputs = inputs.iter().map(Var::from_tensor).collect::<candle_core::Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = inputs.iter().map(|x| x.as_tensor().clone()).collect();
    Ok(Box::new(move || {
        let mut gradients = (compute(&tensors)? * &upstream)?.backward()?;
        let taken: Option<Vec<_>> = tensors.iter().map(|x| gradients.remove(x)).collect();
        Ok(check(taken.ok_or("no gradient")?))
    }))
}

fn matmul(m: usize, k: usize, n: usize) -> Result<Run> {
    let (a, b) = (tensor(1, &[m, k], 1.0)?, tensor(2, &[k, n], 1.0)?);
    forward(move || a.matmul(&b))
}

/// [T, T]: minus infinity where a key comes after its query.
fn causal_mask(t: usize) -> Result<Tensor> {
    let values: Vec<f32> = (0..t * t).map(|i| if i % t > i / t { f32::NEG_INFINITY } else { 0.0 }).collect();
    Ok(Tensor::from_vec(values, (t, t), &Device::Cpu)?)
}

/// q, k, v: [B, H, T, Dh].
fn attend(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, trained: bool) -> candle_core::Result<Tensor> {
    let mut scores = (q.matmul(&k.t()?)? * 0.125)?;
    if let Some(mask) = mask {
        scores = scores.broadcast_add(mask)?;
    }
    let weights = if trained { softmax(&scores, D::Minus1)? } else { softmax_last_dim(&scores)? };
    weights.matmul(v)
}

fn attention(backward: bool) -> Result<Run> {
    let input = |seed| tensor(seed, &[WINDOWS, HEADS, LENGTH, 64], 1.0);
    let (inputs, mask) = (vec![input(1)?, input(2)?, input(3)?], causal_mask(LENGTH)?);
    if !backward {
        return forward(move || attend(&inputs[0], &inputs[1], &inputs[2], Some(&mask), false));
    }
    with_backward(inputs, input(4)?, move |x| attend(&x[0], &x[1], &x[2], Some(&mask), true))
}

/// x, W, b, then the branches.
fn merge(x: &[Tensor], trained: bool) -> candle_core::Result<Tensor> {
    let logits = x[0].matmul(&x[1])?.broadcast_add(&x[2])?;
    let gate = if trained { softmax(&logits, D::Minus1)? } else { softmax_last_dim(&logits)? };
    let part = |i: usize| x[3 + i].broadcast_mul(&gate.narrow(1, i, 1)?);
    (part(0)? + part(1)?)? + part(2)?
}

fn gate_merge(backward: bool) -> Result<Run> {
    let mut inputs =
        vec![tensor(1, &[4096, 512], 1.0)?, tensor(2, &[512, 3], (3f32 / 512.0).sqrt())?, tensor(3, &[3], 0.1)?];
    for seed in 4..7 {
        inputs.push(tensor(seed, &[4096, 512], 1.0)?);
    }
    if !backward {
        return forward(move || merge(&inputs, false));
    }
    with_backward(inputs, tensor(7, &[4096, 512], 1.0)?, |x| merge(x, true))
}

struct Layer {
    qkv: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
}

struct Model {
    tokens: Embedding,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    head: Linear,
    mask: Tensor,
    trained: bool,
    vars: Vec<Var>,
}

impl Model {
    fn new(trained: bool) -> Result<Self> {
        let mut vars = Vec::new();
        let mut parameter = |x: Tensor| -> Result<Tensor> {
            let var = Var::from_tensor(&x)?;
            vars.push(var.clone());
            Ok(if trained { var.as_tensor().clone() } else { var.as_detached_tensor() })
        };
        let tokens = Embedding::new(parameter(tensor(1, &[VOCABULARY, WIDTH], 0.1)?)?, WIDTH);
        let positions = parameter(tensor(2, &[LENGTH, WIDTH], 0.1)?)?;
        let mut linear = |m: Matrix| -> Result<Linear> {
            Ok(Linear::new(parameter(Tensor::from_vec(m.values, (m.out, m.into), &Device::Cpu)?)?, None))
        };
        let head = linear(matrix(3, VOCABULARY, WIDTH))?;
        let mut matrices = Vec::new();
        for layer in 0..LAYERS {
            for m in layer_matrices(layer) {
                matrices.push(linear(m)?);
            }
        }
        let mut norm = || -> Result<LayerNorm> {
            let scale = parameter(Tensor::ones(WIDTH, DType::F32, &Device::Cpu)?)?;
            // The fused one wants a bias.
            let zeros = Tensor::zeros(WIDTH, DType::F32, &Device::Cpu)?;
            Ok(if trained { LayerNorm::new_no_bias(scale, 1e-5) } else { LayerNorm::new(scale, zeros, 1e-5) })
        };
        let mut matrices = matrices.into_iter();
        let mut layers = Vec::new();
        while let (Some(qkv), Some(out), Some(up), Some(down)) =
            (matrices.next(), matrices.next(), matrices.next(), matrices.next())
        {
            layers.push(Layer { qkv, out, up, down, norm1: norm()?, norm2: norm()? });
        }
        Ok(Self { tokens, positions, layers, norm: norm()?, head, mask: causal_mask(LENGTH)?, trained, vars })
    }

    /// [rows, length] ids; the last norm's output.
    fn hidden(&self, ids: &Tensor, mut caches: Option<&mut Vec<KvCache>>) -> candle_core::Result<Tensor> {
        let (rows, length) = ids.dims2()?;
        let past = caches.as_ref().map_or(0, |caches| caches[0].current_seq_len());
        let mut x = self.tokens.forward(ids)?.broadcast_add(&self.positions.narrow(0, past, length)?)?;
        let mask = match length {
            1 => None,
            _ => Some(self.mask.narrow(0, 0, length)?.narrow(1, 0, length)?),
        };
        for (i, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv.forward(&layer.norm1.forward(&x)?)?.reshape((rows, length, 3, HEADS, 64))?;
            let part = |i: usize| qkv.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
            let (q, mut k, mut v) = (part(0)?, part(1)?, part(2)?);
            if let Some(caches) = &mut caches {
                (k, v) = caches[i].append(&k, &v)?;
            }
            let y = attend(&q, &k, &v, mask.as_ref(), self.trained)?;
            x = (x + layer.out.forward(&y.transpose(1, 2)?.reshape((rows, length, WIDTH))?)?)?;
            x = (&x + layer.down.forward(&layer.up.forward(&layer.norm2.forward(&x)?)?.gelu()?)?)?;
        }
        self.norm.forward(&x)
    }
}

fn train() -> Result<Run> {
    let model = Model::new(true)?;
    let (ids, targets) = windows();
    let ids = Tensor::from_vec(ids, (WINDOWS, LENGTH), &Device::Cpu)?;
    let targets = Tensor::from_vec(targets, WINDOWS * LENGTH, &Device::Cpu)?;
    let settings = ParamsAdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
    let mut optimizer = AdamW::new(model.vars.clone(), settings)?;
    Ok(Box::new(move || {
        let logits = model.head.forward(&model.hidden(&ids, None)?)?;
        let loss = cross_entropy(&logits.flatten(0, 1)?, &targets)?;
        optimizer.backward_step(&loss)?;
        let loss = loss.to_scalar::<f32>()?;
        Ok(Box::new(move || Ok(f64::from(loss))))
    }))
}

fn decode() -> Result<Run> {
    let model = Model::new(false)?;
    let prompt = Tensor::from_vec(ids(PROMPT), (1, PROMPT), &Device::Cpu)?;
    Ok(Box::new(move || {
        let mut caches: Vec<_> = (0..LAYERS).map(|_| KvCache::new(2, LENGTH)).collect();
        let (mut next, mut sum) = (prompt.clone(), 0);
        for _ in 0..NEW {
            let hidden = model.hidden(&next, Some(&mut caches))?;
            let last = hidden.narrow(1, hidden.dim(1)? - 1, 1)?.contiguous()?;
            next = model.head.forward(&last)?.argmax(D::Minus1)?;
            sum += next.flatten_all()?.to_vec1::<u32>()?[0];
        }
        Ok(Box::new(move || Ok(f64::from(sum))))
    }))
}

fn logits() -> Result<Run> {
    let model = Model::new(false)?;
    let ids = Tensor::from_vec(ids(LENGTH), (1, LENGTH), &Device::Cpu)?;
    forward(move || model.head.forward(&model.hidden(&ids, None)?))
}
