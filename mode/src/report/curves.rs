//! Loss curves: the pre-training in one drawing, the runs that adapt the model over each other in a second.

use super::ReportError;
use super::data::Curve;
use super::methods;
use super::page::Section;
use super::table::{number, row_head, table};
use super::text::{escape, loss};

mod plot;

const CAPTION: &str = "Each point of a line is the mean over a small part of the run; dots are validation losses. \
    Every run has its own mix of text, so compare the shapes rather than the heights.";

/// Points to a line: as many as a phone can show, and few enough to smooth the noise of single batches.
const POINTS: usize = 50;

/// Losses beyond this are a run that blew up; they would flatten every other curve.
const ABSURD: f64 = 1e6;

/// A curve as it is drawn: in few points, all of them finite.
struct Line {
    name: String,
    style: usize,
    training: Vec<(u64, f64)>,
    validation: Vec<(u64, f64)>,
    /// Training and validation loss at the end of the run.
    end: (f64, f64),
}

impl Line {
    fn new(curve: &Curve, style: usize) -> Self {
        let training = usable(&curve.points);
        let validation = usable(&curve.validation);
        Self {
            name: curve.name.clone(),
            style,
            end: (last_tenth(&training), validation.last().map_or(f64::NAN, |(_, value)| *value)),
            training: thin(&training),
            validation,
        }
    }
}

/// The loss section.
pub(super) fn section(curves: &[Curve]) -> Result<Option<Section>, ReportError> {
    if curves.is_empty() {
        return Ok(None);
    }
    // Runs of a user's own may have all the styles, for no method of the demo is among them.
    let demo = curves.iter().any(|curve| methods::is_method(&curve.name));
    let style = |(place, curve): (usize, &Curve)| {
        if demo { methods::style(&curve.name, place) } else { place % methods::STYLES }
    };
    let lines = curves.iter().enumerate().map(|at| Line::new(at.1, style(at)));
    let adapting = if demo { "Adaptation" } else { "Training" };
    let titles = ["Pre-training", adapting];
    let (pretraining, adapting): (Vec<_>, Vec<_>) = lines.partition(|line| line.name == "base");
    let mut body = String::from("<div class=\"pair\">\n");
    for (title, lines) in titles.into_iter().zip([pretraining, adapting]) {
        if !lines.is_empty() {
            let drawing = plot::svg(title, &lines)?;
            body.push_str(&format!("<figure><h3>{title}</h3>\n{drawing}{}</figure>\n", legend(&lines)));
        }
    }
    body.push_str(&format!("</div>\n<p class=\"note\">{CAPTION}</p>\n"));
    Ok(Some(Section { id: "curves", title: "Loss", body }))
}

fn legend(lines: &[Line]) -> String {
    let rows = lines.iter().map(|line| {
        let (training, validation) = line.end;
        row_head(&format!("{}{}", methods::swatch(line.style), escape(&line.name)))
            + &number(&loss(training))
            + &number(&loss(validation))
    });
    let caption = "Nats a token at the end; training: the mean of the last tenth.";
    table(caption, &["Run:", "Training", "Validation"], rows)
}

fn usable(points: &[(u64, f64)]) -> Vec<(u64, f64)> {
    points.iter().copied().filter(|(_, value)| value.abs() < ABSURD).collect()
}

/// At most [`POINTS`] points, each the mean of its neighbours. What does not divide evenly goes to the start, where the
/// loss is steep.
fn thin(points: &[(u64, f64)]) -> Vec<(u64, f64)> {
    let size = points.len().div_ceil(POINTS).max(1);
    points.rchunks(size).rev().map(|chunk| (chunk[chunk.len() / 2].0, mean(chunk))).collect()
}

/// The mean over the last tenth of a run; a single batch says little.
pub(crate) fn last_tenth(points: &[(u64, f64)]) -> f64 {
    mean(&points[points.len() - points.len().div_ceil(10)..])
}

/// The mean value, NaN of no points.
fn mean(points: &[(u64, f64)]) -> f64 {
    points.iter().map(|(_, value)| value).sum::<f64>() / points.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_mean_and_the_limit() {
        let points: Vec<_> = (0..1000).map(|step| (step, (step % 2) as f64)).collect();
        let thinned = thin(&points);
        assert!(thinned.len() <= POINTS);
        assert!(thinned[1..].iter().all(|(_, value)| (value - 0.5).abs() < 0.1));
        assert_eq!(thin(&points[..3]), points[..3]);
        assert!(thin(&[]).is_empty());
    }

    #[test]
    fn the_end_is_the_mean_of_the_last_tenth() {
        let points: Vec<_> = (0..100).map(|step| (step, if step < 90 { 9.0 } else { 1.0 })).collect();
        assert_eq!(last_tenth(&points), 1.0);
        assert_eq!(last_tenth(&points[..1]), 9.0);
        assert!(last_tenth(&[]).is_nan());
    }

    #[test]
    fn what_cannot_be_drawn_is_dropped() {
        let points = [(0, f64::NAN), (1, f64::INFINITY), (2, 1e300), (3, 2.0)];
        assert_eq!(usable(&points), [(3, 2.0)]);
    }
}
