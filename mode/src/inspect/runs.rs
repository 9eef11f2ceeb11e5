//! Runs and demos read back from their folders, for a report that sets them beside each other.

use crate::report::{Curve, Report, Row, RunRow, SeedRow, last_tenth};
use crate::train::{is_run, kebab, read_metrics, read_run};
use crate::{Error, files, memory};
use std::path::{Path, PathBuf};

/// A report on runs and demos, in the order given.
///
/// # Errors
/// A folder that holds neither, or something broken.
pub fn report(folders: &[PathBuf]) -> Result<Report, Error> {
    let mut report = Report { title: "Runs".into(), ..Report::default() };
    let mut demos: Vec<Vec<Row>> = Vec::new();
    for (i, folder) in folders.iter().enumerate() {
        let same = |other: &PathBuf| other.canonicalize().is_ok_and(|o| folder.canonicalize().is_ok_and(|f| o == f));
        if folders[..i].iter().any(same) {
            return Err(Error::content(folder, "is given twice; name each folder once"));
        }
        if folder.join("results.json").exists() {
            demos.push(files::read_json(&folder.join("results.json"))?);
        } else if is_run(folder) {
            let (row, curve) = run(folder)?;
            report.runs.push(row);
            report.curves.push(curve);
        } else {
            let what = "holds neither a run (recipe.toml) nor a demo (results.json)";
            return Err(Error::content(folder, what));
        }
    }
    report.seeds = over_seeds(&demos);
    if let [rows] = demos.as_slice() {
        report.rows = rows.clone();
    }
    let list = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
    report.environment = vec![
        ("program".into(), format!("mode {}", env!("CARGO_PKG_VERSION"))),
        ("machine that made this page".into(), memory::machine()),
        ("folders".into(), list),
    ];
    Ok(report)
}

/// One run's row and its curves.
fn run(folder: &Path) -> Result<(RunRow, Curve), Error> {
    let (recipe, finished) = read_run(folder)?;
    let name = folder.display().to_string();
    let mut curve = Curve { name: name.clone(), points: Vec::new(), validation: Vec::new() };
    let (mut tokens, mut seconds) = (0.0, 0.0);
    for (step, line) in read_metrics(folder)? {
        if let Some(loss) = line["loss"].as_f64() {
            curve.points.push((step, loss));
            (tokens, seconds) =
                (line["tokens_seen"].as_f64().unwrap_or(tokens), line["seconds"].as_f64().unwrap_or(seconds));
        }
        if let Some(loss) = line["validation_loss"].as_f64() {
            curve.validation.push((step, loss));
        }
    }
    let row = RunRow {
        name,
        method: kebab(recipe.method).into(),
        seed: recipe.seed,
        steps: curve.points.last().map_or(0, |(step, _)| *step),
        learning_rate: recipe.train.learning_rate,
        params_trained: finished.map_or(0, |finished| finished.params_trained),
        loss: last_tenth(&curve.points),
        validation: curve.validation.last().map_or(f64::NAN, |(_, loss)| *loss),
        tokens_per_second: if seconds > 0.0 { tokens / seconds } else { f64::NAN },
    };
    Ok((row, curve))
}

/// Means and deviations by method, in the order of the first demo.
fn over_seeds(demos: &[Vec<Row>]) -> Vec<SeedRow> {
    let Some(first) = demos.first() else { return Vec::new() };
    let of = |method: &str| {
        let rows: Vec<&Row> = demos.iter().flatten().filter(|row| row.method == method).collect();
        let count = rows.len() as f64;
        let values = |of: fn(&Row) -> f64| rows.iter().map(|row| of(row)).collect::<Vec<f64>>();
        let columns = [|r: &Row| r.english, |r: &Row| r.code, |r: &Row| r.math, |r: &Row| r.mean].map(values);
        let mean = columns.each_ref().map(|values| values.iter().sum::<f64>() / count);
        let deviation = [0, 1, 2, 3].map(|i: usize| {
            let squares = columns[i].iter().map(|value| (value - mean[i]).powi(2)).sum::<f64>();
            (squares / (count - 1.0).max(1.0)).sqrt()
        });
        SeedRow { method: method.into(), seeds: rows.len(), mean, deviation }
    };
    first.iter().map(|row| of(&row.method)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_have_a_mean_and_a_deviation() {
        let row = |mean: f64| Row {
            method: "full".into(),
            english: 0.1,
            code: 0.2,
            math: 0.3,
            mean,
            params_total: 1,
            params_trained: 1,
            steps: 1,
            tokens_seen: 1,
            seconds: 1.0,
            learning_rate: 1.0,
            model: String::new(),
        };
        let rows = over_seeds(&[vec![row(0.2)], vec![row(0.4)]]);
        assert_eq!((rows[0].seeds, rows[0].deviation[0]), (2, 0.0));
        approx::assert_relative_eq!(rows[0].mean[3], 0.3, epsilon = 1e-12);
        approx::assert_relative_eq!(rows[0].deviation[3], 0.02f64.sqrt(), epsilon = 1e-12);
        assert!(over_seeds(&[]).is_empty());
    }
}
