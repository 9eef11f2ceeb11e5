//! Training over several devices: the same losses on every layout, and nothing sent that nobody needs.

use mode::mesh::{
    Action, Attention, Branch, Collective, Cost, Layout, Options, Problem, Recompute, Team, Work, costs, footprint,
    plan,
};
use mode::model::{Backbone, Config, Expert, ExpertInfo, ExpertInit, Gate, Model, Random, Trained, open};
use mode::train::one_step;
use mode_autograd::{AdamW, AdamWSettings, Decayed};
use mode_kernels::fill_hash::hash;
use mode_tensor::{Device, Dtype};

mod common;
use common::{as_halves, data, families, gpu, stage_1};
use std::path::Path;

const STEPS: u32 = 20;
const RATE: f64 = 1e-3;
const WINDOWS: usize = 4;
const LENGTH: usize = 13;

/// Windows of step number `step`.
fn windows(model: &Model, step: u32) -> Vec<Vec<u32>> {
    let vocabulary = model.backbone.config.vocabulary as u32;
    let window = |row| (0..=LENGTH as u32).map(|i| hash(100 * step + row, i) % vocabulary).collect();
    (0..WINDOWS as u32).map(window).collect()
}

/// Loss and gradient norm of each step on one device, by the trainer that knows no meshes.
fn alone(model: &Model) -> Vec<[f32; 2]> {
    alone_with(model, AdamWSettings::default())
}

fn alone_with(model: &Model, settings: AdamWSettings) -> Vec<[f32; 2]> {
    let mut optimizer = AdamW::new(model.params(), settings).expect("parameters");
    let step = |step| one_step(model, &mut optimizer, &windows(model, step), 1, RATE).expect("a step");
    (0..STEPS).map(step).map(|stepped| [stepped.loss, stepped.gradient_norm]).collect()
}

/// The same on the devices of a layout.
fn together(model: &Model, problem: &Problem, layout: &str, devices: &dyn Fn() -> Device) -> Vec<[f32; 2]> {
    together_with(model, problem, layout, devices, AdamWSettings::default())
}

fn together_with(
    model: &Model,
    problem: &Problem,
    layout: &str,
    devices: &dyn Fn() -> Device,
    settings: AdamWSettings,
) -> Vec<[f32; 2]> {
    let names: Vec<String> = model.experts.iter().map(|expert| expert.info.name.clone()).collect();
    let layout = Layout::read(layout, &names).expect("a layout");
    let devices: Vec<Device> = (0..layout.devices()).map(|_| devices()).collect();
    let mut team = Team::new(model, problem, &layout, &devices, settings, &Options::default()).expect("a team");
    let step = |step| team.step(windows(model, step), RATE).expect("a step");
    (0..STEPS).map(step).map(|stepped| [stepped.loss, stepped.gradient_norm]).collect()
}

fn assert_same(what: &str, found: &[[f32; 2]], wanted: &[[f32; 2]]) {
    assert_eq!(found.len(), wanted.len());
    for (step, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        for ((name, tolerance), (a, b)) in [("loss", 1e-5), ("norm", 1e-4)].into_iter().zip(found.iter().zip(wanted)) {
            assert!(((a - b) / b).abs() <= tolerance, "{what}, {name} of step {step}: {a} and {b}");
        }
    }
}

/// Two experts, of the small model that files are tested with.
fn composed(trained: Trained) -> Model {
    let model = open(&data("tiny-random-mode/composed"), &Device::cpu()).expect("a model");
    model.set_trained(trained);
    model
}

fn problem(model: &Model) -> Problem {
    Problem::new(model, WINDOWS, LENGTH).expect("experts are trained")
}

#[test]
fn every_layout_has_the_losses_of_one_device() {
    for trained in [Trained::Experts, Trained::Gates] {
        let wanted = alone(&composed(trained));
        let model = composed(trained);
        let plain = problem(&model);
        // One device, SPMD over 2 and 4 along each axis and both, MPMD over 2, 3, 5 and more, of meshes of all kinds.
        for layout in [
            "spmd-1",
            "spmd-2",
            "spmd-2x1",
            "spmd-4x1",
            "spmd-2x2",
            "1+1",
            "1+1+1",
            "2+1",
            "1+2+2",
            "2+2+1",
            "2x1+1x2",
            "2x2+1+2x1",
        ] {
            let found = together(&model, &plain, layout, &Device::cpu);
            assert_same(&format!("{trained:?} on {layout}"), &found, &wanted);
        }
        for (what, other) in [
            ("microbatches", Problem { microbatches: 2, ..plain.clone() }),
            ("halves again", Problem { recompute: Recompute::Halves, ..plain.clone() }),
            ("branches again", Problem { recompute: Recompute::Branches, ..plain.clone() }),
            ("nothing left out", Problem { computes_frozen: true, ..plain.clone() }),
            ("merged whole", Problem { merges_whole: true, ..plain.clone() }),
        ] {
            for layout in ["spmd-2", "2+1+2"] {
                let found = together(&model, &other, layout, &Device::cpu);
                assert_same(&format!("{trained:?} on {layout}, {what}"), &found, &wanted);
            }
        }
    }
}

