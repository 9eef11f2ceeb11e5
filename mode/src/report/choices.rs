//! What was chosen by measuring: each method's learning rate, and other defaults.

use super::data::{ChoiceScore, GridScore};
use super::page::Section;
use super::table::{marked, number, row_head, table, words};
use super::text::{NONE, escape, percent, rate};

/// The learning-rate grid: a row for each method, a column for each rate.
pub(super) fn grid(grid: &[GridScore]) -> Option<Section> {
    if grid.is_empty() {
        return None;
    }
    let mut methods: Vec<&str> = Vec::new();
    let mut rates: Vec<f64> = grid.iter().map(|g| g.learning_rate).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup_by(|a, b| a.total_cmp(b).is_eq());
    for GridScore { method, .. } in grid {
        if !methods.contains(&method.as_str()) {
            methods.push(method);
        }
    }
    let columns: Vec<String> = std::iter::once("Method:".to_string()).chain(rates.iter().map(|&r| rate(r))).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let rows = methods.iter().map(|method| {
        let cells = rates.iter().map(|rate| {
            let at = |g: &&GridScore| g.method == *method && g.learning_rate.total_cmp(rate).is_eq();
            grid.iter().find(at).map_or_else(|| number(NONE), |g| score(g.score, g.chosen))
        });
        row_head(&escape(method)) + &cells.collect::<String>()
    });
    let body =
        table("Mean accuracy on validation text, in per cent, by learning rate; ★ marks the one used.", &columns, rows);
    Some(Section { id: "grid", title: "Learning rates", body })
}

/// Defaults that were measured: a row for each candidate.
pub(super) fn defaults(choices: &[ChoiceScore]) -> Option<Section> {
    if choices.is_empty() {
        return None;
    }
    let rows = choices.iter().map(|c| row_head(&escape(&c.setting)) + &words(&c.candidate) + &score(c.score, c.chosen));
    let caption = "Mean accuracy on validation text, in per cent; ★ marks the default.";
    let body = table(caption, &["Setting:", "Candidate:", "Score"], rows);
    Some(Section { id: "defaults", title: "Measured defaults", body })
}

fn score(score: f64, chosen: bool) -> String {
    if chosen { marked(&percent(score), "chosen") } else { number(&percent(score)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_has_one_row_a_method_and_one_column_a_rate() {
        let at = |method: &str, learning_rate, score, chosen| GridScore {
            method: method.into(),
            learning_rate,
            score,
            chosen,
        };
        let all = [at("a", 1e-2, 0.5, true), at("a", 1e-3, 0.4, false), at("b", 1e-3, f64::NAN, false)];
        let body = grid(&all).map(|s| s.body).unwrap_or_default();
        let want = "<tr><th scope=\"row\">a</th><td>40.00</td><td class=\"best\"><b>50.00</b>";
        assert!(body.contains(want), "{body}");
        assert!(body.contains("<tr><th scope=\"row\">b</th><td>–</td><td>–</td></tr>"), "{body}");
    }
}
