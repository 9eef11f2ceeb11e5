//! What freezing means: launches that do not happen, weights that do not change, and errors where training is an illusion.

use mode::Error;
use mode::model::{
    Adapted, Backbone, Expert, ExpertInfo, ExpertInit, Gate, GateRule, Model, Random, Trained, add_lora, open,
    open_with_experts,
};
use mode::train::{Existing, evaluate};
use mode_autograd::{AdamW, AdamWSettings, AutogradError, Param, Tape, Var, linear};
use mode_tensor::{Device, Ids, Tensor};
use std::ops::ControlFlow;
use std::path::PathBuf;

fn data(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).join(name)
}

const IDS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

/// The launches of one step of a model from the head on, whose logits are their own gradient's memory.
fn backward_launches(model: &Model, trained: Trained) -> Vec<(&'static str, usize)> {
    let device = model.backbone.device();
    model.set_trained(trained);
    let tape = Tape::new();
    let output = model.forward(&tape, &Ids::new(device, &IDS[..8]).expect("ids"), 8).expect("a forward");
    let loss = model.loss(&tape, &output.hidden, &Ids::new(device, &IDS[1..]).expect("ids"));
    device.start_trace();
    loss.backward(&tape).expect("a backward");
    device.stop_trace()
}

/// A stage-1 model of m = 2 blocks of 3 backbone layers, one expert of one layer a block.
fn stage1() -> Model {
    let device = Device::cpu();
    let backbone = Backbone::open(&data("tiny-random-llama"), &device).expect("the model");
    let info = ExpertInfo::new("code", "code", "", 2, 1).expect("a name");
    let expert = Expert::new(&backbone, info, ExpertInit::Random, &mut Random::new(1)).expect("an expert");
    let gate = |i| Gate::with_share(&device, i, backbone.config.width, 0.5).expect("a gate");
    let gates = (0..2).map(gate).collect();
    Model::with_experts(backbone, vec![expert], gates).expect("a model that fits")
}

