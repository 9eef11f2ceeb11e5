//! What adapting costs and what it brings: per method, English kept beside Code and Math gained.

use super::data::Row;
use super::methods;
use super::page::Section;
use super::results;
use super::text::{NONE, escape, points};

const CAPTION: &str = "Left, the English accuracy a method keeps, in per cent of the base’s; right, what it gains on Code and Math, \
    the mean of both in percentage points. A good method is long on both sides.";

/// Geometry of the drawing, in its own units.
const WIDTH: f64 = 420.0;
const TOP: f64 = 30.0;
const ROW: f64 = 28.0;
const BAR: f64 = 14.0;

/// Half the drawing: a scale that holds all values and zero.
struct Panel {
    left: f64,
    width: f64,
    low: f64,
    high: f64,
}

impl Panel {
    fn new(left: f64, width: f64, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.filter(|v| v.is_finite()).fold((0.0, 0.0), |(low, high), v| (v.min(low), v.max(high)));
        Self { left, width, low, high: if high > low { high } else { low + 1.0 } }
    }

    fn x(&self, value: f64) -> f64 {
        self.left + self.width * (value - self.low) / (self.high - self.low)
    }

    /// One bar from zero, its value printed at the end.
    fn bar(&self, y: f64, value: f64, style: usize, printed: &str) -> String {
        let value = if value.is_finite() { value } else { 0.0 };
        let (zero, end) = (self.x(0.0), self.x(value));
        format!(
            "<rect class=\"bar run-{style}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{printed}</text>\n",
            zero.min(end),
            (end - zero).abs(),
            zero.max(end) + 5.0,
            y + BAR - 2.5,
        )
    }
}

/// The trade-off section; it needs the base to compare with.
pub(super) fn section(rows: &[Row]) -> Option<Section> {
    let base = results::base(rows)?;
    let kept = |row: &Row| row.english / base.english;
    let gained = |row: &Row| (row.code - base.code + row.math - base.math) / 2.0;
    let left = Panel::new(112.0, 96.0, rows.iter().map(kept));
    let right = Panel::new(250.0, 116.0, rows.iter().map(gained));
    let height = TOP + ROW * rows.len() as f64 + 4.0;

    let mut body = format!(
        "<figure>\n<svg class=\"plot bars\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"tradeoff-title\">\n\
         <title id=\"tradeoff-title\">English kept, and Code and Math gained, by method</title>\n\
         <g class=\"axis\"><text x=\"{:.1}\" y=\"14\">English kept, %</text><text x=\"{:.1}\" y=\"14\">Code and Math gained</text></g>\n",
        left.left, right.left,
    );
    for (place, row) in rows.iter().enumerate() {
        let y = TOP + ROW * place as f64;
        let style = methods::style(&row.method, place);
        body.push_str(&format!("<text x=\"0\" y=\"{:.1}\">{}</text>\n", y + BAR - 2.5, escape(&row.method)));
        body.push_str(&left.bar(y, kept(row), style, &whole_percent(kept(row))));
        body.push_str(&right.bar(y, gained(row), style, &points(gained(row))));
    }
    for panel in [&left, &right] {
        let x = panel.x(0.0);
        body.push_str(&format!(
            "<line class=\"zero\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{height}\"/>\n",
            TOP - 6.0
        ));
    }
    body.push_str(&format!("</svg>\n<figcaption>{CAPTION}</figcaption>\n</figure>\n"));
    Some(Section { id: "tradeoff", title: "Kept and gained", body })
}

fn whole_percent(fraction: f64) -> String {
    if fraction.is_finite() { format!("{:.0}", 100.0 * fraction) } else { NONE.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_start_at_zero_and_stay_within_their_panel() {
        let panel = Panel::new(100.0, 50.0, [-0.1, f64::NAN, 0.4].into_iter());
        assert_eq!([panel.x(-0.1), panel.x(0.0), panel.x(0.4)], [100.0, 110.0, 150.0]);
        assert!(panel.bar(0.0, -0.1, 0, "").contains("x=\"100.0\" y=\"0.0\" width=\"10.0\""));
        assert!(panel.bar(0.0, f64::NAN, 0, "").contains("width=\"0.0\""));
    }
}
