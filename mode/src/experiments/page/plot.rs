//! A figure in the paper's form: our points with their intervals in one panel, the paper's beside them in another. SVG, by plotters.

use crate::experiments::results::statistics::Interval;
use crate::report::ReportError;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::ops::Range;

/// One panel's size.
const PANEL: (u32, u32) = (520, 400);

/// Colours of series, by their place.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0xc2, 0x4a, 0x32),
    RGBColor(0x3b, 0x6e, 0xa5),
    RGBColor(0xe0, 0x8a, 0x2e),
    RGBColor(0x4d, 0x8b, 0x57),
    RGBColor(0x7d, 0x5b, 0xa6),
    RGBColor(0x55, 0x55, 0x55),
];

/// A line of points.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its name; the same name has the same colour in both panels.
    pub name: String,
    /// Where, and what was found there, as a fraction.
    pub points: Vec<(f64, Interval)>,
}

impl Series {
    /// Of figures in per cent without intervals.
    pub fn of_paper(name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let point = |(x, percent)| (x, Interval { mean: percent / 100.0, half: 0.0 });
        Self { name: name.into(), points: points.into_iter().map(point).collect() }
    }
}

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// By equal differences.
    Linear,
    /// By equal ratios.
    Logarithmic,
}

/// Our panel and the paper's.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Its name as a file's.
    pub name: &'static str,
    /// What it shows.
    pub caption: String,
    /// What lies along the horizontal axis.
    pub x: &'static str,
    /// How it lies there.
    pub scale: Scale,
    /// What lies along the vertical one.
    pub y: &'static str,
    /// Ours.
    pub ours: Vec<Series>,
    /// The paper's; none where it has none.
    pub paper: Vec<Series>,
}

impl Figure {
    /// As an SVG.
    ///
    /// # Errors
    /// What the drawing library reports.
    pub fn svg(&self) -> Result<String, ReportError> {
        let mut svg = String::new();
        self.draw(&mut svg)?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Result<(), ReportError> {
        let panels = if self.paper.is_empty() { 1 } else { 2 };
        let root = SVGBackend::with_string(svg, (panels as u32 * PANEL.0, PANEL.1)).into_drawing_area();
        root.fill(&WHITE)?;
        let areas = root.split_evenly((1, panels));
        let whose = if panels == 2 { ["here", "the paper"] } else { [""; 2] };
        for ((area, series), whose) in areas.iter().zip([&self.ours, &self.paper]).zip(whose) {
            let values = || series.iter().flat_map(|series| &series.points);
            let [mut left, mut right, mut low, mut high] = [f64::INFINITY, 0.0_f64, f64::INFINITY, 0.0_f64];
            for (x, y) in values() {
                (left, right) = (left.min(*x), right.max(*x));
                (low, high) = (low.min(y.mean - spread(y)), high.max(y.mean + spread(y)));
            }
            if values().next().is_none() {
                continue;
            }
            let room = 0.06 * (high - low).max(1e-3);
            let up = 100.0 * (low - room)..100.0 * (high + room);
            let intervals = if values().any(|(_, y)| spread(y) > 0.0) { "95 % intervals over seeds" } else { "" };
            let title = [whose, intervals].into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(", ");
            match self.scale {
                Scale::Linear => {
                    let margin = 0.05 * (right - left).max(1e-3);
                    self.panel(area, &title, series, (left - margin..right + margin, up))?;
                }
                Scale::Logarithmic => {
                    self.panel(area, &title, series, ((left * 0.8..right * 1.25).log_scale(), up))?;
                }
            }
        }
        root.present()?;
        Ok(())
    }

    fn panel<'a, X>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, Shift>,
        title: &str,
        series: &[Series],
        (across, up): (X, Range<f64>),
    ) -> Result<(), ReportError>
    where
        X: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
    {
        let mut chart = ChartBuilder::on(area);
        chart.margin(12).x_label_area_size(38).y_label_area_size(52);
        if !title.is_empty() {
            chart.caption(title, ("sans-serif", 16));
        }
        let mut chart = chart.build_cartesian_2d(across, up)?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT).x_labels(8).y_labels(6).x_desc(self.x).y_desc(self.y).draw()?;
        for line in series {
            let colour = self.colour(&line.name);
            let point = |(x, y): &(f64, Interval)| (*x, 100.0 * y.mean);
            let drawn = chart.draw_series(LineSeries::new(line.points.iter().map(point), colour.stroke_width(2)))?;
            drawn.label(&line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
            chart.draw_series(line.points.iter().map(|at| Circle::new(point(at), 4, colour.filled())))?;
            chart.draw_series(line.points.iter().filter(|(_, y)| spread(y) > 0.0).map(|(x, y)| {
                let [bottom, top] = [y.mean - y.half, y.mean + y.half].map(|end| (*x, 100.0 * end));
                PathElement::new([bottom, top], colour.mix(0.6))
            }))?;
        }
        let legend = chart.configure_series_labels();
        { legend }.position(SeriesLabelPosition::LowerRight).background_style(WHITE.mix(0.8)).draw()?;
        Ok(())
    }

    fn colour(&self, name: &str) -> RGBColor {
        let place = self.ours.iter().position(|series| series.name == name);
        let other = || self.ours.len() + self.paper.iter().position(|series| series.name == name).unwrap_or(0);
        COLOURS[place.unwrap_or_else(other) % COLOURS.len()]
    }
}

/// Half an interval that is known.
fn spread(interval: &Interval) -> f64 {
    if interval.half.is_finite() { interval.half } else { 0.0 }
}
