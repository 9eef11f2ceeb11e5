//! Rotary positions (Su et al., arXiv 2104.09864): the frequency of each pair of a head's elements, f_i = theta^(-2 i / width), and
//! the ways in which configurations stretch them to longer windows.
//!
//! - `linear`: f / factor (Chen et al., arXiv 2306.15595).
//! - `llama3`: f / factor for wavelengths over original / low, f for those under original / high, between them a mixture
//!   (Dubey et al., arXiv 2407.21783).
//! - `yarn`: f / factor for pairs that turn fewer than beta_slow times in the original window, f for those that turn more than
//!   beta_fast times, between them a ramp over i; and queries and keys are multiplied by 0.1 ln(factor) + 1 (Peng et al., arXiv
//!   2309.00071).
//! - `longrope`: f / factor_i, each pair by its own (Ding et al., arXiv 2402.13753); its two lists, for short and for long
//!   sequences, must be equal. The `rope_freqs.weight` of a GGUF file becomes this.

use super::family::Keys;
use serde_json::{Map, Value, json};
use std::f64::consts::TAU;

/// Angles of one kind of layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How they are stretched.
    pub scaling: Scaling,
}

/// How frequencies are stretched.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All by one factor.
    Linear {
        /// What frequencies are divided by.
        factor: f64,
    },
    /// As Llama 3 does it.
    Llama3 {
        /// What low frequencies are divided by.
        factor: f64,
        /// Waves longer than original / low are stretched.
        low: f64,
        /// Waves shorter than original / high are not.
        high: f64,
        /// Positions before stretching.
        original: f64,
    },
    /// Each pair's by a factor of its own.
    Factors {
        /// What frequencies are divided by.
        factors: Vec<f64>,
        /// Factor of queries and keys.
        attention_factor: f64,
    },
    /// As YaRN does it.
    Yarn {
        /// What low frequencies are divided by.
        factor: f64,
        /// Pairs that turn more often than this in the original window are not stretched.
        fast: f64,
        /// Pairs that turn more seldom are stretched whole.
        slow: f64,
        /// Positions before stretching.
        original: f64,
        /// Factor of queries and keys.
        attention_factor: f64,
        /// Whether the ramp begins and ends at whole pairs.
        truncate: bool,
    },
}

impl Rope {
    /// Angles that are not stretched.
    pub fn plain(theta: f64) -> Self {
        Self { theta, scaling: Scaling::None }
    }

    /// From `rope_theta` and `rope_scaling`, or from `rope_parameters`, where transformers has put both since.
    pub(crate) fn read(keys: &Keys, positions: usize) -> Result<Self, String> {
        turned_whole(keys)?;
        let mut rope = Self::plain(keys.number("rope_theta", 1e4)?);
        let original = keys.maybe_number("original_max_position_embeddings")?;
        // Where both are there, transformers takes the older one.
        for key in ["rope_scaling", "rope_parameters"] {
            let Some(value) = keys.get(key) else { continue };
            let table = value.as_object().ok_or_else(|| format!("{key} is no table of settings"))?;
            let in_table = |what: String| format!("{key}: {what}");
            if let Some((kind, _)) = table.iter().find(|(_, value)| value.is_object()) {
                return Err(in_table(format!("a table of its own for {kind} is not supported in this family")));
            }
            let table = Keys(table.clone());
            rope.theta = table.number("rope_theta", rope.theta).map_err(in_table)?;
            match Scaling::read(&table, original, positions).map_err(in_table)? {
                Some(scaling) => {
                    rope.scaling = scaling;
                    break;
                }
                None if key == "rope_parameters" || table.0.is_empty() => {}
                None => return Err(format!("{key} has no rope_type; give one, or null for no scaling")),
            }
        }
        Ok(rope)
    }

    /// From the table of one kind of layer in `rope_parameters`.
    pub(crate) fn of_kind(table: Map<String, Value>, positions: usize) -> Result<Self, String> {
        Self::read(&Keys(Map::from_iter([("rope_parameters".into(), Value::Object(table))])), positions)
    }

    /// The table that [`Rope::of_kind`] reads.
    pub(crate) fn kind_json(&self) -> Value {
        let mut table = match self.scaling_json() {
            Value::Null => json!({"rope_type": "default"}),
            stretched => stretched,
        };
        table["rope_theta"] = json!(self.theta);
        table
    }

