//! Mixed precision: the loss of f32's curve, less memory, and steps that overflow as if they had never been.

use mode::model::{Adapted, Model, Random, Trained, add_lora, open};
use mode::train::{Recipe, one_step};
use mode_autograd::loss_scale::START;
use mode_autograd::{AdamW, AdamWSettings, LossScale};
use mode_kernels::fill_hash::hash;
use mode_tensor::Device;
use std::path::Path;

mod common;
use common::{Recipes, data, families, full, gpu, refused, run, stage_1, text};

/// The CPU, and a GPU if it has f16 arithmetic.
fn devices() -> Vec<Device> {
    [Device::cpu()].into_iter().chain(gpu().filter(|gpu| gpu.capabilities().f16)).collect()
}

/// So low that these small models of random weights do not yet leap about: two curves in f32 would be told apart by their last digits.
const RATE: f64 = 1e-3;

fn lora(folder: &Path, device: &Device) -> Model {
    let mut model = open(folder, device).expect("a model");
    add_lora(&mut model.backbone, 4, 8.0, Adapted::Attention, &mut Random::new(3)).expect("factors");
    model.set_trained(Trained::Adapter);
    model
}

/// Stage 2, of two experts.
fn composed(device: &Device) -> Model {
    let model = open(&data("tiny-random-mode/composed"), device).expect("a model");
    model.set_trained(Trained::Experts);
    model
}

fn optimizer(model: &Model, scale: f32) -> AdamW {
    let mut optimizer = AdamW::new(model.params(), AdamWSettings::default()).expect("parameters");
    if model.mixed {
        optimizer.set_loss_scale(LossScale { scale, ..LossScale::default() });
    }
    optimizer
}

/// Windows of step number `step`, of which there are four sets.
fn windows(model: &Model, step: u32) -> Vec<Vec<u32>> {
    let vocabulary = model.backbone.config.vocabulary as u32;
    (0..4).map(|row| (0..14).map(|i| hash(100 * (step % 4) + row, i) % vocabulary).collect()).collect()
}

/// The loss before each step, and the gradient norm of the first.
fn losses(model: &Model, parts: usize, steps: u32) -> Vec<f32> {
    // A step that is skipped at first would part the curves: one family's gradients reach to 4.
    let mut optimizer = optimizer(model, 1_024.0);
    let step = |step| one_step(model, &mut optimizer, &windows(model, step), parts, RATE).expect("a step");
    let stepped: Vec<_> = (0..steps).map(step).collect();
    stepped.iter().map(|stepped| stepped.loss).chain([stepped[0].gradient_norm]).collect()
}

/// Two curves, and what stands behind them, lie within 1 % of each other, step for step, and differ at all.
fn assert_near(what: &str, mixed: &[f32], whole: &[f32]) {
    let off = |(mixed, whole): (&f32, &f32)| ((mixed - whole) / whole).abs();
    let greatest = mixed.iter().zip(whole).map(off).fold(0.0, f32::max);
    assert!(greatest < 0.01, "{what}: {mixed:?} and {whole:?}");
    assert!(greatest > 0.0, "{what}: nothing was rounded");
}

/// The curve in mixed precision and that in f32, of a model that `make` makes twice.
fn curves(make: &dyn Fn() -> Model, recompute: bool, parts: usize, steps: u32) -> [Vec<f32>; 2] {
    [true, false].map(|mixed| {
        let mut model = make();
        (model.mixed, model.recompute) = (mixed, recompute);
        losses(&model, parts, steps)
    })
}

#[test]
fn every_way_to_train_has_f32s_curve() {
    let folder = data("tiny-random-llama");
    for device in devices() {
        let ways: [(&str, &dyn Fn() -> Model); 4] = [
            ("full", &|| full(&folder, &device)),
            ("lora", &|| lora(&folder, &device)),
            ("expert", &|| stage_1(&folder, &device)),
            ("composed", &|| composed(&device)),
        ];
        for (what, make) in ways {
            let [mixed, whole] = curves(make, false, 1, 24);
            assert!(what != "full" || whole[23] < 0.9 * whole[0], "the loss falls: {whole:?}");
            assert_near(&format!("{what} on {}", device.name()), &mixed, &whole);
        }
        let [mixed, whole] = curves(&|| full(&folder, &device), true, 2, 8);
        assert_near("in parts, computed again", &mixed, &whole);
    }
}

#[test]
fn every_family_has_f32s_curve() {
    let device = Device::cpu();
    for folder in families() {
        let [mixed, whole] = curves(&|| full(&folder, &device), false, 1, 6);
        assert_near(&folder.display().to_string(), &mixed, &whole);
    }
}

#[test]
fn what_is_kept_takes_less_memory() {
    let peak = |mixed| {
        let device = Device::cpu();
        let mut model = full(&data("tiny-random-llama"), &device);
        model.mixed = mixed;
        let before = device.counters().bytes;
        let vocabulary = model.backbone.config.vocabulary as u32;
        let windows: Vec<Vec<u32>> = (0..8).map(|row| (0..65).map(|i| hash(row, i) % vocabulary).collect()).collect();
        one_step(&model, &mut optimizer(&model, START), &windows, 1, 3e-3).expect("a step");
        (device.counters().peak_bytes - before) as f64
    };
    let (mixed, whole) = (peak(true), peak(false));
    assert!(mixed < 0.8 * whole, "{mixed} and {whole} bytes");
}

