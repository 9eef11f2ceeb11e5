//! Models stored as f16 or bf16: kept as they are where they are frozen, widened where they are trained, and the same numbers as
//! a model of the widened values.

use mode::model::{Model, Trained, open};
use mode::train::{evaluate, one_step};
use mode_autograd::{AdamW, AdamWSettings, LossScale};
use mode_tensor::{Device, Dtype, Tensor, write_safetensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

mod common;
use common::{as_halves, data, devices, full, gpu, stage_1};

/// The small model with its matrices rounded to `dtype`, stored as such or as f32.
fn rounded(folder: &Path, dtype: Dtype, stored: Dtype) -> PathBuf {
    let to = folder.join(format!("{}-as-{}", dtype.name(), stored.name()));
    std::fs::create_dir(&to).expect("a folder");
    std::fs::copy(data("tiny-random-llama").join("config.json"), to.join("config.json")).expect("a file");
    let device = Device::cpu();
    let model = open(&data("tiny-random-llama"), &device).expect("a model");
    let store = |value: Tensor| {
        let halves = dtype.encode(&value.to_vec().expect("readable"));
        let half = Tensor::from_halves(&device, dtype, &halves, value.shape()).expect("fits");
        match stored {
            Dtype::F32 => Tensor::from_slice(&device, &half.to_vec().expect("readable"), value.shape()).expect("fits"),
            _ => half,
        }
    };
    let tensors: BTreeMap<String, Tensor> =
        model.params().map(|param| (param.name().to_string(), store(param.value()))).collect();
    write_safetensors(&to.join("model.safetensors"), &tensors, |_| false, &[]).expect("written");
    to
}

fn losses(model: &Model) -> Vec<f32> {
    let mut optimizer = AdamW::new(model.params(), AdamWSettings::default()).expect("parameters");
    if model.mixed {
        optimizer.set_loss_scale(LossScale::default());
    }
    let windows: Vec<Vec<u32>> = (0..3).map(|row| (0..12).map(|i| (row * 37 + i * i) % 50).collect()).collect();
    (0..3).map(|_| one_step(model, &mut optimizer, &windows, 1, 3e-3).expect("a step").loss).collect()
}

#[test]
fn halves_give_the_numbers_of_their_widened_values() {
    let folder = tempfile::tempdir().expect("a folder");
    for dtype in [Dtype::F16, Dtype::BF16] {
        let [halves, widened] = [dtype, Dtype::F32].map(|stored| rounded(folder.path(), dtype, stored));
        for device in devices() {
            let matrices = |model: &Model| {
                let kinds = model.backbone.params().map(|param| param.value()).filter(|value| value.shape().len() > 1);
                kinds.map(|value| value.dtype()).collect::<Vec<_>>()
            };
            let model = open(&halves, &device).expect("a model");
            assert!(matrices(&model).iter().all(|&kind| kind == dtype), "stored as the file stores it");
            let windows = [(0..20).map(|i| i * 7 % 50).collect::<Vec<u32>>()];
            let loss = |model: &Model| evaluate(model, &windows, false).expect("an evaluation").mean_nll;
            let (got, want) = (loss(&model), loss(&open(&widened, &device).expect("a model")));
            assert!((got - want).abs() < 1e-6, "{}: {got} and {want}", device.name());

            let model = stage_1(&halves, &device);
            for (got, want) in losses(&model).iter().zip(losses(&stage_1(&widened, &device))) {
                assert!((got - want).abs() < 1e-5, "stage 1 on {}: {got} and {want}", device.name());
            }
            assert!(matrices(&model).iter().all(|&kind| kind == dtype), "a frozen backbone stays as it is");
            let model = full(&halves, &device);
            for (got, want) in losses(&model).iter().zip(losses(&full(&widened, &device))) {
                assert!((got - want).abs() < 1e-5, "all weights on {}: {got} and {want}", device.name());
            }
            assert!(matrices(&model).iter().all(|&kind| kind == Dtype::F32), "what is trained is f32");
        }
    }
}

#[test]
fn every_file_of_a_composed_model_may_be_halves() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        std::fs::copy(from, to).expect("a file");
    };
    for file in ["config.json", "model.safetensors"] {
        copy(&data("tiny-random-llama").join(file), &folder.path().join("tiny-random-llama").join(file));
    }
    let composed = "tiny-random-mode/composed";
    for file in ["mode.json", "experts/code/expert.json", "experts/math/expert.json"] {
        copy(&data(composed).join(file), &folder.path().join(composed).join(file));
    }
    for file in ["gates.safetensors", "experts/code/expert.safetensors", "experts/math/expert.safetensors"] {
        as_halves(&data(composed).join(file), &folder.path().join(composed).join(file), Dtype::BF16);
    }
    let windows = [(0..20).map(|i| i * 7 % 50).collect::<Vec<u32>>()];
    for device in devices() {
        let loss = |folder: &Path| {
            let model = open(&folder.join(composed), &device).expect("a model");
            evaluate(&model, &windows, false).expect("an evaluation").mean_nll
        };
        let (halves, whole) = (loss(folder.path()), loss(&data("")));
        // The base is f32 here and the experts are rounded, so the two are near and not the same.
        assert!((halves - whole).abs() < 0.02, "{}: {halves} and {whole}", device.name());
    }
}