    /// The frequency of each pair of a head of `width`.
    pub fn frequencies(&self, width: usize) -> Vec<f64> {
        let plain = |i: usize| self.theta.powf(-2.0 * i as f64 / width as f64);
        let stretched = |i: usize| {
            let f = plain(i);
            match self.scaling {
                Scaling::None => f,
                Scaling::Linear { factor } => f / factor,
                Scaling::Llama3 { factor, low, high, original } => {
                    let turns = original * f / TAU;
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - kept) * f / factor + kept * f
                }
                Scaling::Factors { ref factors, .. } => f / factors.get(i).copied().unwrap_or(1.0),
                Scaling::Yarn { factor, fast, slow, original, truncate, .. } => {
                    // The pair that turns `n` times in the original window.
                    let pair = |n: f64| width as f64 * (original / (n * TAU)).ln() / (2.0 * self.theta.ln());
                    let (mut first, mut last) = (pair(fast), pair(slow));
                    if truncate {
                        (first, last) = (first.floor(), last.ceil());
                    }
                    let (first, last) = (first.max(0.0), last.min(width as f64 - 1.0));
                    let span = if first == last { 0.001 } else { last - first };
                    let ramp = ((i as f64 - first) / span).clamp(0.0, 1.0);
                    ramp * f / factor + (1.0 - ramp) * f
                }
            }
        };
        (0..width / 2).map(stretched).collect()
    }

    /// Factor of queries and keys, by whose square scores grow.
    pub fn attention_factor(&self) -> f64 {
        match self.scaling {
            Scaling::Yarn { attention_factor, .. } | Scaling::Factors { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }

    /// `rope_scaling` as configurations say it.
    pub(crate) fn scaling_json(&self) -> Value {
        match self.scaling {
            Scaling::None => Value::Null,
            Scaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            Scaling::Llama3 { factor, low, high, original } => json!({
                "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
                "original_max_position_embeddings": original as u64,
            }),
            Scaling::Factors { ref factors, attention_factor } => json!({
                "rope_type": "longrope", "factor": 1.0, "short_factor": factors, "long_factor": factors,
                "attention_factor": attention_factor,
            }),
            Scaling::Yarn { factor, fast, slow, original, attention_factor, truncate } => json!({
                "rope_type": "yarn", "factor": factor, "beta_fast": fast, "beta_slow": slow,
                "original_max_position_embeddings": original as u64, "attention_factor": attention_factor, "truncate": truncate,
            }),
        }
    }

    /// An error unless the numbers make sense, for heads of `width`.
    pub(crate) fn check(&self, width: usize) -> Result<(), String> {
        if !(self.theta.is_finite() && self.theta > 0.0) {
            return Err(format!("rope_theta is {}; a positive number is wanted", self.theta));
        }
        let sound = match self.scaling {
            Scaling::None => true,
            Scaling::Linear { factor } => factor > 0.0,
            Scaling::Llama3 { factor, low, high, original } => {
                factor > 0.0 && 0.0 < low && low < high && original > 0.0
            }
            Scaling::Factors { ref factors, attention_factor } => {
                factors.len() == width / 2 && factors.iter().all(|factor| *factor > 0.0) && attention_factor > 0.0
            }
            Scaling::Yarn { factor, fast, slow, original, attention_factor, .. } => {
                factor > 0.0
                    && 0.0 < slow
                    && slow < fast
                    && original > 0.0
                    && attention_factor > 0.0
                    && self.theta > 1.0
            }
        };
        let sound = sound && self.frequencies(width).iter().all(|frequency| frequency.is_finite());
        if sound { Ok(()) } else { Err(format!("the rope scaling {} makes no sense", self.scaling_json())) }
    }
}

impl Scaling {
    /// From a table of settings; None if it names no kind. `original` positions, where they are given outside the table, count.
    fn read(table: &Keys, original: Option<f64>, positions: usize) -> Result<Option<Self>, String> {
        turned_whole(table)?;
        let Some(kind) = table.get("rope_type").or(table.get("type")) else { return Ok(None) };
        let inside = table.number("original_max_position_embeddings", positions as f64)?;
        let original = original.unwrap_or(inside);
        let factor = || table.maybe_number("factor")?.ok_or_else(|| "factor is missing".to_string());
        Ok(Some(match kind.as_str() {
            Some("default") => Self::None,
            Some("linear") => Self::Linear { factor: factor()? },
            Some("llama3") => Self::Llama3 {
                factor: factor()?,
                low: table.number("low_freq_factor", 1.0)?,
                high: table.number("high_freq_factor", 4.0)?,
                original,
            },
            Some("yarn") => Self::Yarn {
                factor: factor()?,
                fast: table.number("beta_fast", 32.0)?,
                slow: table.number("beta_slow", 1.0)?,
                original,
                attention_factor: yarn_attention_factor(table, factor()?)?,
                truncate: table.flag("truncate", true)?,
            },
            Some("longrope") => Self::Factors {
                factors: factors(table)?,
                attention_factor: table.maybe_number("attention_factor")?.ok_or("attention_factor is missing")?,
            },
            _ => return Err(format!("{kind} is not supported; default, linear, llama3, longrope and yarn are")),
        }))
    }
}

/// An error if only a part of each head is to be turned.
fn turned_whole(keys: &Keys) -> Result<(), String> {
    match keys.number("partial_rotary_factor", 1.0)? {
        1.0 => Ok(()),
        part => Err(format!("partial_rotary_factor is {part}, which is not supported; heads are turned whole")),
    }
}

/// The factors of LongRoPE, which are to be one list.
fn factors(table: &Keys) -> Result<Vec<f64>, String> {
    let (short, long) = (table.get("short_factor"), table.get("long_factor"));
    let list = short.filter(|_| short == long).and_then(Value::as_array);
    let factors = list.and_then(|list| list.iter().map(Value::as_f64).collect());
    factors.ok_or_else(|| "short_factor and long_factor are not one list of numbers, which alone is supported".into())
}

/// YaRN's factor of queries and keys.
fn yarn_attention_factor(table: &Keys, factor: f64) -> Result<f64, String> {
    let mscale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
    if let Some(given) = table.maybe_number("attention_factor")? {
        return Ok(given);
    }
    Ok(match (table.maybe_number("mscale")?, table.maybe_number("mscale_all_dim")?) {
        (Some(one), Some(all)) if one != 0.0 && all != 0.0 => mscale(one) / mscale(all),
        _ => mscale(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Angles of heads of width 8 with theta 100, trained on `original` of 64 positions.
    fn angles(mut scaling: Value, original: u64) -> Result<(Vec<f64>, f64), String> {
        scaling["original_max_position_embeddings"] = json!(original);
        let keys = Map::from_iter([("rope_theta".into(), json!(100.0)), ("rope_scaling".into(), scaling)]);
        let rope = Rope::read(&Keys(keys), 64)?;
        rope.check(8)?;
        Ok((rope.frequencies(8), rope.attention_factor()))
    }

    /// The numbers are those of transformers 5.24.
    #[test]
    fn frequencies_are_those_of_transformers() -> Result<(), String> {
        let turns = |truncate: bool| json!({"rope_type": "yarn", "factor": 4.0, "beta_fast": 2.0, "beta_slow": 0.5, "truncate": truncate});
        let mscale = json!({"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.4});
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0});
        let each = [1.0, 2.0, 3.0, 4.0];
        let longrope =
            json!({"rope_type": "longrope", "short_factor": each, "long_factor": each, "attention_factor": 1.25});
        for (scaling, original, wanted, factor) in [
            (turns(true), 16, [1.0, 0.197_642_4, 0.025, 0.007_905_7], 1.138_629_436),
            (turns(false), 16, [1.0, 0.160_589_2, 0.025, 0.007_905_7], 1.138_629_436),
            (mscale, 16, [1.0, 0.079_056_9, 0.025, 0.007_905_7], 1.039_403_819),
            (llama3, 32, [1.0, 0.095_84, 0.0125, 0.003_952_8], 1.0),
            (longrope, 32, [1.0, 0.158_113_9, 0.033_333_3, 0.007_905_7], 1.25),
        ] {
            let (found, found_factor) = angles(scaling.clone(), original)?;
            for (found, wanted) in found.iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-7, "{scaling}: {found} and {wanted}");
            }
            assert!((found_factor - factor).abs() < 1e-8, "{scaling}: {found_factor}");
        }
        Ok(())
    }
}
