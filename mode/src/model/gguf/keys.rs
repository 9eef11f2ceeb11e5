//! A file's metadata as the keys of a Hugging Face `config.json`.
//!
//! What GGUF does not say is what its programs take for granted: the Gemmas' activations and the scale of their scores, the layers
//! that have a window, the angles' base.

use super::container::Container;
use super::meta::{Meta, shown};
use serde_json::{Map, Value, json};

/// Architectures as files name them, and their families.
const ARCHITECTURES: [(&str, &str); 7] = [
    ("llama", "LlamaForCausalLM"),
    ("qwen2", "Qwen2ForCausalLM"),
    ("qwen3", "Qwen3ForCausalLM"),
    ("gemma", "GemmaForCausalLM"),
    ("gemma2", "Gemma2ForCausalLM"),
    ("gemma3", "Gemma3ForCausalLM"),
    ("gpt2", "GPT2LMHeadModel"),
];

/// Keys that change what a model computes and that nothing here can follow, and the values besides 0 that change nothing.
const UNSUPPORTED: [(&str, f64); 9] = [
    ("expert_count", 0.0),
    ("logit_scale", 1.0),
    ("embedding_scale", 1.0),
    ("residual_scale", 1.0),
    ("attention.scale", 0.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("attention.temperature_scale", 0.0),
    ("rope.scaling.alpha", 0.0),
];

/// The keys of the `config.json` that a file's metadata stand for, and the architecture's name.
pub(super) fn keys(file: &Container) -> Result<(Map<String, Value>, String), String> {
    let architecture = match file.metadata.get("general.architecture") {
        None => return Err("general.architecture is missing; convert the model anew".into()),
        Some(value) => value.as_str().unwrap_or("of no name").to_string(),
    };
    let Some((_, family)) = ARCHITECTURES.iter().find(|(name, _)| *name == architecture) else {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
        return Err(format!("architecture {} is not supported; {} are", shown(&architecture), known.join(", ")));
    };
    let meta = Meta { metadata: &file.metadata, architecture: &architecture };
    UNSUPPORTED.iter().try_for_each(|(key, neutral)| meta.refuse(key, *neutral))?;
    let embedding =
        file.tensors.get("token_embd.weight").ok_or("it has no token_embd.weight; convert the model anew")?;
    let vocabulary = embedding.shape.first().copied().unwrap_or(0);
    // Some converters store a head that is the embedding a second time.
    let tied = file.tensors.get("output.weight").is_none_or(|head| file.same(head, embedding));
    let tokens = meta.tokens();
    if tokens > vocabulary {
        return Err(format!(
            "{tokens} tokens in its tokenizer and {vocabulary} rows in token_embd.weight; convert it anew"
        ));
    }
    let mut all = json!({
        "architectures": [family],
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "bos_token_id": meta.token("bos_token_id"),
        "eos_token_id": meta.ends(),
    });
    match architecture.as_str() {
        "gpt2" => gpt2(&meta, &mut all)?,
        _ => rotary(&meta, file, &mut all)?,
    }
    if architecture.starts_with("gemma") {
        gemma(&meta, &mut all)?;
    }
    let all = all.as_object_mut().map(std::mem::take).unwrap_or_default();
    Ok((all.into_iter().filter(|(_, value)| !value.is_null()).collect(), architecture))
}

fn gpt2(meta: &Meta, all: &mut Value) -> Result<(), String> {
    all["n_embd"] = json!(meta.size("embedding_length")?);
    all["n_inner"] = json!(meta.size("feed_forward_length")?);
    all["n_layer"] = json!(meta.size("block_count")?);
    all["n_head"] = json!(meta.size("attention.head_count")?);
    all["n_positions"] = json!(meta.size("context_length")?);
    all["layer_norm_epsilon"] = json!(meta.number("attention.layer_norm_epsilon")?);
    all["activation_function"] = json!("gelu_new");
    Ok(())
}

/// What all have that turn their heads.
fn rotary(meta: &Meta, file: &Container, all: &mut Value) -> Result<(), String> {
    let (width, heads) = (meta.size("embedding_length")?, meta.size("attention.head_count")?);
    let head = meta.maybe_size("attention.key_length")?.unwrap_or(width / heads.max(1));
    for key in ["attention.value_length", "rope.dimension_count"] {
        if let Some(other) = meta.maybe_size(key)?.filter(|other| *other != head) {
            return Err(format!(
                "{} is {other} and heads are {head} wide; only one width is supported",
                meta.name(key)
            ));
        }
    }
    let positions = meta.size("context_length")?;
    let has = |name: &str| file.tensors.contains_key(name);
    all["hidden_size"] = json!(width);
    all["intermediate_size"] = json!(meta.size("feed_forward_length")?);
    all["num_hidden_layers"] = json!(meta.size("block_count")?);
    all["num_attention_heads"] = json!(heads);
    all["num_key_value_heads"] = json!(meta.maybe_size("attention.head_count_kv")?.unwrap_or(heads));
    all["head_dim"] = json!(head);
    all["max_position_embeddings"] = json!(positions);
    all["rms_norm_eps"] = json!(meta.number("attention.layer_norm_rms_epsilon")?);
    all["rope_theta"] = json!(meta.maybe_number("rope.freq_base")?.unwrap_or(1e4));
    all["rope_scaling"] = scaling(meta, file, positions)?;
    all["attention_bias"] = json!(has("blk.0.attn_q.bias"));
    all["mlp_bias"] = json!(has("blk.0.ffn_up.bias"));
    all["pad_token_id"] = meta.token("padding_token_id");
    if let Some(window) = meta.maybe_size("attention.sliding_window")?.filter(|window| *window > 0) {
        match meta.architecture {
            "llama" => all["architectures"] = json!(["MistralForCausalLM"]),
            // Files don't say which layers have it; nobody writes it where none has.
            "qwen2" | "qwen3" => meta.refuse("attention.sliding_window", 0.0)?,
            _ => {}
        }
        all["sliding_window"] = json!(window);
    }
    Ok(())
}

/// How angles are stretched: by one factor, as YaRN does it, or each by a factor that the file holds.
fn scaling(meta: &Meta, file: &Container, positions: usize) -> Result<Value, String> {
    let text = |key: &str| meta.get(key).map(|value| shown(value.as_str().unwrap_or("of no name")));
    let factor = || meta.number("rope.scaling.factor");
    let kind = text("rope.scaling.type");
    if let Some(factors) = file.tensors.get("rope_freqs.weight") {
        if kind.is_some_and(|kind| kind != "none") {
            return Err(format!(
                "it has both rope_freqs.weight and {}; convert it anew",
                meta.name("rope.scaling.type")
            ));
        }
        let factors = factors.blocks.decode(file.bytes(factors));
        return Ok(json!({
            "rope_type": "longrope", "factor": 1.0, "attention_factor": 1.0, "short_factor": factors,
            "long_factor": factors, "original_max_position_embeddings": positions,
        }));
    }
    match kind.as_deref() {
        None => match meta.maybe_number("rope.scale_linear")? {
            Some(factor) if factor != 1.0 => Ok(json!({"rope_type": "linear", "factor": factor})),
            _ => Ok(Value::Null),
        },
        Some("none") => Ok(Value::Null),
        Some("linear") => Ok(json!({"rope_type": "linear", "factor": factor()?})),
        Some("yarn") => {
            for (key, usual) in [
                ("attn_factor", 1.0),
                ("yarn_attn_factor", 1.0),
                ("yarn_ext_factor", 1.0),
                ("yarn_log_multiplier", 0.0),
            ] {
                let key = format!("rope.scaling.{key}");
                if let Some(other) = meta.maybe_number(&key)?.filter(|value| *value != usual) {
                    return Err(format!("{} is {other}; {usual} is supported", meta.name(&key)));
                }
            }
            let original = meta.maybe_size("rope.scaling.original_context_length")?.unwrap_or(positions);
            Ok(json!({
                "rope_type": "yarn", "factor": factor()?, "original_max_position_embeddings": original,
                "beta_fast": meta.maybe_number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                "beta_slow": meta.maybe_number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            }))
        }
        Some(other) => {
            Err(format!("{} {other} is not supported; none, linear and yarn are", meta.name("rope.scaling.type")))
        }
    }
}

fn gemma(meta: &Meta, all: &mut Value) -> Result<(), String> {
    all["hidden_activation"] = json!("gelu_pytorch_tanh");
    if meta.architecture == "gemma" {
        return Ok(());
    }
    // The largest of either kind, told by its layers, divides scores by the root of width / heads, the others by that of a head's.
    let (width, heads, layers) =
        (meta.size("embedding_length")?, meta.size("attention.head_count")?, meta.size("block_count")?);
    let largest = layers == if meta.architecture == "gemma2" { 46 } else { 62 };
    all["query_pre_attn_scalar"] = if largest { json!(width / heads.max(1)) } else { all["head_dim"].clone() };
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        all[key] = json!(meta.maybe_number(key)?);
    }
    if meta.architecture == "gemma3" {
        all["rope_theta"] = json!(meta.number("rope.freq_base")?);
        all["rope_local_base_freq"] = json!(meta.maybe_number("rope.freq_base_swa")?.unwrap_or(1e4));
        all["sliding_window_pattern"] = json!(meta.maybe_size("attention.sliding_window_pattern")?.unwrap_or(6));
        if all["sliding_window"].is_null() {
            all["layer_types"] = json!(vec!["full_attention"; layers.min(1 << 16)]);
        }
    } else if all["sliding_window"].is_null() {
        return Err(meta.missing("attention.sliding_window"));
    }
    Ok(())
}
