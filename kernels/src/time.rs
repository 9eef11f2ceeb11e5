//! How long a kernel takes on the largest of its cases.

use crate::{Case, Cost, Device, Kernel, KernelError, Sizes, check, launch};
use mode_shaders::Shader;
use std::time::{Duration, Instant};

/// Launches that are timed: as many as fit into `ENOUGH`, and within these bounds.
const LAUNCHES: std::ops::RangeInclusive<usize> = 5..=100;
const ENOUGH: Duration = Duration::from_secs(1);

/// The shortest of some launches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time {
    /// What each costs at the least.
    pub cost: Cost,
    /// How long it took.
    pub seconds: f64,
}

/// The shortest of several launches of the largest case that runs `shader`, which is the one of the greatest cost.
pub(crate) fn kernel<K: Kernel>(device: &Device, shader: &Shader, seed: u32) -> Result<Option<Time>, KernelError> {
    let runs = |case: &Case<K::Params>| K::SHADERS[K::tier(&case.params)] == *shader;
    let work = |case: &Case<K::Params>| {
        let cost = K::cost(&case.params);
        cost.flop.max(cost.bytes)
    };
    let largest = |sizes| K::cases(sizes, seed).into_iter().filter(runs).max_by(|a, b| work(a).total_cmp(&work(b)));
    let Some(case) = largest(Sizes::Large).or_else(|| largest(Sizes::Odd)) else { return Ok(None) };
    match shortest::<K>(device, &case) {
        Ok(seconds) => Ok(Some(Time { cost: K::cost(&case.params), seconds })),
        Err(KernelError::Lack { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// In seconds, by the device's own clock where it has one. The launch before, which compiles, is not timed.
fn shortest<K: Kernel>(device: &Device, case: &Case<K::Params>) -> Result<f64, KernelError> {
    let [inputs, outputs] = check::place::<K>(device, case)?;
    let (inputs, outputs): (Vec<_>, Vec<_>) = (inputs.iter().collect(), outputs.iter().collect());
    let once = || {
        let started = Instant::now();
        launch::<K>(device, &case.params, &inputs, &outputs)?;
        device.synchronize()?;
        Ok::<f64, KernelError>(started.elapsed().as_secs_f64())
    };
    once()?;
    let clock = match device.start_profile() {
        Err(KernelError::NoTimestamps(_)) => false,
        started => started.map(|()| true)?,
    };
    let (started, mut walls) = (Instant::now(), Vec::new());
    while walls.len() < *LAUNCHES.start() || (walls.len() < *LAUNCHES.end() && started.elapsed() < ENOUGH) {
        walls.push(once()?);
    }
    let seconds = match clock {
        true => {
            let timings = device.stop_profile()?;
            let dispatches = timings.len() / walls.len();
            timings.chunks(dispatches.max(1)).map(|launch| launch.iter().map(|t| t.seconds).sum()).collect()
        }
        false => walls,
    };
    Ok(seconds.into_iter().fold(f64::INFINITY, f64::min))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Add;

    #[test]
    fn the_largest_case_is_timed() -> Result<(), KernelError> {
        let time = kernel::<Add>(&Device::cpu(), &mode_shaders::ADD, 1)?.expect("a case");
        assert_eq!(time.cost.bytes, 12.0 * 16_777_300.0);
        // A machine that adds faster than 10 TB/s has not been built, nor one slower than 10 MB/s.
        assert!((2e-5..20.0).contains(&time.seconds), "{time:?}");
        assert_eq!(kernel::<Add>(&Device::cpu(), &mode_shaders::BIAS, 1)?, None);
        Ok(())
    }
}
