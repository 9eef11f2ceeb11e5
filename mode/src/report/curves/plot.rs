//! Draws loss curves with plotters, in colours the style sheet decides.
//!
//! plotters knows only fixed colours, which cannot follow a dark mode. So it draws in marker colours that mean something
//! else, and each marker is then exchanged for a class.

use super::super::methods::STYLES;
use super::{Line, ReportError};
use plotters::prelude::*;
use plotters::style::FontDesc;
use std::ops::Range;

/// plotters places everything on whole pixels; drawn four times too large, that is fine enough for any screen.
const FINE: u32 = 4;
const SIZE: (u32, u32) = (520 * FINE, 320 * FINE);

/// The marker colours. Those of the runs differ by their red, see [`run`].
const INK: RGBColor = RGBColor(0, 0, 1);
const GRID: RGBColor = RGBColor(0, 0, 2);

fn run(style: usize) -> RGBColor {
    RGBColor(style.min(255) as u8, 0, 3)
}

/// The drawing titled `title`, as an inline SVG.
pub(super) fn svg(title: &str, lines: &[Line]) -> Result<String, ReportError> {
    let mut drawing = String::new();
    draw(&mut drawing, lines)?;
    let id = format!("loss-{}", title.to_lowercase());
    // The first tag is plotters' own, with a size in pixels that would not fit a phone.
    let inner = drawing.split_once('>').map_or("", |(_, inner)| inner);
    let (width, height) = SIZE;
    Ok(format!(
        "<svg class=\"plot\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}\">\n\
         <title id=\"{id}\">{title}: loss by step</title>{}",
        classes(inner)
    ))
}

fn draw(into: &mut String, lines: &[Line]) -> Result<(), ReportError> {
    let root = SVGBackend::with_string(into, SIZE).into_drawing_area();
    let (steps, losses) = ranges(lines);
    let mut chart = ChartBuilder::on(&root)
        .margin(6 * FINE)
        .margin_right(18 * FINE)
        .x_label_area_size(48 * FINE)
        .y_label_area_size(46 * FINE)
        .build_cartesian_2d(steps, losses.clone())?;
    let font = FontDesc::from(("sans-serif", 18 * FINE)).color(&INK);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(font.clone())
        .axis_desc_style(font)
        .set_all_tick_mark_size(7 * FINE)
        .x_labels(5)
        .y_labels(6)
        .x_desc("step")
        .draw()?;
    for line in lines {
        let within = |&(step, value): &(u64, f64)| (step, value.clamp(losses.start, losses.end));
        chart.draw_series(LineSeries::new(line.training.iter().map(within), run(line.style)))?;
        let dot = |point| Circle::new(within(point), 4 * FINE, run(line.style).filled());
        chart.draw_series(line.validation.iter().map(dot))?;
    }
    drop(chart);
    root.present()?;
    Ok(())
}

/// What the axes span: neither is ever empty, and a run that shot up does not flatten the others.
fn ranges(lines: &[Line]) -> (Range<u64>, Range<f64>) {
    let points = || lines.iter().flat_map(|line| line.training.iter().chain(&line.validation));
    let last = points().map(|(step, _)| *step).max().unwrap_or(0);
    let mut losses: Vec<f64> = points().map(|(_, value)| *value).collect();
    losses.sort_by(f64::total_cmp);
    let low = losses.first().copied().unwrap_or(0.0);
    let middle = losses.get(losses.len() / 2).copied().unwrap_or(0.0);
    let high = losses.last().copied().unwrap_or(1.0).min(low + 5.0 * (middle - low).max(1.0));
    let air = (0.05 * (high - low)).max(0.01);
    (0..last.max(1), low - air..high + air)
}

/// Exchanges the marker colours for classes.
fn classes(svg: &str) -> String {
    let hex = |RGBColor(r, g, b): RGBColor| format!("#{r:02X}{g:02X}{b:02X}");
    let mut out = svg
        .replace(&format!("fill=\"{}\"", hex(INK)), "class=\"ink\"")
        .replace(&format!("stroke=\"{}\"", hex(GRID)), "class=\"grid\"");
    for style in 0..STYLES {
        let color = hex(run(style));
        out = out
            .replace(&format!("stroke=\"{color}\""), &format!("class=\"run run-{style}\""))
            .replace(&format!("fill=\"{color}\" stroke=\"none\""), &format!("class=\"dot run-{style}\""));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(style: usize, training: &[(u64, f64)]) -> Line {
        Line { name: "x".into(), style, training: training.to_vec(), validation: training.to_vec(), end: (0.0, 0.0) }
    }

    #[test]
    fn no_marker_colour_is_left_in_the_drawing() -> Result<(), ReportError> {
        let lines: Vec<_> = (0..STYLES).map(|style| line(style, &[(0, 3.0), (9, style as f64)])).collect();
        let drawing = svg("Test", &lines)?;
        assert!(!drawing.contains("=\"#"), "{drawing}");
        for style in 0..STYLES {
            assert!(
                drawing.contains(&format!("\"run run-{style}\"")) && drawing.contains(&format!("\"dot run-{style}\""))
            );
        }
        Ok(())
    }

    #[test]
    fn degenerate_curves_are_drawn() -> Result<(), ReportError> {
        for training in [&[][..], &[(0, 2.0)], &[(5, 0.0), (5, 0.0)], &[(u64::MAX, -9e5), (0, 9e5)]] {
            assert!(svg("Test", &[line(0, training)])?.ends_with("</svg>\n"));
        }
        Ok(())
    }

    #[test]
    fn one_wild_value_does_not_set_the_scale() {
        let (steps, losses) = ranges(&[line(0, &[(1, 2.0), (2, 3.0), (3, 2.5), (4, 9e5)])]);
        assert_eq!(steps, 0..4);
        assert!(losses.start < 2.0 && losses.end > 3.0 && losses.end < 20.0, "{losses:?}");
    }
}
