//! burn, on any of its backends: model code is the same for all.

use crate::{
    Check, HEADS, LAYERS, LENGTH, Matrix, NEW, PROMPT, Result, Run, VOCABULARY, WIDTH, WINDOWS, fill, ids,
    layer_matrices, matrix, mean_abs, windows,
};
use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, LayerNorm, LayerNormConfig, Linear};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::{gelu, softmax};
use burn::tensor::module::attention as burn_attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// The device's name, and the workload on it.
pub fn workload(engine: &str, name: &str) -> Result<(String, Run)> {
    let (device, plain) = match engine {
        #[cfg(feature = "burn-flex")]
        "burn-flex" => (Device::flex(), "CPU"),
        #[cfg(feature = "burn-cpu")]
        "burn-cpu" => (Device::cpu(), "CPU"),
        #[cfg(feature = "burn-vulkan")]
        "burn-vulkan" => (Device::vulkan(Default::default()), "Vulkan"),
        _ => return Err(format!("{engine} was not built in").into()),
    };
    let run = match name {
        "W1" => matmul(device, 1024, 1024, 1024),
        "W1b" => matmul(device, 512, 2048, 512),
        "W2" => attention(device, false),
        "W2b" => attention(device, true),
        "W3" => gate_merge(device, false),
        "W3b" => gate_merge(device, true),
        "W4" => train(device),
        "W5" => decode(device),
        "W5f" => logits(device),
        _ => return Err(format!("no workload {name}").into()),
    };
    Ok((plain.into(), run))
}

fn tensor<const D: usize>(device: &Device, seed: u32, shape: [usize; D], scale: f32) -> Tensor<D> {
    Tensor::from_data(TensorData::new(fill(seed, shape.iter().product(), scale), shape), device)
}

fn values<const D: usize>(x: Tensor<D>) -> Result<Vec<f32>> {
    x.into_data().try_into_vec::<f32>().map_err(|error| format!("{error:?}").into())
}

fn forward<const D: usize>(device: Device, compute: impl Fn() -> Tensor<D> + 'static) -> Run {
    Box::new(move || {
        let result = compute();
        device.sync().map_err(|error| format!("{error:?}"))?;
        let check: Check = Box::new(move || Ok(mean_abs(&values(result)?)));
        Ok(check)
    })
}

fn matmul(device: Device, m: usize, k: usize, n: usize) -> Run {
    let (a, b) = (tensor(&device, 1, [m, k], 1.0), tensor(&device, 2, [k, n], 1.0));
    forward(device, move || a.clone().matmul(b.clone()))
}

/// Causal where there is more than one query; q, k, v: [B, H, T, Dh].
fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let options = AttentionModuleOptions { is_causal: q.dims()[2] > 1, ..Default::default() };
    burn_attention(q, k, v, None, None, options)
}

fn attention(device: Device, backward: bool) -> Run {
    let shape = [WINDOWS, HEADS, LENGTH, 64];
    if !backward {
        let [q, k, v] = [1, 2, 3].map(|seed| tensor(&device, seed, shape, 1.0));
        return forward(device, move || attend(q.clone(), k.clone(), v.clone()));
    }
    let device = device.autodiff();
    let [q, k, v] = [1, 2, 3].map(|seed| tensor(&device, seed, shape, 1.0).require_grad());
    let g = tensor(&device, 4, shape, 1.0);
    Box::new(move || {
        let mut gradients = (attend(q.clone(), k.clone(), v.clone()) * g.clone()).sum().backward();
        let taken = [&q, &k, &v].map(|x| x.grad_remove(&mut gradients));
        device.sync().map_err(|error| format!("{error:?}"))?;
        Ok(Box::new(move || taken.into_iter().map(|x| Ok(mean_abs(&values(x.ok_or("no gradient")?)?))).sum()))
    })
}

fn merge(x: Tensor<2>, w: Tensor<2>, b: Tensor<1>, branches: [Tensor<2>; 3]) -> Tensor<2> {
    let gate = softmax(x.matmul(w) + b.unsqueeze(), 1);
    let [first, second, third] = branches;
    first * gate.clone().narrow(1, 0, 1) + second * gate.clone().narrow(1, 1, 1) + third * gate.narrow(1, 2, 1)
}

fn gate_merge(device: Device, backward: bool) -> Run {
    let device = if backward { device.autodiff() } else { device };
    let x = tensor(&device, 1, [4096, 512], 1.0);
    let w = tensor(&device, 2, [512, 3], (3f32 / 512.0).sqrt());
    let b = tensor(&device, 3, [3], 0.1);
    let branches = [4, 5, 6].map(|seed| tensor(&device, seed, [4096, 512], 1.0));
    if !backward {
        return forward(device, move || merge(x.clone(), w.clone(), b.clone(), branches.clone()));
    }
    let (x, w, b, branches) =
        (x.require_grad(), w.require_grad(), b.require_grad(), branches.map(Tensor::require_grad));
    let g = tensor(&device, 7, [4096, 512], 1.0);
    Box::new(move || {
        let mut gradients = (merge(x.clone(), w.clone(), b.clone(), branches.clone()) * g.clone()).sum().backward();
        let bias = b.grad_remove(&mut gradients);
        let taken = [&x, &w, &branches[0], &branches[1], &branches[2]].map(|x| x.grad_remove(&mut gradients));
        device.sync().map_err(|error| format!("{error:?}"))?;
        Ok(Box::new(move || {
            let matrices: Result<f64> =
                taken.into_iter().map(|x| Ok(mean_abs(&values(x.ok_or("no gradient")?)?))).sum();
            Ok(matrices? + mean_abs(&values(bias.ok_or("no gradient")?)?))
        }))
    })
}