#[test]
fn frozen_bf16_becomes_f16_where_that_holds_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let halves = rounded(folder.path(), Dtype::BF16, Dtype::BF16);
    let windows = [(0..20).map(|i| i * 7 % 50).collect::<Vec<u32>>()];
    let loss = |model: &Model| evaluate(model, &windows, false).expect("an evaluation").mean_nll;
    for device in devices() {
        let model = open(&halves, &device).expect("a model");
        // One matrix has a number past the range of f16, which meets a token that is not read.
        let embedding = model.params().find(|param| param.name().contains("embed")).expect("an embedding");
        let mut values = embedding.value().to_vec().expect("readable");
        let rows = values.len() / embedding.value().width();
        assert!(rows > 51, "token 51 is in no window");
        values[51 * embedding.value().width()] = 1e6;
        embedding.value().write(&values).expect("written");
        let before = loss(&model);
        let bf16 = || model.params().filter(|param| param.value().dtype() == Dtype::BF16).count();
        let all = bf16();
        let found = model.halve_frozen().expect("converted");
        assert_eq!((found.kept.as_slice(), found.converted), (&[embedding.name().to_string()][..], all - 1));
        assert_eq!(bf16(), 1);
        // All of this model's other numbers are f16's, or too small to tell.
        let after = loss(&model);
        assert!((after - before).abs() < 1e-5 * (1.0 + before), "{}: {after} and {before}", device.name());
        // What is trained is left as the file has it.
        let model = stage_1(&halves, &device);
        model.set_trained(Trained::Backbone);
        assert_eq!(model.halve_frozen().expect("nothing to do").converted, 0);
    }
}

#[test]
fn mixed_precision_beside_frozen_halves_has_the_losses_of_f32() {
    let folder = tempfile::tempdir().expect("a folder");
    for dtype in [Dtype::F16, Dtype::BF16] {
        let halves = rounded(folder.path(), dtype, dtype);
        for device in [Device::cpu()].into_iter().chain(gpu().filter(|gpu| gpu.capabilities().f16)) {
            let whole = losses(&stage_1(&halves, &device));
            let mut model = stage_1(&halves, &device);
            model.mixed = true;
            model.halve_frozen().expect("converted");
            let stored = |dtype| model.params().filter(|param| param.value().dtype() == dtype).count();
            assert!(stored(Dtype::F16) > 20 && stored(Dtype::BF16) == 0, "no frozen matrix has been widened");
            let mixed = losses(&model);
            let near = |(mixed, whole): (&f32, &f32)| ((mixed - whole) / whole).abs() < 0.01;
            assert!(mixed.iter().zip(&whole).all(near), "{}: {mixed:?} and {whole:?}", device.name());
        }
    }
}

#[test]
fn halves_take_half_the_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = |stored| {
        let device = Device::dry();
        open(&rounded(folder.path(), Dtype::BF16, stored), &device).expect("a model");
        device.counters().bytes as f64
    };
    let (halves, whole) = (bytes(Dtype::BF16), bytes(Dtype::F32));
    // Rotary tables and norms stay as they are, and buffers are rounded up to size classes.
    assert!(halves < 0.75 * whole, "{halves} and {whole}");
}

#[test]
fn what_is_not_a_weight_is_refused_as_bf16() {
    let device = Device::cpu();
    let half = Tensor::from_halves(&device, Dtype::BF16, &[0x3f80; 4], &[2, 2]).expect("fits");
    let whole = Tensor::full(&device, &[2, 2], 1.0).expect("memory");
    let error = mode_tensor::add(&half, &whole, None).expect_err("halves").to_string();
    assert_eq!(error, "kernel add: a is BF16, F32 expected");
    let product = |a, b| mode_tensor::matmul(mode_tensor::Product::new(a, b));
    assert_eq!(product(&whole, &half).expect("a weight").to_vec().expect("readable"), [2.0; 4]);
    let error = product(&half, &whole).expect_err("halves").to_string();
    assert_eq!(error, "kernel matmul: a is BF16, F32 expected");
}