type Launch = (&'static str, usize);

/// Elements of 8 tokens of the stream.
const D: usize = 8 * 48;
/// Of the feed-forward's hidden layer.
const F: usize = 8 * 96;
/// Of keys.
const KV: usize = 8 * 24;
/// Of a query or output matrix, a key or value matrix, a feed-forward matrix.
const WQ: usize = 48 * 48;
const WK: usize = 24 * 48;
const WF: usize = 96 * 48;

/// A product that makes dx and, where the matrix is trained, one that makes dW.
fn linear_backward(trained: bool, dx: usize, dw: usize) -> Vec<Launch> {
    let dw = trained.then_some(("matmul", dw));
    std::iter::once(("matmul", dx)).chain(dw).collect()
}

/// Backward launches of a layer; `meet` is how the gradients of its two residual connections are added to what came before
/// (none where x wants no gradient). The first addition to a branch's gradient can't be in place: its memory is the merge's.
fn layer_backward(trained: bool, meet: [Option<&'static str>; 2]) -> Vec<Launch> {
    let norm = |meet: Option<&'static str>| {
        let dx = meet.map(|meet| [("rms_norm_dx", D), (meet, D)]);
        dx.into_iter().flatten().chain(trained.then_some(("rms_norm_dw", 48))).collect::<Vec<_>>()
    };
    [
        linear_backward(trained, F, WF),
        vec![("glu_backward", F)],
        linear_backward(trained, D, WF),
        linear_backward(trained, D, WF),
        norm(meet[0]),
        linear_backward(trained, D, WQ),
        vec![("attention_backward", D)],
        vec![("rotary", KV), ("rotary", D)],
        linear_backward(trained, D, WK),
        linear_backward(trained, D, WK),
        linear_backward(trained, D, WQ),
        norm(meet[1]),
    ]
    .concat()
}

#[test]
fn stage_1_launches_exactly_what_training_one_expert_needs() {
    let launches = backward_launches(&stage1(), Trained::Experts);
    let (placed, apart) = (Some("scale"), Some("add"));
    let head = vec![("matmul", 8 * 256), ("cross_entropy", 8 * 256), ("matmul", D), ("rms_norm_dx", D)];
    // A merge's first output holds both branches, each padded to a multiple of 64 elements.
    let merge = vec![("gate_merge_backward", 2 * D)];
    let mut block_2_backbone = layer_backward(false, [placed, placed]);
    block_2_backbone.extend(layer_backward(false, [placed, placed]));
    // A branch's first layer also sends a gradient into x past its attention; there the merge's own has come before, and
    // the other branch's.
    let mut first = layer_backward(false, [placed, placed]);
    first.insert(6, ("scale", D));
    block_2_backbone.extend(first);
    let mut block_2_expert = layer_backward(true, [apart, placed]);
    block_2_expert.insert(10, ("scale", D));
    let want =
        [head, merge.clone(), block_2_expert, block_2_backbone, merge, layer_backward(true, [placed, None])].concat();
    assert_eq!(launches, want);
    // In mixed precision the same.
    let mut mixed = stage1();
    mixed.mixed = true;
    assert_eq!(backward_launches(&mixed, Trained::Experts), want);
    // Every product that is as large as a matrix is a dW: seven in each of the expert's two layers, none of the backbone's.
    let dw = launches.iter().filter(|(kernel, size)| *kernel == "matmul" && [WQ, WK, WF].contains(size)).count();
    assert_eq!(dw, 14);
}

#[test]
fn gates_alone_need_no_gradient_of_any_layer_in_block_1() {
    let launches = backward_launches(&stage1(), Trained::Gates);
    let count = |name: &str| launches.iter().filter(|launch| launch.0 == name).count();
    assert_eq!(count("matmul"), 2 + 4 * 7, "logits and dx of the head, dx through block 2's four layers");
    assert_eq!(count("rms_norm_dw"), 0);
    assert_eq!(launches.last().map(|launch| launch.0), Some("gate_merge_backward"));
}

#[test]
fn a_backbone_that_is_trained_beside_experts_gets_the_gradient_that_differences_show() {
    let model = stage1();
    model.set_trained(Trained::Everything);
    let device = model.backbone.device();
    let loss = |tape: &Tape| {
        let hidden = model.forward(tape, &Ids::new(device, &IDS[..8]).expect("ids"), 8).expect("a forward").hidden;
        model.loss(tape, &hidden, &Ids::new(device, &IDS[1..]).expect("ids"))
    };
    let tape = Tape::new();
    let (_, gradients) = loss(&tape).backward(&tape).expect("a backward");
    // Along the gradient g of the backbone's layers, away from the head, the loss rises by |g| a unit of length.
    let layers: Vec<&Param> = model.backbone.params().filter(|param| param.name().contains("layers.")).collect();
    let start: Vec<Vec<f32>> = layers.iter().map(|param| param.value().to_vec().expect("readable")).collect();
    let g: Vec<Vec<f32>> =
        layers.iter().map(|param| gradients.of(param).expect("a gradient").to_vec().expect("readable")).collect();
    let norm = g.iter().flatten().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    let at = |step: f64| {
        for ((param, start), g) in layers.iter().zip(&start).zip(&g) {
            let moved = start.iter().zip(g).map(|(w, &g)| (f64::from(*w) + step * f64::from(g) / norm) as f32);
            param.value().write(&moved.collect::<Vec<_>>()).expect("written");
        }
        f64::from(loss(&Tape::frozen()).evaluate().expect("a loss").mean.to_vec().expect("readable")[0])
    };
    let step = 1e-2;
    let slope = (at(step) - at(-step)) / (2.0 * step);
    assert!(norm > 1e-3 && (slope - norm).abs() < 1e-2 * norm, "{slope} and {norm}");
}

#[test]
fn one_expert_composed_is_the_stage_1_model_to_the_bit() {
    let device = Device::cpu();
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = format!(
        "method = 'compose'\nout = '{}'\nbase = '{}'\ndata = []\n[compose]\nexperts = ['{}']\n[train]\nsteps = 0\n\
         batch = 1\nlength = 8\nlearning_rate = 0.0\n",
        folder.path().join("one").display(),
        data("tiny-random-llama").display(),
        data("tiny-random-mode/code").display()
    );
    let file = folder.path().join("one.toml");
    std::fs::write(&file, recipe).expect("a recipe");
    for rule in ["relative", "diluted"] {
        let sets = [format!("compose.gates={rule}")];
        let recipe = mode::train::Recipe::read(&file, &sets).expect("a recipe");
        mode::train::run(&recipe, &device, Existing::Replace, &mut |_| ControlFlow::Continue(()))
            .expect("a composed model");
        let experts = [data("tiny-random-mode/code")];
        let stage1 = open_with_experts(&data("tiny-random-llama"), &experts, GateRule::Relative, &device);
        let composed = open(&folder.path().join("one"), &device).expect("the composed model");
        let logits = |model: &Model| {
            let ids = Ids::new(&device, &IDS).expect("ids");
            let output = model.forward(&Tape::new(), &ids, 9).expect("a forward");
            model.logits(&Tape::new(), &output.hidden).expect("logits").value().to_vec().expect("readable")
        };
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(logits(&stage1.expect("stage 1"))), bits(logits(&composed)));
    }
}

