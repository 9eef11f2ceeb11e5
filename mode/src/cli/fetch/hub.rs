//! What people see of a fetch: a bar a file on a terminal, a line a file and now and then elsewhere, nothing with `--quiet`.

use super::Arguments;
use crate::Error;
use crate::cli::print_json;
use crate::hub::{Request, Seen, fetch};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Where no bar can be drawn, a line is printed this often.
const PAUSE: Duration = Duration::from_secs(10);

pub(crate) fn main(arguments: Arguments) -> Result<(), Error> {
    let Arguments { repository, revision, out, files, timeout, quiet, json } = arguments;
    let request = Request { repository, revision, out, files, patience: Duration::from_secs(timeout) };
    let (mut current, terminal) = (None::<Current>, std::io::stderr().is_terminal());
    let fetched = fetch(&request, &mut |seen| {
        if !quiet {
            Current::of(&mut current, &seen, terminal).show(&seen);
        }
    });
    drop(current);
    let fetched = fetched?;
    if !quiet {
        let (files, megabytes) = (fetched.files.len(), fetched.bytes as f64 / 1e6);
        tell!("{} at {:.12}: {files} files, {megabytes:.1} MB", request.repository, fetched.revision);
    }
    if json {
        return print_json(&fetched);
    }
    say!("{}", fetched.folder.display());
    Ok(())
}

/// The file that comes.
struct Current {
    name: String,
    bar: Option<ProgressBar>,
    printed: Instant,
}

impl Current {
    /// The file that was seen, which may be another than before.
    fn of<'a>(current: &'a mut Option<Self>, seen: &Seen, terminal: bool) -> &'a mut Self {
        if current.as_ref().is_some_and(|current| current.name != seen.file) {
            *current = None;
        }
        current.get_or_insert_with(|| {
            if !terminal {
                tell!("{}: {:.1} MB", seen.file, seen.bytes as f64 / 1e6);
            }
            let bar = terminal.then(|| bar(seen));
            Self { name: seen.file.into(), bar, printed: Instant::now() }
        })
    }

    fn show(&mut self, seen: &Seen) {
        if let Some(bar) = &self.bar {
            bar.set_position(seen.done);
        } else if self.printed.elapsed() >= PAUSE {
            self.printed = Instant::now();
            tell!("{}: {:.1} of {:.1} MB", self.name, seen.done as f64 / 1e6, seen.bytes as f64 / 1e6);
        }
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Without colours, so that there is nothing for `NO_COLOR` to turn off.
fn bar(seen: &Seen) -> ProgressBar {
    let bar = ProgressBar::new(seen.bytes).with_position(seen.done);
    let style = ProgressStyle::with_template("{prefix:32} {bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(seen.file.to_string());
    bar.reset_eta();
    bar
}
