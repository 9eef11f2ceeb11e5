//! Gemma 3's text model (Kamath et al., arXiv 2503.19786): Gemma 2 without the bounds, with normed queries and keys, a window
//! in five layers of six, and angles of their own there.

use super::gemma2::{self, SANDWICH, sandwich};
use super::{Family, Keys};
use crate::model::config::Config;
use crate::model::rope::Rope;
use serde_json::{Value, json};

pub(super) const GEMMA3: Family =
    Family { architecture: "Gemma3ForCausalLM", model_type: "gemma3_text", read, write, names: SANDWICH };

fn read(keys: &Keys) -> Result<Config, String> {
    let every = keys.maybe_size("sliding_window_pattern")?.unwrap_or(6).max(1);
    let mut config = sandwich(keys, &GEMMA3, |layer| !(layer + 1).is_multiple_of(every))?;
    config.head_norms = true;
    config.score_cap = keys.maybe_number("attn_logit_softcapping")?;
    config.logit_cap = keys.maybe_number("final_logit_softcapping")?;
    config.ropes = match keys.get("rope_parameters") {
        Some(Value::Object(kinds)) if kinds.contains_key("full_attention") => {
            let of = |kind: &str| Rope::from_parameters(kinds.get(kind).unwrap_or(&Value::Null), config.positions);
            vec![of("full_attention")?, of("sliding_attention")?]
        }
        _ => {
            let whole = Rope::read_or(keys, config.positions, 1e6)?;
            vec![whole, Rope::plain(keys.number("rope_local_base_freq", 1e4)?)]
        }
    };
    Ok(config)
}

fn write(config: &Config) -> Value {
    let mut all = gemma2::write(config);
    if let [_, local] = config.ropes.as_slice() {
        all["rope_local_base_freq"] = json!(local.theta);
    }
    all
}