/// Stage 1 beside a decoder of a family, of a size that two devices can share.
fn of_family(folder: &Path) -> Model {
    let cpu = Device::cpu();
    let config = open(folder, &cpu).expect("a model").backbone.config;
    let all_heads = config.heads == config.kv_heads;
    let config = Config {
        layers: 4,
        heads: 4,
        kv_heads: if all_heads { 4 } else { 2 },
        width: if config.ropes.is_empty() { 4 * config.head_width } else { config.width },
        windows: config.windows.iter().cycle().take(if config.windows.is_empty() { 0 } else { 4 }).copied().collect(),
        ..config
    };
    let backbone = Backbone::random(config, &cpu, &mut Random::new(3)).expect("a decoder");
    let info = ExpertInfo::new("one", "one", "", 2, 1).expect("a name");
    let expert = Expert::new(&backbone, info, ExpertInit::Random, &mut Random::new(5)).expect("an expert");
    let gates = (0..2).map(|i| Gate::with_share(&cpu, i, backbone.config.width, 0.4).expect("a gate")).collect();
    let model = Model::with_experts(backbone, vec![expert], gates).expect("a model");
    model.set_trained(Trained::Experts);
    model
}

#[test]
fn halves_are_cut_as_they_are_stored() {
    let folder = tempfile::tempdir().expect("a folder");
    for dtype in [Dtype::BF16, Dtype::F16] {
        let base = folder.path().join(format!("{dtype:?}"));
        std::fs::create_dir(&base).expect("a folder");
        let from = data("tiny-random-llama");
        std::fs::copy(from.join("config.json"), base.join("config.json")).expect("a file");
        as_halves(&from.join("model.safetensors"), &base.join("model.safetensors"), dtype);
        let opened = || stage_1(&base, &Device::cpu());
        assert!(opened().params().any(|param| param.value().dtype() == dtype));
        let (wanted, model) = (alone(&opened()), opened());
        for layout in ["spmd-2", "1+1", "2+2"] {
            let found = together(&model, &problem(&model), layout, &Device::cpu);
            assert_same(&format!("{dtype:?} on {layout}"), &found, &wanted);
        }
    }
}

#[test]
fn decay_and_clipping_are_those_of_one_device() {
    // The norm is far above: every step is clipped, by the norm over all devices.
    let settings = AdamWSettings { decayed: Decayed::Matrices, decay: 0.5, clip: 1e-2, ..AdamWSettings::default() };
    let wanted = alone_with(&composed(Trained::Experts), settings);
    assert!(wanted.iter().all(|[_, norm]| *norm > 1e-2), "{wanted:?}");
    let model = composed(Trained::Experts);
    for layout in ["spmd-2", "2x1", "1+2", "2x2+1+2x1"] {
        let found = together_with(&model, &problem(&model), layout, &Device::cpu, settings);
        assert_same(layout, &found, &wanted);
    }
}

#[test]
fn every_family_is_cut() {
    for folder in families() {
        let wanted = alone(&of_family(&folder));
        let model = of_family(&folder);
        for layout in ["spmd-1", "spmd-2", "2+2", "2x1+2"] {
            let found = together(&model, &problem(&model), layout, &Device::cpu);
            assert_same(&format!("{} on {layout}", folder.display()), &found, &wanted);
        }
    }
}

#[test]
fn gpus_make_up_a_mesh() {
    if gpu().is_none() {
        return;
    }
    let wanted = alone(&composed(Trained::Experts));
    let model = composed(Trained::Experts);
    for layout in ["spmd-2", "1+2"] {
        let found = together(&model, &problem(&model), layout, &|| gpu().expect("a GPU"));
        assert_same(&format!("GPUs on {layout}"), &found, &wanted);
    }
}

