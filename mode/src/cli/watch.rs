//! `mode check --watch`: kernels are checked and timed again whenever a file of theirs in `MODE_SHADERS` is saved.
//!
//! Inputs stay the same from round to round, so that what changes is the shader. How fast the device copies is measured once, before the
//! first round.

use super::check::{Launches, Row};
use super::shaders::{Folder, VARIABLE, stamps};
use crate::Error;
use crate::bench::Ceilings;
use mode_kernels::registry::AnyKernel;
use mode_kernels::{Device, KernelError, Time};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How often modification times are looked at.
const PAUSE: Duration = Duration::from_millis(200);

/// What goes on between rounds.
struct Watch<'a> {
    device: &'a Device,
    launches: Launches,
    seed: u32,
    /// GB/s of a copy, read and written; none if what was measured is not believed.
    copy: Option<f64>,
    /// Seconds of the round before, by shader.
    before: BTreeMap<&'static str, f64>,
    /// Ctrl-C has been pressed.
    stopped: Receiver<()>,
}

/// Says that Ctrl-C has been pressed; a second one ends the program at once.
fn stopped() -> Result<Receiver<()>, Error> {
    let (send, receive) = channel();
    let pressed = AtomicBool::new(false);
    let handler = move || {
        if pressed.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        // The receiver is gone only when the program ends anyway.
        let _ = send.send(());
    };
    ctrlc::set_handler(handler).map_err(|e| Error::Setting(format!("Ctrl-C can't be waited for: {e}")))?;
    Ok(receive)
}

/// Checks and times `kernels` now and on every change, until Ctrl-C.
pub(super) fn watch(kernels: &[&dyn AnyKernel], device: &Device, launches: Launches, seed: u32) -> Result<(), Error> {
    let Some(mut folder) = Folder::from_environment()? else {
        return Err(Error::Setting(format!(
            "--watch needs {VARIABLE}=DIR, a folder laid out like shaders/ with the files that you change"
        )));
    };
    if !device.is_gpu() {
        return Err(Error::Setting("--watch is of shaders, which a GPU runs; add --device gpu".into()));
    }
    let copy = Ceilings::copy(device);
    match &copy {
        Ok(Some(gbytes)) => tell!("a copy goes at {gbytes:.1} GB/s, read and written"),
        Ok(None) => tell!("a copy is far under the data sheet, so nothing is a share of it"),
        // It may be one of the shaders of the folder, which the first round tells in full.
        Err(error) => tell!("no copy was timed: {error}"),
    }
    let copy = copy.ok().flatten();
    let mut watch = Watch { device, launches, seed, copy, before: BTreeMap::new(), stopped: stopped()? };
    folder.replace(device);
    let mut seen = stamps(folder.path())?;
    let mut on = watch.round(kernels, None)?;
    tell!("seed {seed}; watching {}, Ctrl-C ends", folder.path().display());
    // What was saved since the folder was read is a change already.
    let mut moved = true;
    while on && watch.stopped.recv_timeout(PAUSE).is_err() {
        // Not there for a moment: an editor puts another in its place.
        let Ok(now) = stamps(folder.path()) else { continue };
        if now != seen {
            // A file that is being written is left alone until all have been still for a pause.
            (seen, moved) = (now, true);
            continue;
        }
        if !std::mem::take(&mut moved) {
            continue;
        }
        match Folder::read(folder.path()) {
            Ok(new) => {
                new.replace(device);
                on = watch.round(kernels, Some(&new.changed(&folder)))?;
                folder = new;
            }
            Err(error) => tell!("error: {error}"),
        }
    }
    Ok(())
}

impl Watch<'_> {
    /// One line for each kernel that has a shader of which a file has changed; for all at first. False once Ctrl-C was pressed.
    fn round(&mut self, kernels: &[&dyn AnyKernel], changed: Option<&[&str]>) -> Result<bool, Error> {
        let changes = |file: &str| changed.is_none_or(|changed| changed.contains(&file));
        for kernel in kernels {
            let shaders =
                || kernel.shaders().iter().filter(|shader| shader.parts.iter().any(|(file, _)| changes(file)));
            if shaders().next().is_none() {
                continue;
            }
            if self.stopped.try_recv().is_ok() {
                return Ok(false);
            }
            let row = Row::of(*kernel, self.device, self.launches, self.seed);
            if let Err(lost @ KernelError::Lost { .. }) = row.outcome {
                return Err(lost.into());
            }
            let mut line = row.line();
            // What is wrong is not worth timing.
            for shader in shaders().filter(|_| row.agrees()) {
                let tier = if kernel.shaders().len() > 1 { format!("{} ", shader.file) } else { String::new() };
                line += &match kernel.time(self.device, shader, self.seed) {
                    Ok(Some(time)) => format!("; {tier}{}", self.rates(shader.file, time)),
                    Ok(None) => String::new(),
                    Err(error) => format!("; {tier}not timed: {error}"),
                };
                self.device.trim();
            }
            say!("{line}");
        }
        Ok(true)
    }

    /// The time of a launch, its change since the round before, and the rates that it comes to.
    fn rates(&mut self, file: &'static str, time: Time) -> String {
        let Time { cost, seconds } = time;
        let change = match self.before.insert(file, seconds) {
            Some(before) => format!(" ({:+.1} %)", 100.0 * (seconds / before - 1.0)),
            None => String::new(),
        };
        let [gbytes, gflops] = [cost.bytes, cost.flop].map(|count| count / seconds.max(1e-9) / 1e9);
        let share = self.copy.map_or_else(String::new, |copy| format!(" ({:.0} % of a copy)", 100.0 * gbytes / copy));
        format!("{:.3} ms{change}, {gbytes:.1} GB/s{share}, {gflops:.1} GFLOP/s", 1e3 * seconds)
    }
}
