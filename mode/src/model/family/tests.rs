//! What keys of `config.json` mean, and which are refused: transformers 5.24 was asked for each.

use super::Keys;
use crate::model::config::Config;
use crate::model::rope::{Rope, Scaling};
use mode_tensor::Activation;
use serde_json::{Map, Value, json};

fn table(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(table) => table,
        other => panic!("{other} is no table"),
    }
}

/// A small configuration of a family, with changes.
fn read(architecture: &str, model_type: &str, changes: Value) -> Result<Config, String> {
    let mut keys = table(json!({
        "architectures": [architecture], "model_type": model_type, "vocab_size": 97, "hidden_size": 32,
        "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64,
    }));
    keys.extend(table(changes));
    Config::from_keys(keys)
}

fn llama(changes: Value) -> Result<Config, String> {
    read("LlamaForCausalLM", "llama", changes)
}

fn gemma3(changes: Value) -> Result<Config, String> {
    read("Gemma3ForCausalLM", "gemma3_text", changes)
}

fn refused(config: Result<Config, String>, says: &str) {
    let said = config.err().unwrap_or_default();
    assert!(said.contains(says), "{says:?} is not in {said:?}");
}

/// The original positions of YaRN.
fn original(config: Config) -> f64 {
    match config.ropes[0].scaling {
        Scaling::Yarn { original, .. } => original,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn rope_scaling_counts_over_rope_parameters() -> Result<(), String> {
    let both = json!({
        "rope_theta": 700.0,
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0},
    });
    assert_eq!(llama(both)?.ropes, [Rope { theta: 700.0, scaling: Scaling::Linear { factor: 4.0 } }]);
    let one = json!({"rope_theta": 700.0, "rope_parameters": {"rope_type": "linear", "factor": 2.0}});
    assert_eq!(llama(one)?.ropes, [Rope { theta: 700.0, scaling: Scaling::Linear { factor: 2.0 } }]);
    Ok(())
}

#[test]
fn original_positions_outside_the_table_count_over_those_inside() -> Result<(), String> {
    let yarn = |inside: Value, outside: Value| {
        let scaling = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": inside});
        llama(json!({"rope_scaling": scaling, "original_max_position_embeddings": outside}))
    };
    assert_eq!(original(yarn(Value::Null, Value::Null)?), 64.0);
    assert_eq!(original(yarn(json!(16), Value::Null)?), 16.0);
    assert_eq!(original(yarn(Value::Null, json!(32))?), 32.0);
    assert_eq!(original(yarn(json!(16), json!(32))?), 32.0);
    Ok(())
}

#[test]
fn angles_that_are_not_followed_are_refused() {
    refused(llama(json!({"partial_rotary_factor": 0.5})), "partial_rotary_factor is 0.5");
    let longrope = |short: usize, long: f64| {
        let lists = (vec![2.0; short], vec![long; short]);
        llama(
            json!({"rope_scaling": {"rope_type": "longrope", "attention_factor": 1.0, "short_factor": lists.0, "long_factor": lists.1}}),
        )
    };
    refused(longrope(8, 3.0), "are not one list");
    refused(longrope(7, 2.0), "makes no sense");
    let tiny = json!({"rope_type": "linear", "factor": 1e-320});
    refused(llama(json!({"rope_scaling": tiny})), "makes no sense");
    let table = json!({"rope_parameters": {"full_attention": {"rope_theta": 5.0}}});
    refused(llama(table), "a table of its own for full_attention");
}

#[test]
fn attention_that_sees_what_comes_later_is_refused() {
    refused(llama(json!({"is_causal": false})), "is_causal");
    refused(
        read("GemmaForCausalLM", "gemma", json!({"use_bidirectional_attention": true})),
        "use_bidirectional_attention",
    );
    refused(gemma3(json!({"use_bidirectional_attention": true})), "use_bidirectional_attention");
}

#[test]
fn gemma_3_has_angles_for_both_kinds_of_layers() -> Result<(), String> {
    let linear = |theta, factor| Rope { theta, scaling: Scaling::Linear { factor } };
    let one = json!({"full_attention": {"rope_type": "linear", "factor": 8.0}});
    let thetas = json!({"rope_parameters": one, "rope_theta": 700.0, "rope_local_base_freq": 33.0});
    assert_eq!(gemma3(thetas)?.ropes, [linear(700.0, 8.0), Rope::plain(33.0)]);
    let both = json!({"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5.0}});
    let scaled = json!({"rope_parameters": both, "rope_scaling": {"factor": 2.0}, "rope_theta": 700.0});
    assert_eq!(gemma3(scaled)?.ropes, [linear(5.0, 2.0), Rope::plain(1e4)]);
    let older = json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0}});
    assert_eq!(gemma3(older)?.ropes, [linear(1e6, 2.0), Rope::plain(1e4)]);
    let local = json!({"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 3.0}}});
    assert_eq!(gemma3(local)?.ropes, [Rope::plain(1e6), linear(1e4, 3.0)]);
    refused(gemma3(json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0}})), "has a table for each of");
    refused(gemma3(json!({"attn_logit_softcapping": 50.0})), "attn_logit_softcapping");
    refused(gemma3(json!({"rope_scaling": {"type": "linear", "factor": 2.0}})), "call it rope_type");
    let yarn = json!({"full_attention": {"rope_type": "yarn", "factor": 2.0, "truncate": false}});
    refused(gemma3(json!({"rope_parameters": yarn})), "truncate is false");
    Ok(())
}

