//! The figure drawn: the paper's points beside the simulated ones, a panel each. SVG, by plotters.

use super::{Figure, Predicted, Program};
use plotters::prelude::*;

/// One panel's size; all three stand side by side.
const PANEL: (u32, u32) = (460, 400);

/// Colours of the programs.
fn colour(program: Program) -> RGBColor {
    match program {
        Program::Spmd => RGBColor(0x3b, 0x6e, 0xa5),
        Program::Mpmd => RGBColor(0xe0, 0x8a, 0x2e),
        Program::Pjit => RGBColor(0x7a, 0x7a, 0x7a),
    }
}

/// The three panels.
///
/// # Errors
/// What the drawing library reports.
pub fn plot(figure: &Figure) -> Result<String, String> {
    let mut svg = String::new();
    draw(&mut svg, figure).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn draw(svg: &mut String, figure: &Figure) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (3 * PANEL.0, PANEL.1)).into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.split_evenly((1, 3));
    let words = ["a: one to five meshes", "b: added layers", "c: merges"];
    for ((area, panel), title) in panels.iter().zip(['a', 'b', 'c']).zip(words) {
        let points: Vec<&Predicted> = figure.points.iter().filter(|of| of.point.panel == panel).collect();
        let (last, highest) =
            points.iter().fold((0, 0.0_f64), |(x, y), of| (x.max(of.point.x), y.max(of.point.paper).max(of.authors)));
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 17))
            .margin(12)
            .x_label_area_size(34)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..last as f64 * 1.15, 0.0..highest * 1.12)?;
        let whole = |value: &f64| format!("{value:.0}");
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT).x_labels(6).y_labels(6).y_desc("ms a step");
        mesh.x_label_formatter(&whole).y_label_formatter(&whole).draw()?;
        for program in [Program::Spmd, Program::Mpmd, Program::Pjit] {
            let of: Vec<&&Predicted> = points.iter().filter(|of| of.point.program == program).collect();
            let at = |value: fn(&Predicted) -> f64| of.iter().map(move |of| (of.point.x as f64, value(of)));
            chart.draw_series(LineSeries::new(at(|of| of.authors), colour(program).stroke_width(2)))?;
            chart
                .draw_series(at(|of| of.authors).map(|point| Cross::new(point, 4, colour(program).stroke_width(2))))?;
            let dot = |of: &&&Predicted| {
                let style =
                    if of.authors_memory.fits { colour(program).filled() } else { colour(program).stroke_width(2) };
                Circle::new((of.point.x as f64, of.point.paper), 4, style)
            };
            chart.draw_series(of.iter().map(dot))?;
            if program != Program::Pjit {
                let thin = colour(program).mix(0.45);
                chart.draw_series(DashedLineSeries::new(at(|of| of.ours), 4, 4, thin.stroke_width(1)))?;
            }
        }
        if panel == 'a' {
            let lines = [
                ("dots: the paper", BLACK),
                ("hollow: simulated, it needs over 16 GB a chip", BLACK),
                ("crosses: the authors' schedule, simulated", BLACK),
                ("dashed: this project's schedule", BLACK),
                ("SPMD", colour(Program::Spmd)),
                ("MPMD", colour(Program::Mpmd)),
                ("SPMD-pjit", colour(Program::Pjit)),
            ];
            for (i, (text, colour)) in lines.into_iter().enumerate() {
                area.draw(&Text::new(text, (70, 236 + 16 * i as i32), ("sans-serif", 13).into_font().color(&colour)))?;
            }
        }
    }
    root.present()?;
    Ok(())
}
