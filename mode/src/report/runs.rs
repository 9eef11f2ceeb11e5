//! Several runs beside each other: what each was, where its loss ended, and how far that is from the first one's.

use super::data::{RunRow, SeedRow};
use super::page::Section;
use super::table::{number, row_head, table};
use super::text::{NONE, count, escape, loss, percent, rate};

const COLUMNS: [&str; 10] = [
    "Run:",
    "Method:",
    "Seed",
    "Steps",
    "Learning rate",
    "Parameters trained",
    "Loss",
    "Against the first",
    "Validation loss",
    "Tokens a second",
];

/// The runs section.
pub(super) fn section(runs: &[RunRow]) -> Option<Section> {
    let first = runs.first()?;
    let caption =
        "Nats a token: training loss is the mean of the run's last tenth, validation loss the last one measured.";
    let rows = runs.iter().map(|run| {
        let difference = run.loss - first.loss;
        let known = difference.is_finite() && !std::ptr::eq(run, first);
        let against = if known { format!("{difference:+.4}") } else { NONE.to_string() };
        let some = |value: u64| if value > 0 { count(value) } else { NONE.to_string() };
        let words = format!("<td class=\"words\">{}</td>", escape(&run.method));
        let numbers = [
            run.seed.to_string(),
            run.steps.to_string(),
            rate(run.learning_rate),
            some(run.params_trained),
            loss(run.loss),
            against,
            loss(run.validation),
            some(run.tokens_per_second as u64),
        ];
        row_head(&escape(&run.name)) + &words + &numbers.map(|text| number(&text)).concat()
    });
    Some(Section { id: "runs", title: "Runs", body: table(caption, &COLUMNS, rows) })
}

/// The seeds section: means over demos of different seeds.
pub(super) fn seeds(rows: &[SeedRow]) -> Option<Section> {
    let most = rows.iter().map(|row| row.seeds).max().filter(|&most| most > 1)?;
    let caption = format!("Next-token accuracy in per cent: mean over {most} seeds ± standard deviation of one seed.");
    let cells = rows.iter().map(|row| {
        let cell = |i: usize| number(&format!("{} ± {}", percent(row.mean[i]), percent(row.deviation[i])));
        row_head(&escape(&row.method)) + &number(&row.seeds.to_string()) + &[0, 1, 2, 3].map(cell).concat()
    });
    let columns = ["Method:", "Seeds", "English", "Code", "Math", "Mean"];
    Some(Section { id: "seeds", title: "Over seeds", body: table(&caption, &columns, cells) })
}
