//! Gemma 3's text model (Kamath et al., arXiv 2503.19786): Gemma 2 without the bounds, with normed queries and keys, a window
//! in five layers of six, and angles of their own there.

use super::gemma2::{self, SANDWICH, sandwich};
use super::{Family, Keys};
use crate::model::config::Config;
use crate::model::rope::Rope;
use serde_json::{Map, Value, json};

pub(super) const GEMMA3: Family = Family {
    architecture: "Gemma3ForCausalLM",
    bare: "Gemma3TextModel",
    model_type: "gemma3_text",
    read,
    write,
    names: SANDWICH,
};

fn read(keys: &Keys) -> Result<Config, String> {
    let every = keys.maybe_size("sliding_window_pattern")?.unwrap_or(6).max(1);
    let mut config = sandwich(keys, &GEMMA3, |layer| !(layer + 1).is_multiple_of(every))?;
    config.head_norms = true;
    if keys.get("attn_logit_softcapping").is_some() {
        return Err("attn_logit_softcapping is set, which Gemma 3's attention does not follow; make it null".into());
    }
    config.logit_cap = keys.maybe_number("final_logit_softcapping")?;
    config.ropes = ropes(keys, config.positions)?;
    Ok(config)
}

/// The kinds of layers: without and with a window.
const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];

/// Angles of both kinds of layers: each has a table in `rope_parameters`, or what older files say in its stead.
fn ropes(keys: &Keys, positions: usize) -> Result<Vec<Rope>, String> {
    let table = |key: &str, value: Option<&Value>| match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(table)) => Ok(table.clone()),
        Some(_) => Err(format!("{key} is no table of settings")),
    };
    let tables = table("rope_parameters", keys.get("rope_parameters"))?;
    if let Some(key) = tables.keys().find(|key| !KINDS.contains(&key.as_str())) {
        return Err(format!("rope_parameters has {key}; this family's has a table for each of {}", KINDS.join(", ")));
    }
    let of = |kind: &str, theta: &str, default: f64, over: Map<String, Value>| {
        let mut all = table(kind, tables.get(kind))?;
        all.extend(over);
        if all.get("rope_theta").is_none_or(Value::is_null) {
            all.insert("rope_theta".into(), keys.number(theta, default)?.into());
        }
        if all.get("truncate") == Some(&Value::Bool(false)) {
            return Err(format!("{kind}: truncate is false, which this family does not follow; leave it out"));
        }
        Rope::of_kind(all, positions).map_err(|what| format!("{kind}: {what}"))
    };
    let scaling = table("rope_scaling", keys.get("rope_scaling"))?;
    if scaling.contains_key("type") && !scaling.contains_key("rope_type") {
        return Err("rope_scaling has type, which this family is not read by; call it rope_type".into());
    }
    let whole = of(KINDS[0], "rope_theta", 1e6, scaling)?;
    Ok(vec![whole, of(KINDS[1], "rope_local_base_freq", 1e4, Map::new())?])
}

fn write(config: &Config) -> Value {
    let mut all = gemma2::write(config);
    if let [_, local] = config.ropes.as_slice() {
        all["rope_local_base_freq"] = json!(local.theta);
    }
    let tables = KINDS.iter().zip(&config.ropes).map(|(kind, rope)| (kind.to_string(), rope.kind_json()));
    all["rope_parameters"] = Value::Object(tables.collect());
    all
}
