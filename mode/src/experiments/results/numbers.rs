//! Numbers as pages write them.

use super::statistics::Interval;

/// A fraction in per cent with its interval.
pub fn percent(interval: Interval) -> String {
    let half = if interval.half.is_finite() { format!("{:.2}", 100.0 * interval.half) } else { "?".into() };
    format!("{:.2} ± {half}", 100.0 * interval.mean)
}

/// A difference in percentage points with its interval.
pub fn points(interval: Interval) -> String {
    let sign = if interval.mean < 0.0 { "−" } else { "+" };
    let half = if interval.half.is_finite() { format!("{:.2}", 100.0 * interval.half) } else { "?".into() };
    format!("{sign}{:.2} ± {half}", 100.0 * interval.mean.abs())
}

/// A loss with its interval.
pub fn nats(interval: Interval) -> String {
    let half = if interval.half.is_finite() { format!("{:.3}", interval.half) } else { "?".into() };
    format!("{:.3} ± {half}", interval.mean).replace('-', "−")
}

/// A number of points with its sign.
pub fn signed(points: f64) -> String {
    format!("{points:+.2}").replace('-', "−")
}