#[test]
fn a_copied_expert_of_all_layers_is_the_backbone() {
    let device = Device::cpu();
    let plain = Model::plain(Backbone::open(&data("tiny-random-llama"), &device).expect("the model"));
    let backbone = Backbone::open(&data("tiny-random-llama"), &device).expect("the model");
    let info = ExpertInfo::new("copy", "any", "", 2, 3).expect("a name");
    let expert = Expert::new(&backbone, info, ExpertInit::Copy, &mut Random::new(1)).expect("an expert");
    let gates = (0..2).map(|i| Gate::with_share(&device, i, backbone.config.width, 0.7).expect("a gate")).collect();
    let fresh = Model::with_experts(backbone, vec![expert], gates).expect("a model that fits");
    let windows = [IDS.to_vec()];
    let [a, b] = [&plain, &fresh].map(|model| evaluate(model, &windows, false).expect("an evaluation").mean_nll);
    assert!((a - b).abs() < 1e-5, "{a} and {b}");
}

#[test]
fn a_fresh_lora_is_its_base_to_the_bit() {
    let device = Device::cpu();
    let open_base = || open(&data("tiny-random-llama"), &device).expect("the model");
    let (base, mut adapted) = (open_base(), open_base());
    add_lora(&mut adapted.backbone, 4, 8.0, Adapted::Attention, &mut Random::new(1)).expect("a LoRA");
    let logits = |model: &Model| {
        let output = model.forward(&Tape::new(), &Ids::new(&device, &IDS).expect("ids"), 9).expect("a forward");
        model.logits(&Tape::new(), &output.hidden).expect("logits").value().to_vec().expect("readable")
    };
    assert_eq!(logits(&base), logits(&adapted));
}

#[test]
fn evaluation_leaves_what_is_trained_as_it_was() {
    let model = stage1();
    model.set_trained(Trained::Gates);
    let trained = || model.params().filter(|p| p.is_trained()).map(|p| p.name().to_string()).collect::<Vec<_>>();
    let before = trained();
    for grad_norms in [false, true] {
        evaluate(&model, &[IDS.to_vec()], grad_norms).expect("an evaluation");
        assert_eq!(trained(), before);
    }
}

#[test]
fn a_frozen_gate_computes_no_gradient_of_its_own() {
    let model = stage1();
    let launches = |trained| backward_launches(&model, trained).len();
    let all = launches(Trained::Experts);
    let device = model.backbone.device();
    model.set_trained(Trained::Experts);
    model.gates.iter().flat_map(Gate::params).for_each(|param| param.set_trained(false));
    let tape = Tape::new();
    let output = model.forward(&tape, &Ids::new(device, &IDS[..8]).expect("ids"), 8).expect("a forward");
    let loss = model.loss(&tape, &output.hidden, &Ids::new(device, &IDS[1..]).expect("ids"));
    device.start_trace();
    let (_, gradients) = loss.backward(&tape).expect("a backward");
    assert_eq!(device.stop_trace().len(), all, "the merge is one launch either way");
    assert!(model.gates.iter().flat_map(Gate::params).all(|param| gradients.of(param).is_err()));
}

