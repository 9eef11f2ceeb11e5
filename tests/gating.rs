//! Gates of other kinds than the paper's: what they read, how sharp they are, how many branches they keep.

use mode::model::{Cache, Gating, Model, Random, Reads, open};
use mode_autograd::Tape;
use mode_tensor::{Device, Ids};

mod common;
use common::{Recipes, data, devices, refused, run, text};

/// The small composed model, two experts beside each of its blocks, with gates of this kind.
fn composed(device: &Device, gating: Gating) -> Model {
    let mut model = open(&data("tiny-random-mode/composed"), device).expect("a model");
    model.set_gating(gating, &mut Random::new(1)).expect("a kind");
    model
}

/// Two windows of twelve tokens.
fn tokens() -> Vec<u32> {
    (0..24).map(|i| i * i * 7 % 50).collect()
}

fn ids(device: &Device) -> Ids {
    Ids::new(device, &tokens()).expect("memory")
}

/// The stream of two windows, and each block's weights.
fn pass(model: &Model) -> (Vec<f32>, Vec<Vec<f32>>) {
    let output = model.forward(&Tape::frozen(), &ids(model.backbone.device()), 12).expect("a forward pass");
    let gates = output.gates.iter().map(|gate| gate.to_vec().expect("memory")).collect();
    (output.hidden.value().to_vec().expect("memory"), gates)
}

#[test]
fn an_attention_gate_begins_as_the_token_gate() {
    for device in devices() {
        let paper = pass(&open(&data("tiny-random-mode/composed"), &device).expect("a model"));
        assert_eq!(pass(&composed(&device, Gating { reads: Reads::Attention, ..Gating::default() })), paper);
        assert_eq!(pass(&composed(&device, Gating { top: 3, ..Gating::default() })), paper);
        assert_ne!(pass(&composed(&device, Gating { reads: Reads::Sequence, ..Gating::default() })), paper);
    }
}

#[test]
fn a_token_keeps_as_many_branches_as_it_may() {
    for device in devices() {
        for top in [1, 2] {
            let (_, gates) = pass(&composed(&device, Gating { top, ..Gating::default() }));
            for token in gates.iter().flat_map(|block| block.chunks(3)) {
                let kept = token.iter().filter(|&&share| share > 0.0).count();
                let total: f32 = token.iter().sum();
                assert!(kept == top && (total - 1.0).abs() < 1e-6, "{token:?} on {}", device.name());
            }
        }
    }
}

#[test]
fn a_low_temperature_chooses_and_a_high_one_shares() {
    let device = Device::cpu();
    let greatest = |temperature: f64| {
        let (_, gates) = pass(&composed(&device, Gating { temperature, ..Gating::default() }));
        let greatest = gates[0].chunks(3).map(|token| token.iter().copied().fold(0.0, f32::max));
        greatest.sum::<f32>() / 24.0
    };
    let [sharp, paper, flat] = [0.01, 1.0, 100.0].map(greatest);
    assert!(sharp > 0.9 && sharp > paper && paper > flat && flat < 0.36, "{sharp} {paper} {flat}");
}

#[test]
fn a_sequence_gate_reads_the_mean_of_what_came_before() {
    // Windows of one token are their own means; in longer ones the first token alone is.
    let device = Device::cpu();
    let (token, sequence) = (
        open(&data("tiny-random-mode/composed"), &device).expect("a model"),
        composed(&device, Gating { reads: Reads::Sequence, ..Gating::default() }),
    );
    let first_block = |model: &Model, length| {
        let output = model.forward(&Tape::frozen(), &ids(&device), length).expect("a forward pass");
        output.gates[0].to_vec().expect("memory")
    };
    assert_eq!(first_block(&token, 1), first_block(&sequence, 1));
    let [of_token, of_mean] = [first_block(&token, 12), first_block(&sequence, 12)];
    for window in [0, 12] {
        assert_eq!(of_token[3 * window..][..3], of_mean[3 * window..][..3]);
        assert_ne!(of_token[3 * window + 3..][..3], of_mean[3 * window + 3..][..3]);
    }
}

#[test]
fn with_a_cache_and_without_all_kinds_say_the_same() {
    for device in devices() {
        for reads in [Reads::Token, Reads::Sequence, Reads::Attention] {
            let model = composed(&device, Gating { reads, temperature: 0.5, top: 2 });
            // Values other than zero, so that what was kept counts.
            for param in model.params().filter(|param| param.name().ends_with("gate.value")) {
                let values: Vec<f32> = (0..param.value().len()).map(|i| ((i * 37 % 19) as f32 - 9.0) / 40.0).collect();
                param.value().write(&values).expect("memory");
            }
            let all = tokens();
            let whole = model.forward(&Tape::frozen(), &ids(&device), all.len()).expect("a forward pass");
            let whole = whole.hidden.value().to_vec().expect("memory");
            let (cache, mut pieces) = (Cache::new(all.len()), Vec::new());
            for piece in [5, 1, 1, 11, 6] {
                let new = Ids::new(&device, &all[cache.past()..][..piece]).expect("memory");
                let output = model.forward_cached(&new, &cache).expect("a forward pass");
                pieces.extend(output.hidden.value().to_vec().expect("memory"));
            }
            for (got, want) in pieces.iter().zip(&whole) {
                assert!((got - want).abs() < 1e-4, "{reads:?} on {}: {got} and {want}", device.name());
            }
        }
    }
}

#[test]
fn a_kind_is_trained_written_and_read() {
    let recipes = Recipes::new();
    recipes.pretrain();
    for name in ["one", "two"] {
        recipes.run(
            "train",
            name,
            &format!(
                "method = 'expert'\n[expert]\nname = '{name}'\ndomain = '{name}'\nblocks = 2\nlayers_per_block = 1"
            ),
        );
    }
    let experts = ["one", "two"].map(|name| text(&recipes.path(name)).to_string());
    let compose = |name: &str, gating: &str| {
        recipes.write(name, &format!("method = 'compose'\n[compose]\nexperts = {experts:?}\n{gating}"))
    };
    let gating = "gating = { reads = 'attention', temperature = 0.7, top = 2 }";
    let (_, stderr, code) = run(&["compose", text(&compose("attentive", gating))]);
    assert_eq!(code, 0, "{stderr}");
    let model = open(&recipes.path("attentive"), &Device::cpu()).expect("a model");
    assert_eq!(model.gating(), Gating { reads: Reads::Attention, temperature: 0.7, top: 2 });
    let value = model.params().find(|param| param.name() == "blocks.1.gate.value").expect("a parameter");
    assert!(value.value().to_vec().expect("memory").iter().any(|&x| x != 0.0), "it was trained");
    // One expert less, and the gate keeps its kind.
    let kept = model.without(&["two".into()]).expect("an expert");
    assert_eq!(model.keep(kept).gating().reads, Reads::Attention);
    let (stdout, stderr, code) = run(&["inspect", text(&recipes.path("attentive")), "--json"]);
    assert!(code == 0 && stdout.contains("\"reads\":\"attention\""), "{stdout}{stderr}");

    refused(&["compose", text(&compose("many", "gating = { top = 4 }"))], "gating.top is 4 of 3 branches");
    refused(&["compose", text(&compose("cold", "gating = { temperature = 0.0 }"))], "gating.temperature is 0");
    refused(&["compose", text(&compose("typo", "gating = { reeds = 'token' }"))], "reeds");
    let meshed = compose("meshed", "gating = { top = 1 }\n[mesh]\nlayout = 'spmd-2'");
    refused(&["compose", text(&meshed)], "drop [compose.gating] or [mesh]");
}
