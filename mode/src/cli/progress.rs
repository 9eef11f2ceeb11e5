//! What people see of a run: a bar on a terminal, a line now and then elsewhere, nothing with `--quiet`.

use crate::train::StepReport;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where no bar can be drawn, a line is printed this often.
const PAUSE: Duration = Duration::from_secs(10);

/// Set by the first Ctrl-C.
static STOP: AtomicBool = AtomicBool::new(false);

/// Lets Ctrl-C, or a polite kill, end a run after the step that it is in; the second one ends the program at once.
pub(crate) fn stop_after_step() {
    let installed = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        tell!("stopping after this step; press Ctrl-C again to stop at once");
    });
    if let Err(error) = installed {
        tell!("Ctrl-C will not save the run: {error}");
    }
}

/// Whether to go on, or to save and stop.
pub(crate) fn flow() -> ControlFlow<()> {
    if STOP.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Shows how far a run has got.
pub(crate) struct Progress {
    quiet: bool,
    terminal: bool,
    current: Option<Current>,
}

struct Current {
    name: String,
    bar: ProgressBar,
    printed: Instant,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, terminal: std::io::stderr().is_terminal(), current: None }
    }

    /// A line for people; the bar makes room for it.
    pub(crate) fn say(&mut self, line: &str) {
        self.finish();
        if !self.quiet {
            tell!("{line}");
        }
    }

    /// A line that is seen with `--quiet` too.
    pub(crate) fn warn(&mut self, line: &str) {
        self.finish();
        tell!("{line}");
    }

    /// A step of the run of this name, on a device that holds `memory` bytes.
    pub(crate) fn step(&mut self, name: &str, report: &StepReport, memory: u64) {
        if self.quiet {
            return;
        }
        if self.current.as_ref().is_none_or(|current| current.name != name) {
            self.finish();
            let bar = if self.terminal { bar(name, report) } else { ProgressBar::hidden() };
            self.current = Some(Current { name: name.into(), bar, printed: Instant::now() });
        }
        let Some(current) = &mut self.current else { return };
        let StepReport { step, steps, loss, tokens_seen, seconds, .. } = *report;
        let rate = tokens_seen as f64 / seconds.max(1e-9);
        let skipped = match report.scaling {
            Some(scaling) if scaling.skipped > 0 => format!("  {} skipped", scaling.skipped),
            _ => String::new(),
        };
        let message = format!("loss {loss:.3}  {rate:.0} tokens/s  {:.0} MB{skipped}", memory as f64 / 1e6);
        if self.terminal {
            current.bar.set_position(step);
            current.bar.set_message(message);
        } else if current.printed.elapsed() >= PAUSE {
            current.printed = Instant::now();
            let left = seconds / step as f64 * (steps - step) as f64;
            tell!("{name} step {step}/{steps}  {message}  {left:.0} s left");
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Some(current) = self.current.take() {
            current.bar.finish_and_clear();
        }
    }
}

/// Without colours, so that there is nothing for `NO_COLOR` to turn off.
fn bar(name: &str, report: &StepReport) -> ProgressBar {
    let bar = ProgressBar::new(report.steps).with_position(report.step);
    let style = ProgressStyle::with_template("{prefix:14} {bar:30} {pos}/{len}  {msg}  {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(name.to_string());
    bar.reset_eta();
    bar
}
