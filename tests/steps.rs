//! Steps in parts, steps that compute again what they did not keep, and what a steady step makes anew: nothing.

use mode::model::{Expert, ExpertInfo, ExpertInit, Gate, Model, Random, Trained, open};
use mode::train::{Launched, Stepped, launch_step, one_step};
use mode_autograd::{AdamW, AdamWSettings, Decayed, LossScale};
use mode_kernels::fill_hash::hash;
use mode_tensor::Device;
use std::collections::VecDeque;
use std::path::PathBuf;

mod common;

const WINDOWS: usize = 8;
const LENGTH: usize = 13;

fn base(device: &Device) -> Model {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny-random-llama"));
    let model = open(&folder, device).expect("a model");
    model.set_trained(Trained::Backbone);
    model
}

/// Stage 1: two blocks with one expert of one layer.
fn staged(device: &Device) -> Model {
    let backbone = base(device).backbone;
    let (width, mut random) = (backbone.config.width, Random::new(5));
    let info = ExpertInfo::new("one", "one", &"0".repeat(64), 2, 1).expect("a name");
    let expert = Expert::new(&backbone, info, ExpertInit::Random, &mut random).expect("an expert");
    let gates = (0..2).map(|i| Gate::with_share(device, i, width, 0.4).expect("a gate")).collect();
    let model = Model::with_experts(backbone, vec![expert], gates).expect("a model");
    model.set_trained(Trained::Experts);
    model
}

/// The same with f16 activations.
fn mixed(device: &Device) -> Model {
    let mut model = staged(device);
    model.mixed = true;
    model
}

/// True where [`mixed`] can be stepped.
fn has_f16(device: &Device) -> bool {
    !device.is_gpu() || device.capabilities().f16
}

/// Losses and gradient norms of some steps, each in `parts` parts.
fn steps(model: &Model, parts: usize, count: u32) -> Vec<[f32; 2]> {
    go_on(model, &mut fresh(model), parts, count)
}

fn fresh(model: &Model) -> AdamW {
    let mut optimizer = AdamW::new(model.params(), AdamWSettings::default()).expect("parameters");
    if model.mixed {
        optimizer.set_loss_scale(LossScale::default());
    }
    optimizer
}

/// The same with an optimizer that may have taken steps before.
fn go_on(model: &Model, optimizer: &mut AdamW, parts: usize, count: u32) -> Vec<[f32; 2]> {
    let step = |step| found(one_step(model, optimizer, &windows(model, step), parts, 3e-3));
    (0..count).map(step).collect()
}

/// What step number `step` goes through.
fn windows(model: &Model, step: u32) -> Vec<Vec<u32>> {
    let vocabulary = model.backbone.config.vocabulary as u32;
    let window = |row: u32| (0..LENGTH as u32).map(|i| hash(step * 100 + row, i) % vocabulary).collect();
    (0..WINDOWS as u32).map(window).collect()
}

fn read(launched: Launched, optimizer: &mut AdamW) -> [f32; 2] {
    found(launched.read(optimizer).map(|(stepped, _)| stepped))
}

fn found(stepped: Result<Stepped, mode::Error>) -> [f32; 2] {
    let stepped = stepped.expect("a step");
    [stepped.loss, stepped.gradient_norm]
}

/// Losses agree to 1e-6 at the first step and 1e-5 over the others; norms, which rounding tells apart sooner, to 1e-4.
fn assert_close(a: &[[f32; 2]], b: &[[f32; 2]]) {
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        for (a, b, tolerance) in [(a[0], b[0], if i == 0 { 1e-6 } else { 1e-5 }), (a[1], b[1], 1e-4)] {
            assert!((a - b).abs() <= tolerance * b.abs(), "step {i}: {a} and {b}");
        }
    }
}

#[test]
fn a_batch_in_parts_is_the_same_batch() {
    // In f64: f32 rounds sums over other numbers of rows otherwise, and AdamW's first steps make much of little gradients.
    let device = Device::reference();
    for model in [base, staged] {
        let whole = steps(&model(&device), 1, 20);
        assert!(whole[19][0] < whole[0][0], "the loss falls: {whole:?}");
        for parts in [2, 4, 8] {
            assert_close(&steps(&model(&device), parts, 20), &whole);
        }
    }
}

#[test]
fn recomputation_changes_memory_and_nothing_else() {
    for make in [base, staged] {
        let run = |recompute| {
            let device = Device::cpu();
            let mut model = make(&device);
            model.recompute = recompute;
            device.start_trace();
            let losses = steps(&model, 1, 6);
            (losses, device.stop_trace().len(), device.counters().peak_bytes)
        };
        let ((kept, few, much), (again, many, little)) = (run(false), run(true));
        assert_close(&again, &kept);
        assert!(many > few && little < much, "{few} and {many} launches, {much} and {little} bytes");
    }
}

#[test]
fn a_steady_step_makes_nothing_anew() {
    // After two steps the pool has every buffer that a step needs. A thousand steps: memory stays what it was after the third.
    let device = Device::cpu();
    for (make, count) in [(base as fn(&Device) -> Model, 1_000), (staged, 1_000), (mixed, 100)] {
        let model = make(&device);
        let mut optimizer = fresh(&model);
        go_on(&model, &mut optimizer, 2, 3);
        let warm = device.counters();
        go_on(&model, &mut optimizer, 2, count);
        assert_eq!(device.counters(), warm);
    }
}