#[test]
fn what_is_written_is_read_as_it_was() -> Result<(), String> {
    let local = json!({"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5.0},
                       "sliding_attention": {"rope_type": "linear", "factor": 3.0, "rope_theta": 7.0}});
    let configs = [
        gemma3(json!({"rope_parameters": local}))?,
        llama(json!({"rope_scaling": {"rope_type": "longrope", "attention_factor": 1.5,
                                      "short_factor": vec![2.0; 8], "long_factor": vec![2.0; 8]}}))?,
        llama(json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 16}}))?,
        llama(json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}, "original_max_position_embeddings": 32}))?,
        read("GemmaForCausalLM", "gemma", json!({"hidden_act": "gelu"}))?,
        read("Gemma2ForCausalLM", "gemma2", json!({"hidden_activation": "gelu"}))?,
        read("MistralForCausalLM", "mistral", json!({"sliding_window": null}))?,
    ];
    for config in configs {
        let again = Config::from_keys(table(config.to_json("float32")))?;
        assert_eq!(again.maths(), config.maths());
        assert_eq!(Config { more: Map::new(), ..again }, Config { more: Map::new(), ..config });
    }
    Ok(())
}

#[test]
fn a_local_stretch_is_part_of_the_maths() -> Result<(), String> {
    let of = |factor| {
        let local = json!({"sliding_attention": {"rope_type": "linear", "factor": factor}});
        gemma3(json!({"rope_parameters": local})).map(|config| config.maths())
    };
    assert_ne!(of(2.0)?, of(3.0)?);
    Ok(())
}

#[test]
fn gemma_reads_one_key_for_its_activation_and_no_other_may_contradict() -> Result<(), String> {
    let gemma = |changes| read("GemmaForCausalLM", "gemma", changes);
    let gemma2 = |changes| read("Gemma2ForCausalLM", "gemma2", changes);
    assert_eq!(gemma(json!({"hidden_act": "gelu"}))?.activation, Activation::GeluTanh);
    assert_eq!(gemma(json!({"hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh"}))?.vocabulary, 97);
    assert_eq!(gemma(json!({"hidden_act": "relu"}))?.activation, Activation::Relu);
    refused(gemma(json!({"hidden_activation": "relu"})), "two things, gelu_pytorch_tanh and relu");
    assert_eq!(gemma2(json!({"hidden_activation": "gelu"}))?.activation, Activation::Gelu);
    refused(gemma2(json!({"hidden_act": "relu"})), "two things, gelu_pytorch_tanh and relu");
    Ok(())
}

