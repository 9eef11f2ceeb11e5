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
            0 => String::new(),
            _ => files::read_text(&path)?
                .lines()
                .filter(|line| up_to(line, after))
                .map(|line| format!("{line}\n"))
                .collect(),
        };
        files::write(&path, kept)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(Error::file(&path))?;
        Ok(Self { path, file, events: EventWriter::open(out, after)? })
    }

    /// Writes down a step.
    pub(crate) fn step(&mut self, report: &StepReport, memory: u64) -> Result<(), Error> {
        self.line(&json!({
            "step": report.step,
            "loss": report.loss,
            "learning_rate": report.learning_rate,
            "gradient_norm": report.gradient_norm,
            "tokens_seen": report.tokens_seen,
            "tokens_per_second": report.tokens_per_second,
            "seconds": report.seconds,
            "memory_bytes": memory,
        }))?;
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

/// True for a whole line of a step up to `after`.
fn up_to(line: &str, after: u64) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|line| line["step"].as_u64().is_some_and(|step| step <= after))
}