#[test]
fn a_steady_step_on_a_gpu_makes_nothing_anew() {
    let Some(device) = common::gpu() else { return };
    for make in [staged, mixed].into_iter().take(if has_f16(&device) { 2 } else { 1 }) {
        let model = make(&device);
        let mut optimizer = fresh(&model);
        // Each pipeline and bind group is known then.
        go_on(&model, &mut optimizer, 1, 4);
        let warm = device.counters();
        go_on(&model, &mut optimizer, 1, 4);
        assert_eq!(device.counters(), warm);
    }
}

#[test]
fn steps_in_flight_are_the_same_steps() {
    for device in [Device::cpu()].into_iter().chain(common::gpu()) {
        assert_same_in_flight(&device, staged, None);
        if has_f16(&device) {
            // The first steps are skipped, until the scale has been halved twice; of each it is known when the next has been launched.
            assert_same_in_flight(&device, mixed, Some(2f32.powi(24)));
        }
    }
}

/// Steps of a model of which two are in flight, and those of the same model one by one; with a loss scale of this at first.
fn assert_same_in_flight(device: &Device, make: fn(&Device) -> Model, scale: Option<f32>) {
    let fresh = |model: &Model| {
        let mut optimizer = fresh(model);
        if let Some(scale) = scale {
            optimizer.set_loss_scale(LossScale { scale, ..LossScale::default() });
        }
        optimizer
    };
    let model = make(device);
    let mut optimizer = fresh(&model);
    let alone = go_on(&model, &mut optimizer, 2, 12);
    let (ends, skipped) = (optimizer.loss_scale().cloned(), optimizer.skipped());
    assert_eq!(skipped > 0, scale.is_some(), "{alone:?}");
    assert!(skipped < 8, "some are not: {alone:?}");
    let model = make(device);
    let mut optimizer = fresh(&model);
    let (mut flights, mut together, mut warm) = (VecDeque::new(), Vec::new(), None);
    for step in 0..12 {
        let launched = launch_step(&model, &mut optimizer, &windows(&model, step), 2, 3e-3).expect("a step");
        flights.push_back(launched);
        if step > 0 {
            together.extend(flights.pop_front().map(|flight| read(flight, &mut optimizer)));
        }
        // One that is under way takes no memory of its own.
        let counters = device.counters();
        assert!(step < 5 || warm.replace(counters).is_none_or(|warm| warm == counters), "step {step}");
    }
    together.extend(flights.into_iter().map(|flight| read(flight, &mut optimizer)));
    // By their bits, for the norms of those that were skipped are no numbers.
    let bits = |steps: &[[f32; 2]]| steps.iter().map(|step| step.map(f32::to_bits)).collect::<Vec<_>>();
    assert_eq!(bits(&together), bits(&alone), "{}: {together:?} and {alone:?}", device.name());
    assert_eq!((optimizer.loss_scale().cloned(), optimizer.skipped()), (ends, skipped));
}

#[test]
fn a_step_that_is_not_finite_is_named_though_the_next_is_launched() {
    for device in [Device::cpu()].into_iter().chain(common::gpu()) {
        let model = base(&device);
        let mut optimizer = fresh(&model);
        let mut launch = |rate| launch_step(&model, &mut optimizer, &windows(&model, 0), 1, rate).expect("a step");
        let flights = [launch(f64::INFINITY), launch(1e-3), launch(1e-3)];
        let said = flights.map(|flight| flight.read(&mut optimizer).map_err(|error| error.to_string()));
        assert!(said[0].is_ok(), "a loss is that before its step: {said:?}");
        assert!(said[1].as_ref().is_err_and(|error| error.contains("at step 2;")), "{said:?}");
    }
}

#[test]
fn an_optimizer_launches_once_a_chunk() {
    let device = Device::cpu();
    let model = base(&device);
    let mut optimizer = fresh(&model);
    go_on(&model, &mut optimizer, 1, 1);
    device.start_trace();
    go_on(&model, &mut optimizer, 2, 1);
    let trace = device.stop_trace();
    let launches = |kernel| trace.iter().filter(|(name, _)| *name == kernel).count();
    assert_eq!((launches("adamw"), launches("sum_of_squares")), (2, 2), "matrices and vectors");
}

#[test]
fn decay_can_leave_vectors_alone() {
    let device = Device::cpu();
    let norms = |decayed| {
        let model = base(&device);
        let settings = AdamWSettings { decay: 0.5, decayed, ..AdamWSettings::default() };
        let mut optimizer = AdamW::new(model.params(), settings).expect("parameters");
        let windows = [(0..9).map(|i| hash(3, i) % 50).collect::<Vec<u32>>()];
        one_step(&model, &mut optimizer, &windows, 1, 1e-2).expect("a step");
        let length = |matrices: bool| {
            let chosen = model.params().filter(|param| (param.value().shape().len() > 1) == matrices);
            let values = chosen.flat_map(|param| param.value().to_vec().expect("readable"));
            values.map(|value| f64::from(value * value)).sum::<f64>()
        };
        (length(true), length(false))
    };
    let (all, matrices) = (norms(Decayed::All), norms(Decayed::Matrices));
    assert_eq!(all.0, matrices.0, "matrices decay either way");
    assert!(all.1 < 0.995 * matrices.1, "vectors: {} and {}", all.1, matrices.1);
}
