//! Which task is whose: runs when what they build on is there, cells when their model is, to jobs that wait for one another.

use crate::Error;
use crate::experiments::plan::{Plan, RunIndex};
use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What a job does next.
pub(crate) enum Task {
    /// Train.
    Run(RunIndex),
    /// Measure a cell's model.
    Measure(usize),
}

/// What is left, and what is under way.
pub(crate) struct State {
    pub(crate) runs: BTreeSet<RunIndex>,
    pub(crate) cells: Vec<usize>,
    pub(crate) under_way: BTreeSet<RunIndex>,
    /// Runs without numbers.
    pub(crate) diverged: BTreeSet<RunIndex>,
    pub(crate) error: Option<Error>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next thing to do, once there is one; None if nothing is left or something went wrong.
pub(crate) fn next(plan: &Plan, state: &Mutex<State>, changed: &Condvar) -> Option<Task> {
    let mut guard = lock(state);
    loop {
        let state = &mut *guard;
        if state.error.is_some() {
            return None;
        }
        // What builds on a run that left no numbers is not carried out.
        let lost: Vec<RunIndex> = (state.runs.iter().copied())
            .filter(|run| plan.runs[run.0].needs.iter().any(|need| state.diverged.contains(need)))
            .collect();
        for run in lost {
            state.runs.remove(&run);
            state.diverged.insert(run);
        }
        let waits = |run: &RunIndex| state.runs.contains(run) || state.under_way.contains(run);
        if let Some(at) = state.cells.iter().position(|&cell| !plan.cells[cell].runs.iter().any(waits)) {
            return Some(Task::Measure(state.cells.remove(at)));
        }
        let ready = |run: &&RunIndex| !plan.runs[run.0].needs.iter().any(waits);
        if let Some(run) = state.runs.iter().find(ready).copied() {
            state.runs.remove(&run);
            state.under_way.insert(run);
            return Some(Task::Run(run));
        }
        if state.runs.is_empty() && state.cells.is_empty() {
            return None;
        }
        guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Wakes the other jobs where one comes to grief, which would wait for it for ever.
pub(crate) struct Alarm<'a> {
    pub(crate) state: &'a Mutex<State>,
    pub(crate) changed: &'a Condvar,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(self.state).error.get_or_insert(Error::Stopped);
            self.changed.notify_all();
        }
    }
}

/// How long it will take yet.
pub(crate) struct Clock {
    pub(crate) started: Instant,
    pub(crate) flop: f64,
    /// Runs that have ended, and their operations.
    pub(crate) finished: Mutex<(usize, f64)>,
}

impl Clock {
    /// A run of so many operations has ended: how many have, and what is left in words.
    pub(crate) fn tick(&self, flop: f64) -> (usize, String) {
        let mut finished = lock(&self.finished);
        *finished = (finished.0 + 1, finished.1 + flop);
        // A composition without steps tells nothing.
        let rate = finished.1 / self.started.elapsed().as_secs_f64();
        let minutes = (self.flop - finished.1) / rate / 60.0;
        (finished.0, if rate > 0.0 { format!("{:.0} min left", minutes.ceil()) } else { String::new() })
    }
}
