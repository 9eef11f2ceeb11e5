//! Reads a JSON `null` as NaN.
//!
//! `serde_json` writes NaN and the infinities as `null` and then refuses to read that back as a number.

use serde::{Deserialize, Deserializer};

/// A number.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Option::deserialize(from).map(or_nan)
}

/// Steps and values.
pub(super) fn points<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(u64, f64)>, D::Error> {
    let points: Vec<(u64, Option<f64>)> = Deserialize::deserialize(from)?;
    Ok(points.into_iter().map(|(step, v)| (step, or_nan(v))).collect())
}

/// Rows of numbers.
pub(super) fn rows<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<f64>>, D::Error> {
    let rows: Vec<Vec<Option<f64>>> = Deserialize::deserialize(from)?;
    Ok(rows.into_iter().map(|row| row.into_iter().map(or_nan).collect()).collect())
}

fn or_nan(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::NAN)
}
