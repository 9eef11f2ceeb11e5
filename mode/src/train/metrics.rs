//! A run's log: `metrics.jsonl`, a JSON object a step, and the same for TensorBoard.

use super::tensorboard::EventWriter;
use super::trainer::StepReport;
use crate::{Error, files};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

const NAME: &str = "metrics.jsonl";

/// Writes the log of one run.
pub(crate) struct Metrics {
    path: PathBuf,
    file: File,
    events: EventWriter,
}

impl Metrics {
    /// The log in folder `out` of a run that goes on after step `after`; lines of later steps, which a run that was killed
    /// may have left, go.
    pub(crate) fn open(out: &Path, after: u64) -> Result<Self, Error> {
        let path = out.join(NAME);
        let kept: String = match after {
            // A log that is gone is begun anew; the checkpoint has all that the run needs.
            _ if !path.exists() => String::new(),
            0 => String::new(),
            _ => files::read_text(&path)?
                .lines()
                .filter(|line| parse(line).is_some_and(|(step, _)| step <= after))
                .map(|line| format!("{line}\n"))
                .collect(),
        };
        files::write(&path, kept)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(Error::file(&path))?;
        Ok(Self { path, file, events: EventWriter::open(out, after)? })
    }

    /// Writes down a step.
    pub(crate) fn step(&mut self, report: &StepReport, memory: u64) -> Result<(), Error> {
        let mut line = json!({
            "step": report.step,
            "loss": report.loss,
            "learning_rate": report.learning_rate,
            "gradient_norm": report.gradient_norm,
            "tokens_seen": report.tokens_seen,
            "tokens_per_second": report.tokens_per_second,
            "seconds": report.seconds,
            "memory_bytes": memory,
        });
        if let Some(scaling) = report.scaling {
            line["loss_scale"] = json!(scaling.scale);
            line["skipped_steps"] = json!(scaling.skipped);
        }
        self.line(&line)?;
        self.events.scalars(
            report.step,
            &[
                ("train/loss", report.loss),
                ("train/learning_rate", report.learning_rate as f32),
                ("train/gradient_norm", report.gradient_norm),
                ("train/tokens_per_second", report.tokens_per_second as f32),
            ],
        )
    }

    /// Writes down the loss on validation text after a step.
    pub(crate) fn validation(&mut self, step: u64, loss: f64) -> Result<(), Error> {
        self.line(&json!({"step": step, "validation_loss": loss}))?;
        self.events.scalars(step, &[("validation/loss", loss as f32)])
    }

    fn line(&mut self, value: &Value) -> Result<(), Error> {
        self.file.write_all(format!("{value}\n").as_bytes()).map_err(Error::file(&self.path))
    }
}

/// The lines of the log in folder `out`, each with its step; none if there is no log.
pub(crate) fn read(out: &Path) -> Result<Vec<(u64, Value)>, Error> {
    let path = out.join(NAME);
    if !path.exists() {
        return Ok(Vec::new());
    }
    Ok(files::read_text(&path)?.lines().filter_map(parse).collect())
}

/// A line with its step. The last line of a run that was killed may be half there, and is none.
fn parse(line: &str) -> Option<(u64, Value)> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some((line["step"].as_u64()?, line))
}