#[test]
fn nothing_is_computed_or_sent_that_nobody_needs() {
    let model = composed(Trained::Experts);
    let layout = Layout::read("2+1+1", &["a".into(), "b".into()]).expect("a layout");
    let schedule = plan(&problem(&model), &layout);
    let width = model.backbone.config.width;
    let tokens = WINDOWS * LENGTH;
    let backward = |branch: Branch, block: usize| {
        let of = |work: &Work| matches!(work, Work::Backward(place) | Work::NormBackward(place) if (place.branch, place.block) == (branch, block));
        schedule.entries.iter().filter(|entry| matches!(&entry.action, Action::Compute(work) if of(work))).count()
    };
    assert_eq!(backward(Branch::Backbone, 0), 0, "the first block's backbone has no backward pass");
    assert!(backward(Branch::Backbone, 1) > 0 && backward(Branch::Expert(0), 0) > 0);
    // For each expert: x and f in each block, df in each, dx in all but the first. And four numbers of each device to the three others.
    let sent: u64 = (0..layout.devices()).map(|device| schedule.bytes_sent(&layout, device)[1]).sum();
    let blocks = model.gates.len();
    assert_eq!(sent as usize, (2 * (4 * blocks - 1) * tokens * width + 4 * 4 * 3) * 4);
    assert_eq!(schedule.bytes_sent(&layout, 3)[0], 0);
    // A device that has a mesh to itself takes part in no collective but the exchange of norms.
    let alone: Vec<_> = schedule.of(3).filter(|(_, entry)| matches!(entry.action, Action::Collective { .. })).collect();
    let whole = |action: &Action| matches!(action, Action::Collective { kind: Collective::AllGather, group, .. } if group.len() == 4);
    assert!(alone.len() == 1 && whole(&alone[0].1.action), "{alone:?}");
}

#[test]
fn the_price_of_a_step_is_what_its_kernels_say() {
    let models: Vec<_> = families().iter().map(|folder| (folder.display().to_string(), of_family(folder))).collect();
    // As it is, and with nothing left out though gates alone are trained.
    let ways = [(Trained::Experts, false), (Trained::Gates, true)];
    for ((name, model), (trained, computes_frozen)) in models.iter().flat_map(|model| ways.map(|way| (model, way))) {
        model.set_trained(trained);
        for layout in ["spmd-1", "spmd-2", "1+1", "2x1+2"] {
            let problem = Problem { computes_frozen, ..problem(model) };
            let layout = Layout::read(layout, &["one".into()]).expect("a layout");
            let devices: Vec<Device> = (0..layout.devices()).map(|_| Device::cpu()).collect();
            let settings = AdamWSettings::default();
            let mut team =
                Team::new(model, &problem, &layout, &devices, settings, &Options::default()).expect("a team");
            // The first step makes the optimizers.
            team.step(windows(model, 0), RATE).expect("a step");
            devices.iter().for_each(|device| device.start_profile().expect("a clock"));
            team.step(windows(model, 1), RATE).expect("a step");
            let schedule = plan(&problem, &layout);
            let costs = costs(&problem, &layout, &schedule, Attention::Fused);
            for (number, device) in devices.iter().enumerate() {
                let (mut found, mut priced) = (Cost::default(), Cost::default());
                for timing in device.stop_profile().expect("a clock") {
                    match timing.kernel {
                        "matmul" => found.matmul += timing.cost.flop,
                        "attention" | "attention_backward" => found.attention += timing.cost.flop,
                        _ => found.bytes += timing.cost.bytes,
                    }
                    found.launches += 1.0;
                }
                schedule.of(number).for_each(|(entry, _)| priced += costs[entry]);
                let what =
                    format!("{name}, {trained:?}, {}, device {number}: {found:?}, priced {priced:?}", layout.name);
                let same = |a: f64, b: f64, tolerance: f64| (a - b).abs() <= tolerance * b.max(1.0);
                assert!(
                    same(priced.matmul, found.matmul, 1e-9) && same(priced.attention, found.attention, 1e-9),
                    "{what}"
                );
                // What is small is priced by the largest of its kind.
                assert!(same(priced.bytes + priced.fusable, found.bytes, 0.2), "{what}");
                assert!(same(priced.launches, found.launches, 0.25), "{what}");
            }
        }
    }
}

#[test]
fn a_sum_s_price_is_that_of_its_additions() {
    let model = composed(Trained::Experts);
    let problem = Problem { expert_layers: vec![1; 3], ..problem(&model) };
    let layout = Layout::read("spmd-1", &["a".into(), "b".into(), "c".into()]).expect("a layout");
    let schedule = plan(&problem, &layout);
    let costs = costs(&problem, &layout, &schedule, Attention::Fused);
    let sums = schedule.of(0).filter(|(_, entry)| entry.action == Action::Compute(Work::Sum));
    // dx of the merge, of the backbone's branch and of three experts'.
    let (additions, moved) = (4.0, 3 * WINDOWS * LENGTH * model.backbone.config.width * 4);
    for (entry, _) in sums {
        assert_eq!(costs[entry], Cost { launches: additions, fusable: additions * moved as f64, ..Cost::default() });
    }
    assert_eq!(schedule.of(0).filter(|(_, entry)| entry.action == Action::Compute(Work::Sum)).count(), 1);
}

