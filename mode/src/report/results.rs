//! The results table: one row a method, the best of each column marked.

use super::data::Row;
use super::methods;
use super::page::Section;
use super::table::{marked, number, row_head, table};
use super::text::{NONE, count, escape, percent, points, rate, seconds};

/// The accuracies of a row, in the order of the columns.
const ACCURACIES: [fn(&Row) -> f64; 4] = [|r| r.english, |r| r.code, |r| r.math, |r| r.mean];

const COLUMNS: [&str; 12] = [
    "Method:",
    "English",
    "Code",
    "Math",
    "Mean",
    "Against base",
    "Parameters trained",
    "Steps",
    "Tokens",
    "Time",
    "Learning rate",
    "Model:",
];

/// The results section.
pub(super) fn section(rows: &[Row]) -> Option<Section> {
    if rows.is_empty() {
        return None;
    }
    let base = base(rows).map_or(f64::NAN, |base| base.mean);
    let best = ACCURACIES.map(|of| best(rows.iter().map(of)));
    let mut body = table(
        "Next-token accuracy in per cent; ★ marks the best of a column. Parameters trained are those of the last stage; \
         steps, tokens and time are of all stages.",
        &COLUMNS,
        rows.iter().map(|row| cells(row, &best, base)),
    );
    body.push_str(&methods::legend(rows.iter().map(|row| row.method.as_str())));
    Some(Section { id: "results", title: "Results", body })
}

/// The row every difference is taken to.
pub(super) fn base(rows: &[Row]) -> Option<&Row> {
    rows.iter().find(|row| row.method == "base")
}

fn cells(row: &Row, best: &[Option<f64>; 4], base: f64) -> String {
    let mut out = row_head(&escape(&row.method));
    for (of, best) in ACCURACIES.iter().zip(best) {
        let value = of(row);
        out.push_str(&match best {
            Some(best) if value == *best => marked(&percent(value), "best"),
            _ => number(&percent(value)),
        });
    }
    let difference = if row.method == "base" { NONE.to_string() } else { points(row.mean - base) };
    out.push_str(&number(&difference));
    out.push_str(&number(&trained(row)));
    out.push_str(&number(&row.steps.to_string()));
    out.push_str(&number(&count(row.tokens_seen)));
    out.push_str(&number(&seconds(row.seconds)));
    out.push_str(&number(&rate(row.learning_rate)));
    out.push_str(&path(&row.model));
    out
}

fn trained(row: &Row) -> String {
    format!("{} <small>of {}</small>", count(row.params_trained), count(row.params_total))
}

fn path(model: &str) -> String {
    format!("<td class=\"words\"><code>{}</code></td>", escape(model))
}

fn best(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.filter(|v| v.is_finite()).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_ignores_what_is_no_number() {
        assert_eq!(best([f64::NAN, 0.25, f64::INFINITY, 0.5].into_iter()), Some(0.5));
        assert_eq!(best([f64::NAN].into_iter()), None);
    }
}
