//! A figure in the paper's form: our points with their intervals in one panel, the paper's beside them in another. SVG, by plotters.

use super::axis::{Axis, NAMES, Scale};
use crate::experiments::results::statistics::Interval;
use crate::report::ReportError;
use plotters::coord::Shift;
use plotters::prelude::*;

/// One panel's size.
const PANEL: (u32, u32) = (520, 400);

/// What a legend needs of the height that points take.
const LEGEND: f64 = 0.45;

/// Colours of series, by their place.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0xc2, 0x4a, 0x32),
    RGBColor(0x3b, 0x6e, 0xa5),
    RGBColor(0xe0, 0x8a, 0x2e),
    RGBColor(0x4d, 0x8b, 0x57),
    RGBColor(0x7d, 0x5b, 0xa6),
    RGBColor(0x55, 0x55, 0x55),
    RGBColor(0x2a, 0x9d, 0x9d),
    RGBColor(0xb5, 0xa6, 0x2b),
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

/// Our panel and the paper's.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Its name as a file's.
    pub name: &'static str,
    /// What it shows.
    pub caption: String,
    /// What lies along the horizontal axis.
    pub x: &'static str,
    /// What lies along the vertical one.
    pub y: &'static str,
    /// How they lie there.
    pub scales: [Scale; 2],
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
            let points = || series.iter().flat_map(|series| &series.points);
            if points().next().is_none() {
                continue;
            }
            let intervals = if points().any(|(_, y)| spread(y) > 0.0) { "95 % intervals of each mean" } else { "" };
            let title = [whose, intervals].into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(", ");
            let across = Axis::over(self.scales[0], points().map(|(x, _)| *x));
            let heights = || points().flat_map(|(_, y)| ends(y));
            let mut up = Axis::over(self.scales[1], heights());
            if emptiest([&across, &up], series).0 > 0 && self.scales[1] == Scale::Linear {
                up = Axis::over(self.scales[1], heights().chain([above(heights())]));
            }
            self.panel(area, &title, series, [across, up])?;
        }
        root.present()?;
        Ok(())
    }

    fn panel(
        &self,
        area: &DrawingArea<SVGBackend, Shift>,
        title: &str,
        series: &[Series],
        [across, up]: [Axis; 2],
    ) -> Result<(), ReportError> {
        let mut chart = ChartBuilder::on(area);
        chart.margin(12).margin_right(24).x_label_area_size(38).y_label_area_size(58);
        if !title.is_empty() {
            chart.caption(title, ("sans-serif", 16));
        }
        let (_, corner) = emptiest([&across, &up], series);
        let mut chart = chart.build_cartesian_2d(across, up)?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT).x_labels(NAMES).y_labels(NAMES).x_desc(self.x).y_desc(self.y).draw()?;
        for line in series {
            let colour = self.colour(&line.name);
            let point = |(x, y): &(f64, Interval)| (*x, 100.0 * y.mean);
            let drawn = chart.draw_series(LineSeries::new(line.points.iter().map(point), colour.stroke_width(2)))?;
            drawn
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
            chart.draw_series(line.points.iter().map(|at| Circle::new(point(at), 4, colour.filled())))?;
            chart.draw_series(
                line.points
                    .iter()
                    .filter(|(_, y)| spread(y) > 0.0)
                    .map(|(x, y)| PathElement::new(ends(y).map(|end| (*x, end)), colour.mix(0.6))),
            )?;
        }
        let mut legend = chart.configure_series_labels();
        legend.position(corner).background_style(WHITE.mix(0.8)).draw()?;
        Ok(())
    }

    fn colour(&self, name: &str) -> RGBColor {
        let place = self.ours.iter().position(|series| series.name == name);
        let other = || self.ours.len() + self.paper.iter().position(|series| series.name == name).unwrap_or(0);
        COLOURS[place.unwrap_or_else(other) % COLOURS.len()]
    }
}

/// The ends of an interval, in per cent.
fn ends(interval: &Interval) -> [f64; 2] {
    [-1.0, 1.0].map(|side| 100.0 * (interval.mean + side * spread(interval)))
}

/// What an axis reaches up to where a legend is to have room above these heights.
fn above(heights: impl Iterator<Item = f64>) -> f64 {
    let (low, high) = heights.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)));
    high + LEGEND * (high - low)
}

/// The corner with the fewest points, to put the legend into, and how many those are.
fn emptiest([across, up]: [&Axis; 2], series: &[Series]) -> (usize, SeriesLabelPosition) {
    let points = || series.iter().flat_map(|series| &series.points);
    let crowd = |right: f64, top: f64| {
        let near = |x: f64, y: &Interval| {
            (across.share(x) - right).abs() < 0.45 && (up.share(100.0 * y.mean) - top).abs() < 0.35
        };
        points().filter(|(x, y)| near(*x, y)).count()
    };
    let corners = [
        (crowd(1.0, 0.0), SeriesLabelPosition::LowerRight),
        (crowd(0.0, 1.0), SeriesLabelPosition::UpperLeft),
        (crowd(1.0, 1.0), SeriesLabelPosition::UpperRight),
        (crowd(0.0, 0.0), SeriesLabelPosition::LowerLeft),
    ];
    corners.into_iter().min_by_key(|(crowd, _)| *crowd).unwrap_or((0, SeriesLabelPosition::LowerRight))
}

/// Half an interval that is known.
fn spread(interval: &Interval) -> f64 {
    if interval.half.is_finite() { interval.half } else { 0.0 }
}