#[test]
fn gemma_pads_with_token_0_unless_it_says_otherwise() -> Result<(), String> {
    let gemma = |changes| read("GemmaForCausalLM", "gemma", changes).map(|config| config.padding);
    assert_eq!(gemma(json!({}))?, Some(0));
    assert_eq!(gemma(json!({"pad_token_id": null}))?, None);
    assert_eq!(gemma(json!({"pad_token_id": 3}))?, Some(3));
    assert_eq!(llama(json!({}))?.padding, None);
    Ok(())
}

#[test]
fn a_family_is_named_once() -> Result<(), String> {
    assert_eq!(read("LlamaModel", "llama", json!({}))?.family.architecture, "LlamaForCausalLM");
    assert_eq!(read("Gemma3TextModel", "gemma3_text", json!({}))?.family.architecture, "Gemma3ForCausalLM");
    refused(read("Gemma3Model", "gemma3", json!({})), "architecture Gemma3Model is not supported");
    assert_eq!(llama(json!({"architectures": null}))?.family.architecture, "LlamaForCausalLM");
    assert_eq!(llama(json!({"model_type": null}))?.family.architecture, "LlamaForCausalLM");
    refused(read("LlamaForCausalLM", "mistral", json!({})), "one of them is wrong");
    refused(read("FalconForCausalLM", "falcon", json!({})), "architecture FalconForCausalLM is not supported");
    refused(llama(json!({"architectures": null, "model_type": null})), "architecture missing");
    Ok(())
}

#[test]
fn mistral_has_its_window_in_all_layers() -> Result<(), String> {
    let mistral = |changes| read("MistralForCausalLM", "mistral", changes);
    assert_eq!(mistral(json!({}))?.windows, [Some(4_096); 2]);
    let types = json!(["full_attention", "sliding_attention"]);
    refused(mistral(json!({"sliding_window": 8, "layer_types": types})), "layer_types gives some layers no window");
    Ok(())
}

#[test]
fn a_window_that_is_null_is_none() -> Result<(), String> {
    let qwen2 = |changes| read("Qwen2ForCausalLM", "qwen2", changes);
    let used = |window: Value| json!({"use_sliding_window": true, "max_window_layers": 0, "sliding_window": window});
    assert_eq!(qwen2(used(json!(8)))?.windows, [Some(8); 2]);
    assert_eq!(qwen2(used(Value::Null))?.windows, [None; 2]);
    let absent = json!({"use_sliding_window": true, "max_window_layers": 1});
    assert_eq!(qwen2(absent)?.windows, [None, Some(4_096)]);
    let types = json!({"sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"]});
    refused(qwen2(types), "and use_sliding_window is not true");
    // A window that no layer has is written back: transformers wants one.
    let types = json!({"sliding_window": 11, "layer_types": ["full_attention", "full_attention"]});
    let gemma2 = read("Gemma2ForCausalLM", "gemma2", types)?;
    assert_eq!(
        (gemma2.windows.as_slice(), gemma2.to_json("float32")["sliding_window"].as_u64()),
        (&[None; 2][..], Some(11))
    );
    Ok(())
}

#[test]
fn gpt_2_takes_the_other_families_names_for_sizes() -> Result<(), String> {
    let gpt2 = |changes| read("GPT2LMHeadModel", "gpt2", changes);
    let config = gpt2(json!({}))?;
    assert_eq!((config.width, config.heads, config.layers, config.positions), (32, 2, 2, 64));
    refused(gpt2(json!({"n_embd": 48})), "n_embd is 48 and hidden_size 32");
    Ok(())
}

#[test]
fn a_key_that_is_null_is_as_good_as_none() {
    let keys = Keys(table(json!({"rope_theta": null})));
    assert_eq!(keys.number("rope_theta", 3.0), Ok(3.0));
}
