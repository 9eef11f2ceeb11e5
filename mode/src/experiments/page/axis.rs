//! An axis of a figure: where a value lies along it, and which values are named.

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::ops::Range;

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// By equal differences.
    Linear,
    /// By equal ratios, and named by the values on it.
    Ratios,
    /// By equal ratios, and named by powers of ten.
    Decades,
}

/// Names on an axis at the most; of more points some have none.
pub(super) const NAMES: usize = 8;

/// An axis that holds some values. Places on it are values, or their logarithms to base ten.
#[derive(Clone)]
pub(crate) struct Axis {
    scale: Scale,
    /// The places of its ends.
    ends: Range<f64>,
    /// The places that have names.
    ticks: Vec<f64>,
}

impl Axis {
    /// Along which all `values` lie, with room at both ends.
    pub fn over(scale: Scale, values: impl IntoIterator<Item = f64>) -> Self {
        let place = |value: f64| if scale == Scale::Linear { value } else { value.log10() };
        let mut places: Vec<f64> = values.into_iter().map(place).filter(|place| place.is_finite()).collect();
        places.sort_by(f64::total_cmp);
        let [first, last] = [places.first(), places.last()].map(|end| end.copied().unwrap_or(0.0));
        let room = 0.06 * (last - first).max(1e-3);
        let ends = first - room..last + room;
        let ticks = match scale {
            Scale::Linear => round(&ends),
            Scale::Ratios => apart(places, (last - first) / NAMES as f64),
            Scale::Decades => (ends.start.ceil() as i32..=ends.end.floor() as i32).map(f64::from).collect(),
        };
        Self { scale, ends, ticks }
    }

    /// Where a value lies, from 0 at the lower end to 1 at the upper; at the lower one what has no logarithm.
    pub fn share(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => value,
            Scale::Ratios | Scale::Decades if value > 0.0 => value.log10(),
            Scale::Ratios | Scale::Decades => self.ends.start,
        };
        (place - self.ends.start) / (self.ends.end - self.ends.start)
    }

    fn value(&self, place: f64) -> f64 {
        if self.scale == Scale::Linear { place } else { 10.0_f64.powf(place) }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (self.share(*value) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|&tick| self.value(tick)).collect()
    }

    fn range(&self) -> Range<f64> {
        self.value(self.ends.start)..self.value(self.ends.end)
    }
}

impl ValueFormatter<f64> for Axis {
    /// In three digits, or more of what can be counted; thousands as k and millions as M.
    fn format(value: &f64) -> String {
        let (unit, sign) = match value.abs() {
            1e6.. => (1e6, "M"),
            1e4.. => (1e3, "k"),
            _ => (1.0, ""),
        };
        let value = value / unit;
        let digits = (2 - value.abs().max(1e-9).log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{value:.digits$}");
        let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        format!("{}{sign}", if text == "-0" { "0" } else { text })
    }
}

/// Of places in order those that are so far apart that their names do not meet.
fn apart(places: Vec<f64>, least: f64) -> Vec<f64> {
    let mut kept: Vec<f64> = Vec::new();
    for place in places {
        if kept.last().is_none_or(|last| place - last > least.max(1e-9)) {
            kept.push(place);
        }
    }
    kept
}

/// Multiples of 1, 2 or 5 times a power of ten, some six of them.
fn round(range: &Range<f64>) -> Vec<f64> {
    let rough = (range.end - range.start) / 6.0;
    let power = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|&step| step >= rough);
    let step = step.unwrap_or(10.0 * power);
    let [first, last] = [(range.start / step).ceil(), (range.end / step).floor()];
    (first as i64..=last as i64).map(|i| i as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(scale: Scale, values: &[f64]) -> Vec<String> {
        let axis = Axis::over(scale, values.iter().copied());
        axis.ticks.iter().map(|&tick| Axis::format(&axis.value(tick))).collect()
    }

    #[test]
    fn an_axis_names_its_points_or_round_numbers() {
        assert_eq!(names(Scale::Decades, &[95.0, 44_700.0]), ["100", "1000", "10k"]);
        assert_eq!(names(Scale::Ratios, &[4.0, 0.25, 1.0, 1.0]), ["0.25", "1", "4"]);
        assert_eq!(names(Scale::Ratios, &[30.0, 100.0, 3000.0]), ["30", "100", "3000"]);
        let many: Vec<f64> = (0..=10).map(|i| 2.0_f64.powi(i)).collect();
        assert_eq!(names(Scale::Ratios, &many), ["1", "4", "16", "64", "256", "1024"]);
        assert_eq!(names(Scale::Linear, &[20.1, 26.3]), ["20", "22", "24", "26"]);
        assert_eq!(names(Scale::Linear, &[-0.31, 0.42]), ["-0.2", "0", "0.2", "0.4"]);
        assert_eq!(names(Scale::Ratios, &[9216.0, 73_728.0, 2.36e6]), ["9216", "73.7k", "2.36M"]);
    }

    #[test]
    fn values_without_a_logarithm_lie_at_the_lower_end() {
        let axis = Axis::over(Scale::Ratios, [10.0, 1000.0, 0.0]);
        assert!((axis.share(100.0) - 0.5).abs() < 1e-12 && axis.share(0.0) == 0.0 && axis.share(10.0) > 0.0);
        assert_eq!(axis.map(&100.0, (300, 100)), 200);
    }
}