#[derive(Module, Debug)]
struct Layer {
    qkv: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
}

#[derive(Module, Debug)]
struct Model {
    tokens: Embedding,
    positions: Param<Tensor<2>>,
    layers: Vec<Layer>,
    norm: LayerNorm,
    head: Linear,
}

type Cache = [Tensor<4>; 2];

impl Model {
    fn new(device: &Device) -> Self {
        let linear = |m: Matrix| {
            // burn keeps [in, out].
            let values: Vec<f32> = (0..m.values.len()).map(|i| m.values[i % m.out * m.into + i / m.out]).collect();
            Linear { weight: Param::from_data(TensorData::new(values, [m.into, m.out]), device), bias: None }
        };
        let norm = || LayerNormConfig::new(WIDTH).with_bias(false).init(device);
        let layer = |number| {
            let [qkv, out, up, down] = layer_matrices(number).map(linear);
            Layer { qkv, out, up, down, norm1: norm(), norm2: norm() }
        };
        Self {
            tokens: Embedding { weight: Param::from_tensor(tensor(device, 1, [VOCABULARY, WIDTH], 0.1)) },
            positions: Param::from_tensor(tensor(device, 2, [LENGTH, WIDTH], 0.1)),
            layers: (0..LAYERS).map(layer).collect(),
            norm: norm(),
            head: linear(matrix(3, VOCABULARY, WIDTH)),
        }
    }

    /// The last norm's output for [rows, length] ids at positions from `past` on.
    fn hidden(&self, ids: Tensor<2, Int>, mut caches: Option<&mut Vec<Cache>>, past: usize) -> Tensor<3> {
        let [rows, length] = ids.dims();
        let mut x = self.tokens.forward(ids) + self.positions.val().narrow(0, past, length).unsqueeze();
        for (i, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv.forward(layer.norm1.forward(x.clone())).reshape([rows, length, 3, HEADS, 64]);
            let part = |i| qkv.clone().narrow(2, i, 1).squeeze_dim::<4>(2).swap_dims(1, 2);
            let (q, mut k, mut v) = (part(0), part(1), part(2));
            if let Some(caches) = &mut caches {
                [k, v] = [(0, k), (1, v)].map(|(which, new)| {
                    let place = [0..rows, 0..HEADS, past..past + length, 0..64];
                    caches[i][which].inplace(|cache| cache.slice_assign(place, new));
                    caches[i][which].clone().narrow(2, 0, past + length)
                });
            }
            let y = attend(q, k, v).swap_dims(1, 2).reshape([rows, length, WIDTH]);
            x = x + layer.out.forward(y);
            x = x.clone() + layer.down.forward(gelu(layer.up.forward(layer.norm2.forward(x))));
        }
        self.norm.forward(x)
    }
}

fn tokens<const D: usize>(device: &Device, ids: Vec<u32>, shape: [usize; D]) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(ids.into_iter().map(|id| id as i32).collect(), shape), device)
}

fn train(device: Device) -> Run {
    let device = device.autodiff();
    let (ids, targets) = windows();
    let (ids, targets) = (tokens(&device, ids, [WINDOWS, LENGTH]), tokens(&device, targets, [WINDOWS * LENGTH]));
    let mut optimizer =
        AdamWConfig::new().with_beta_1(0.9).with_beta_2(0.999).with_epsilon(1e-8).with_weight_decay(0.01).init();
    let cross_entropy = CrossEntropyLossConfig::new().init(&device);
    let mut model = Some(Model::new(&device));
    Box::new(move || {
        let current = model.take().ok_or("a step failed")?;
        let logits = current.head.forward(current.hidden(ids.clone(), None, 0)).flatten(0, 1);
        let loss = cross_entropy.forward(logits, targets.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &current);
        model = Some(optimizer.step(1e-3, current, gradients));
        device.sync().map_err(|error| format!("{error:?}"))?;
        Ok(Box::new(move || Ok(f64::from(loss.into_scalar::<f32>()))))
    })
}

fn decode(device: Device) -> Run {
    let model = Model::new(&device);
    let prompt = tokens(&device, ids(PROMPT), [1, PROMPT]);
    Box::new(move || {
        let empty = || Tensor::zeros([1, HEADS, LENGTH, 64], &device);
        let mut caches: Vec<Cache> = (0..LAYERS).map(|_| [empty(), empty()]).collect();
        let (mut next, mut past, mut sum) = (prompt.clone(), 0, 0);
        for _ in 0..NEW {
            let length = next.dims()[1];
            let hidden = model.hidden(next, Some(&mut caches), past).narrow(1, length - 1, 1);
            past += length;
            next = model.head.forward(hidden).argmax(2).squeeze_dim(2);
            sum += next.clone().into_scalar::<i64>();
        }
        Ok(Box::new(move || Ok(sum as f64)))
    })
}

fn logits(device: Device) -> Run {
    let model = Model::new(&device);
    let ids = tokens(&device, ids(LENGTH), [1, LENGTH]);
    forward(device, move || model.head.forward(model.hidden(ids.clone(), None, 0)))
}