#[test]
fn memory_is_what_was_predicted() {
    let cpu = Device::cpu();
    let config = Config {
        vocabulary: 2_000,
        width: 96,
        hidden: 256,
        layers: 6,
        heads: 4,
        kv_heads: 2,
        head_width: 24,
        positions: 64,
        tied: true,
        ..Config::default()
    };
    let backbone = Backbone::random(config, &cpu, &mut Random::new(1)).expect("a decoder");
    let expert = |name: &str, seed| {
        let info = ExpertInfo::new(name, name, "", 2, 2).expect("a name");
        Expert::new(&backbone, info, ExpertInit::Random, &mut Random::new(seed)).expect("an expert")
    };
    let experts = vec![expert("one", 2)];
    let gates = (0..2).map(|i| Gate::with_share(&cpu, i, 96, 0.4).expect("a gate")).collect();
    let model = Model::with_experts(backbone, experts, gates).expect("a model");
    model.set_trained(Trained::Experts);
    let plain = Problem::new(&model, 8, 64).expect("experts are trained");
    let windows: Vec<Vec<u32>> = (0..8).map(|row| (0..65).map(|i| hash(row, i) % 2_000).collect()).collect();
    let ways = [Recompute::Nothing, Recompute::Halves, Recompute::Branches].map(|recompute| (recompute, false));
    for (recompute, computes_frozen) in ways.into_iter().chain([(Recompute::Nothing, true)]) {
        let problem = Problem { recompute, computes_frozen, ..plain.clone() };
        for layout in ["spmd-1", "spmd-2", "spmd-2x1", "1+1", "2+1"] {
            let layout = Layout::read(layout, &["one".into()]).expect("a layout");
            let devices: Vec<Device> = (0..layout.devices()).map(|_| Device::cpu()).collect();
            let settings = AdamWSettings::default();
            let mut team =
                Team::new(&model, &problem, &layout, &devices, settings, &Options::default()).expect("a team");
            for _ in 0..3 {
                team.step(windows.clone(), RATE).expect("a step");
            }
            for (number, device) in devices.iter().enumerate() {
                let predicted = footprint(&problem, &layout, number, 4.0);
                let found = device.counters().peak_bytes as f64;
                let apart = predicted.bytes() / found - 1.0;
                assert!(
                    apart.abs() < 0.2,
                    "{recompute:?} {computes_frozen} {} device {number}: {found}, {predicted:?}",
                    layout.name
                );
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = composed(Trained::Experts);
    let problem = problem(&model);
    let refused = |layout: &str, says: &str| {
        let layout = Layout::read(layout, &["a".into(), "b".into()]).expect("a layout");
        let what = problem.check(&layout).expect_err(&layout.name).to_string();
        assert!(what.contains(says), "{what}");
    };
    refused("spmd-3", "can't be shared out evenly to 3 devices along tensor");
    refused(
        "spmd-3x1",
        "4 windows can't be shared out evenly to 3 devices along data; a train.batch that is a multiple of 3",
    );
    let four = problem.clone().in_microbatches(4);
    let what = four.check(&Layout::read("spmd-2x1", &["a".into(), "b".into()]).expect("a layout"));
    let what = what.expect_err("a window a microbatch").to_string();
    assert!(what.ends_with("; a train.batch that is a multiple of 8 would do, or train.accumulate = 2"), "{what}");
    let team = |devices: usize| {
        let layout = Layout::read("1+1", &["a".into(), "b".into()]).expect("a layout");
        let devices: Vec<Device> = (0..devices).map(|_| Device::cpu()).collect();
        Team::new(&model, &problem, &layout, &devices, AdamWSettings::default(), &Options::default())
    };
    let error = team(1).err().expect("too few").to_string();
    assert!(error.contains("layout 1+1 has 2 devices, and there are 1"), "{error}");
    let mut team = team(2).expect("a team");
    let error = team.step(vec![vec![1; LENGTH + 1]; 3], RATE).err().expect("too few").to_string();
    assert!(error.contains("a step takes 4 windows of 13 predicted tokens"), "{error}");
    model.set_trained(Trained::Backbone);
    let error = Problem::new(&model, WINDOWS, LENGTH).expect_err("all is trained").to_string();
    assert!(error.contains("beside a frozen backbone"), "{error}");
}