/// The numbers of all that is trained, and of its moments.
fn state(optimizer: &AdamW) -> Vec<Vec<u32>> {
    let bits =
        |tensor: &mode_tensor::Tensor| tensor.to_vec().expect("readable").into_iter().map(f32::to_bits).collect();
    optimizer.states().flat_map(|(param, m, v)| [bits(&param.value()), bits(m), bits(v)]).collect()
}

#[test]
fn a_step_that_overflows_never_was() {
    for device in devices() {
        let make = || {
            let mut model = full(&data("tiny-random-llama"), &device);
            model.mixed = true;
            model
        };
        let model = make();
        let mut skips = optimizer(&model, 2f32.powi(40));
        let before = state(&skips);
        let stepped = one_step(&model, &mut skips, &windows(&model, 0), 2, 3e-3).expect("a step, skipped");
        assert!(stepped.loss.is_finite() && !stepped.gradient_norm.is_finite(), "{stepped:?}");
        assert!(state(&skips) == before, "nothing has changed");
        assert_eq!((skips.steps(), skips.skipped()), (1, 1));
        // The second step's scale is the first's, the third's is half of it.
        assert_eq!(skips.scale(), 2f32.powi(40));
        one_step(&model, &mut skips, &windows(&model, 0), 1, 3e-3).expect("a step, skipped");
        assert_eq!((skips.scale(), skips.skipped()), (2f32.powi(39), 2));

        // From here on at the usual scale, and beside it a run that never had the first two steps.
        skips.set_loss_scale(LossScale { skipped: 2, ..LossScale::default() });
        let other = make();
        let mut never = optimizer(&other, START);
        for step in 1..6 {
            let one = one_step(&model, &mut skips, &windows(&model, step), 1, 3e-3).expect("a step");
            let two = one_step(&other, &mut never, &windows(&other, step), 1, 3e-3).expect("a step");
            assert_eq!(one, two);
        }
        assert!(state(&skips) == state(&never), "weights and moments to the bit");
        assert_eq!((skips.steps(), never.steps(), skips.scale()), (7, 5, START));
    }
}

#[test]
fn gradients_that_no_scale_helps_end_the_run() {
    let device = Device::cpu();
    let mut model = full(&data("tiny-random-llama"), &device);
    model.mixed = true;
    let mut optimizer = optimizer(&model, START);
    // The stream's gradient is large, and what the feed-forwards' hidden layers get of it past f16's end at any scale, though
    // they themselves are zero.
    for (name, value) in [("model.norm.weight", 1e3), ("up_proj.weight", 0.0), ("down_proj.weight", 6e4)] {
        for param in model.params().filter(|param| param.name().ends_with(name)) {
            param.value().write(&vec![value; param.value().len()]).expect("fits");
        }
    }
    let mut skipped = 0;
    let error = loop {
        match one_step(&model, &mut optimizer, &windows(&model, 0), 1, 3e-3) {
            Ok(stepped) => {
                assert!(!stepped.gradient_norm.is_finite(), "it was to overflow");
                skipped += 1;
            }
            Err(error) => break error.to_string(),
        }
        assert!(skipped < 100);
    };
    assert!(error.contains("step"), "{error}");
    assert!(skipped > 30, "sixteen halvings of two steps each came first: {skipped}");
}

#[test]
fn a_recipe_says_it_in_a_word() {
    let recipes = Recipes::new();
    recipes.pretrain();
    let body = "method = 'expert'\n[expert]\nname = 'tales'\ndomain = 'tales'\nblocks = 2\nlayers_per_block = 1";
    let recipe = recipes.write("expert", body);
    let train = |out: &str, precision: &str| {
        let out = recipes.path(out);
        run(&["train", text(&recipe), "--out", text(&out), "--set", &format!("train.precision={precision}")])
    };
    let (stdout, stderr, code) = train("f16", "f16");
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("mixed precision on the CPU") && stdout.contains("skipped  0 of 4 steps"),
        "{stdout}{stderr}"
    );
    let log = std::fs::read_to_string(recipes.path("f16/metrics.jsonl")).expect("a file");
    let last: serde_json::Value = serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
    assert_eq!((last["loss_scale"].as_f64(), last["skipped_steps"].as_u64()), (Some(f64::from(START)), Some(0)));
    let record = std::fs::read_to_string(recipes.path("f16/run.json")).expect("a file");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["scaling"]["skipped"], 0);
    // What is the default is not said, so that what earlier versions wrote is still the same recipe.
    assert_eq!(train("whole", "f32").2, 0);
    assert!(!std::fs::read_to_string(recipes.path("whole/recipe.toml")).expect("a file").contains("precision"));
    let mixed = Recipe::read(&recipes.path("f16/recipe.toml"), &[]).expect("a recipe");
    assert_eq!(mixed.train.precision, mode::train::Precision::F16);
    for wrong in ["mixed", "half", "16"] {
        let set = format!("train.precision={wrong}");
        refused(&["train", text(&recipe), "--out", text(&recipes.path("none")), "--set", &set], "precision");
    }
    assert!(!recipes.path("none").exists());

    // A GPU that has no f16 arithmetic says so, before anything is written.
    if let Some(gpu) = gpu() {
        let arguments = ["train", text(&recipe), "--set", "train.precision=f16", "--device", "gpu", "--quiet"];
        let out = recipes.path("on-a-gpu");
        let output = common::mode().args(arguments).args(["--out", text(&out)]).output().expect("the program");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if gpu.capabilities().f16 {
            assert!(output.status.success(), "{stderr}");
        } else {
            assert!(output.status.code() == Some(2) && !out.exists(), "{stderr}");
            assert!(stderr.contains("has no f16 arithmetic; set train.precision = \"f32\""), "{stderr}");
        }
    }
}
