//! What is written down of a device's launches while somebody wants to know: which they were, how long they took, and the first
//! value that is no number.

use crate::device::Backend;
use crate::profile::settings;
use crate::{Device, Kernel, KernelError, Parameters, Timing, View};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What a lock holds; a panic elsewhere leaves it as good as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    pub(crate) fn count_launch(&self, kernel: &'static str, written: usize) {
        if self.watch().tracing.load(Ordering::Relaxed) {
            lock(&self.watch().trace).push((kernel, written));
        }
    }

    /// From now on looks at all that a launch writes, and reports the first value that is no number. Slow.
    pub fn watch_finite(&self) {
        self.watch().watching.store(true, Ordering::Relaxed);
    }

    fn is_watching(&self) -> bool {
        self.watch().watching.load(Ordering::Relaxed)
    }

    /// Says what the launches that follow belong to; costs nothing unless somebody watches.
    pub fn at(&self, place: impl FnOnce() -> String) {
        if self.is_watching() {
            *lock(&self.watch().place) = Some(place().into());
        }
    }

    /// What [`Device::at`] said last, if somebody watches.
    pub fn place(&self) -> Option<Arc<str>> {
        self.is_watching().then(|| lock(&self.watch().place).clone().unwrap_or_else(|| "the start".into()))
    }

    /// An error if somebody watches and a launch has written what is no number.
    pub(crate) fn check_finite(
        &self,
        kernel: &'static str,
        names: &'static [&'static str],
        outputs: &[&View],
    ) -> Result<(), KernelError> {
        let Some(place) = self.place() else { return Ok(()) };
        for (output, view) in names.iter().zip(outputs) {
            if let Some((element, value)) = self.read(view)?.into_iter().enumerate().find(|(_, v)| !v.is_finite()) {
                return Err(KernelError::NotFinite { kernel, output, element, value, place: place.to_string() });
            }
        }
        Ok(())
    }

    /// Times every launch from now on.
    ///
    /// # Errors
    /// A GPU without timestamps.
    pub fn start_profile(&self) -> Result<(), KernelError> {
        if let Backend::Gpu(gpu) = self.backend() {
            return gpu.start_timing();
        }
        *lock(&self.watch().timings) = Some((Instant::now(), Vec::new()));
        Ok(())
    }

    /// Stops that, and returns what was timed, in order.
    ///
    /// # Errors
    /// What a GPU reports.
    pub fn stop_profile(&self) -> Result<Vec<Timing>, KernelError> {
        if let Backend::Gpu(gpu) = self.backend() {
            return gpu.stop_timing();
        }
        Ok(lock(&self.watch().timings).take().map(|(_, timings)| timings).unwrap_or_default())
    }

    /// The least difference that its clock can tell, in seconds: a GPU's tick, or what the system's clock moves at the least.
    pub fn tick(&self) -> f64 {
        if let Backend::Gpu(gpu) = self.backend() {
            return gpu.tick();
        }
        let step = |_| {
            let before = Instant::now();
            loop {
                let passed = before.elapsed().as_secs_f64();
                if passed > 0.0 {
                    return passed;
                }
            }
        };
        (0..100).map(step).fold(f64::INFINITY, f64::min)
    }

    /// Runs a launch in main memory, and times it if somebody profiles.
    pub(crate) fn timed<K: Kernel, T>(&self, params: &K::Params, run: impl FnOnce() -> T) -> T {
        let profiled = lock(&self.watch().timings).is_some();
        if !profiled {
            return run();
        }
        let started = Instant::now();
        let result = run();
        let seconds = started.elapsed().as_secs_f64();
        if let Some((start, timings)) = &mut *lock(&self.watch().timings) {
            let settings = settings(K::Params::FIELDS, bytemuck::bytes_of(params));
            let begin = started.saturating_duration_since(*start).as_secs_f64();
            let (kernel, cost) = (K::NAME, K::cost(params));
            timings.push(Timing { kernel, entry: None, settings, cooperative: false, cost, begin, seconds });
        }
        result
    }

    /// Starts to write down every launch: the kernel's name and the elements of its first output.
    pub fn start_trace(&self) {
        lock(&self.watch().trace).clear();
        self.watch().tracing.store(true, Ordering::Relaxed);
    }

    /// Stops the trace and returns the launches, in order.
    pub fn stop_trace(&self) -> Vec<(&'static str, usize)> {
        self.watch().tracing.store(false, Ordering::Relaxed);
        std::mem::take(&mut *lock(&self.watch().trace))
    }
}
