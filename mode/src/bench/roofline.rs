//! A roofline: rates of kernels over their FLOP a byte, under the two ceilings, as an SVG file that needs nothing beside itself.

use super::profile::Profiles;
use crate::report::ReportError;
use plotters::prelude::*;
use plotters::style::FontDesc;

/// plotters places everything on whole pixels; drawn twice too large, that is fine enough.
const FINE: u32 = 2;
const WIDTH: u32 = 640;
const HEIGHT: u32 = 460;
/// The list of kernels beside the plot.
const LIST: u32 = 380;
const LINE: u32 = 18;
const INK: RGBColor = RGBColor(30, 30, 30);
const GRID: RGBColor = RGBColor(225, 225, 225);
const ROOF: RGBColor = RGBColor(110, 110, 110);
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 91, 158),
    RGBColor(190, 80, 20),
    RGBColor(30, 120, 70),
    RGBColor(130, 60, 140),
    RGBColor(160, 120, 0),
    RGBColor(170, 40, 60),
];

/// A kernel of one of the profiles.
struct Dot {
    /// FLOP a byte, and GFLOP/s.
    at: (f64, f64),
    /// Number of its profile.
    profile: usize,
    words: String,
}

/// All kernels that compute; what only moves numbers has no place under a roof of FLOP.
fn dots(profiles: &Profiles) -> Vec<Dot> {
    let several = profiles.profiles.len() > 1;
    let of = |(number, profile): (usize, &super::Profile)| {
        let sizes: Vec<String> = profile.sizes.iter().map(|(_, size)| size.to_string()).collect();
        let sizes = if several { format!(" {}", sizes.join(" x ")) } else { String::new() };
        let kernels =
            profile.kernels.iter().filter(|kernel| kernel.flop > 0.0 && kernel.bytes > 0.0 && kernel.ms > 0.0);
        let dot = move |kernel: &super::KernelProfile| Dot {
            at: (kernel.flop / kernel.bytes, kernel.rates.gflops),
            profile: number,
            words: match kernel.rates.percent {
                Some(percent) => format!("{}{sizes}: {percent:.0} % of {}", kernel.kernel, kernel.rates.bound),
                None => format!("{}{sizes}", kernel.kernel),
            },
        };
        kernels.map(dot).collect::<Vec<_>>()
    };
    profiles.profiles.iter().enumerate().flat_map(of).collect()
}

/// The roofline of `profiles`.
pub(crate) fn svg(profiles: &Profiles) -> Result<String, ReportError> {
    let dots = dots(profiles);
    let mut drawing = String::new();
    draw(&mut drawing, profiles, &dots)?;
    Ok(drawing)
}

fn draw(into: &mut String, profiles: &Profiles, dots: &[Dot]) -> Result<(), ReportError> {
    let (gflops, gbytes) = (profiles.ceilings.gflops, profiles.ceilings.gbytes);
    let cooperative = profiles.ceilings.cooperative_gflops();
    let roofs: Vec<f64> = [Some(gflops), cooperative].into_iter().flatten().collect();
    let span = |values: &mut dyn Iterator<Item = f64>, around: f64| {
        let (low, high) = values.fold((around, around), |(low, high), v| (low.min(v), high.max(v)));
        (low / 2.0, high * 2.0)
    };
    let ridges = roofs.iter().map(|roof| roof / gbytes);
    let (left, right) = span(&mut dots.iter().map(|dot| dot.at.0).chain(ridges), gflops / gbytes);
    let (bottom, top) = span(&mut dots.iter().map(|dot| dot.at.1).chain(roofs.iter().copied()), gflops);
    let height = HEIGHT.max(LINE * (dots.len() as u32 + 3));
    let root = SVGBackend::with_string(into, ((WIDTH + LIST) * FINE, height * FINE)).into_drawing_area();
    root.fill(&WHITE)?;
    let (plot, list) = root.split_horizontally(WIDTH * FINE);
    let (plot, _) = plot.split_vertically(HEIGHT * FINE);
    let font = |colour: &RGBColor| FontDesc::from(("sans-serif", 12 * FINE)).color(colour);
    let mut chart = ChartBuilder::on(&plot)
        .margin(12 * FINE)
        .x_label_area_size(40 * FINE)
        .y_label_area_size(60 * FINE)
        .build_cartesian_2d((left..right).log_scale(), (bottom..top).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(&INK))
        .axis_desc_style(font(&INK))
        .x_desc("FLOP a byte")
        .y_desc("GFLOP/s")
        .draw()?;
    for &roof in &roofs {
        let line = [left, roof / gbytes, right].map(|intensity| (intensity, (intensity * gbytes).min(roof)));
        chart.draw_series(LineSeries::new(line, ROOF.stroke_width(2 * FINE)))?;
    }
    for (number, dot) in dots.iter().enumerate() {
        let colour = COLOURS[dot.profile % COLOURS.len()];
        chart.draw_series([Circle::new(dot.at, 4 * FINE, colour.filled())])?;
        let label = EmptyElement::at(dot.at)
            + Text::new((number + 1).to_string(), (6 * FINE as i32, -14 * FINE as i32), font(&colour));
        chart.draw_series([label])?;
    }
    let line = |number: usize| (8 * FINE as i32, ((number as u32 + 1) * LINE * FINE) as i32);
    let write =
        |number: usize, words: String, colour: &RGBColor| list.draw(&Text::new(words, line(number), font(colour)));
    write(0, profiles.device.clone(), &INK)?;
    let more = cooperative.map_or_else(String::new, |gflops| format!(" ({gflops:.0} cooperative)"));
    write(1, format!("{gflops:.0} GFLOP/s{more}, {gbytes:.0} GB/s: the roof"), &ROOF)?;
    for (number, dot) in dots.iter().enumerate() {
        let colour = COLOURS[dot.profile % COLOURS.len()];
        write(number + 2, format!("{}  {}", number + 1, dot.words), &colour)?;
    }
    drop(chart);
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Ceilings, Profile, Rounds};
    use super::*;
    use mode_kernels::{Cost, Timing};

    #[test]
    fn every_kernel_that_computes_is_drawn() -> Result<(), ReportError> {
        let timing = |kernel, flop| Timing {
            kernel,
            entry: None,
            settings: Vec::new(),
            cooperative: false,
            cost: Cost { flop, bytes: 1e6 },
            begin: 0.0,
            seconds: 1e-3,
        };
        let ceilings = Ceilings::for_tests(100.0, 10.0);
        let launches = vec![timing("matmul", 5e7), timing("add", 1e5), timing("center", 0.0)];
        let rounds = Rounds { plain: Vec::new(), profiled: vec![(1.0, launches)] };
        let profile = Profile::new("matmul", vec![("tokens", 9)], &rounds, &ceilings);
        let mut profiles =
            Profiles { device: "CPU".into(), ceilings, tick_ns: 1.0, timing_us: 0.1, profiles: vec![profile] };
        let drawing = svg(&profiles)?;
        assert!(drawing.contains("<svg") && drawing.ends_with("</svg>\n"), "{drawing}");
        assert!(drawing.contains("matmul: 50 % of arithmetic") && !drawing.contains("center"), "{drawing}");
        // Nothing that computes is no reason to fail.
        profiles.profiles.clear();
        assert!(svg(&profiles)?.contains("the roof"));
        Ok(())
    }
}