#[test]
fn models_whose_parts_do_not_fit_are_refused() {
    let device = Device::cpu();
    let backbone = || Backbone::open(&data("tiny-random-llama"), &device).expect("the model");
    let expert = |blocks| {
        let info = ExpertInfo::new("code", "code", "", blocks, 1).expect("a name");
        Expert::new(&backbone(), info, ExpertInit::Random, &mut Random::new(1)).expect("an expert")
    };
    let gates = |count: usize| (0..count).map(|i| Gate::with_share(&device, i, 48, 0.5).expect("a gate")).collect();
    assert!(Model::with_experts(backbone(), vec![], gates(2)).is_err());
    assert!(Model::with_experts(backbone(), vec![expert(2)], gates(3)).is_err());
    assert!(Model::with_experts(backbone(), vec![expert(2), expert(3)], gates(2)).is_err());
    assert!(
        Model::with_experts(backbone(), vec![expert(2), expert(2)], gates(2)).is_err(),
        "gates of two ways, not three"
    );
    assert!(Model::with_experts(backbone(), vec![expert(2)], gates(2)).is_ok());
}

#[test]
fn training_nothing_is_an_error() {
    let model = stage1();
    model.set_trained(Trained::Nothing);
    let error = AdamW::new(model.params(), AdamWSettings::default()).err();
    assert!(matches!(error, Some(AutogradError::NoParameters)));
}

#[test]
fn a_parameter_that_no_gradient_reaches_is_named() {
    let device = Device::cpu();
    let param = |name: &str| {
        let param = Param::new(name, Tensor::full(&device, &[1, 1], 1.0).expect("memory"));
        param.set_trained(true);
        param
    };
    let (used, forgotten) = (param("used"), param("forgotten"));
    let tape = Tape::new();
    let x = Var::constant(Tensor::full(&device, &[1, 1], 2.0).expect("memory"));
    let y = linear(&x, &tape.param(&used)).expect("a product");
    let seed = Tensor::full(&device, &[1, 1], 1.0).expect("memory");
    let gradients = tape.backward(&y, seed).expect("a backward");
    let mut optimizer = AdamW::new([&used, &forgotten], AdamWSettings::default()).expect("parameters");
    let error = optimizer.step(&gradients, 0.1).expect_err("one is unreached").to_string();
    assert!(error.contains("'forgotten'"), "{error}");
    assert_eq!(used.value().to_vec().expect("readable"), [1.0], "nothing was stepped");
}

#[test]
fn a_tape_is_walked_back_once() {
    let device = Device::cpu();
    let w = Param::new("w", Tensor::full(&device, &[1, 1], 1.0).expect("memory"));
    w.set_trained(true);
    let tape = Tape::new();
    let x = Var::constant(Tensor::full(&device, &[1, 1], 2.0).expect("memory"));
    let y = linear(&x, &tape.param(&w)).expect("a product");
    let seed = || Tensor::full(&device, &[1, 1], 1.0).expect("memory");
    tape.backward(&y, seed()).expect("a backward");
    assert!(matches!(tape.backward(&y, seed()), Err(AutogradError::Spent { .. })));
    assert!(matches!(mode_autograd::add(&y, &y), Err(AutogradError::Spent { .. })));
}

#[test]
fn blocks_must_divide_the_layers() {
    let backbone = Backbone::open(&data("tiny-random-llama"), &Device::cpu()).expect("the model");
    let info = ExpertInfo::new("code", "code", "", 4, 1).expect("a name");
    let error = Expert::new(&backbone, info, ExpertInit::Random, &mut Random::new(1)).err();
    assert!(matches!(&error, Some(Error::Setting(what)) if what.contains("1, 2, 3, 6")), "{error:?}");
}
