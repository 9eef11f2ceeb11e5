//! What no step gets under: the time that a launch takes of next to no work.

use crate::Error;
use mode_kernels::scale::scale;
use mode_tensor::{Device, Tensor};
use serde::Serialize;
use std::time::Instant;

/// Launches one after the other, each of which needs the one before: several submissions of a GPU's.
const CHAIN: usize = 512;
/// Chains at the least, and seconds of them; the best counts, and short ones find a busy machine free now and then.
const REPEATS: usize = 5;
const SECONDS: f64 = 0.5;

/// Microseconds of tiny launches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Overhead {
    /// What the host takes for a launch, which a GPU need not have run by then.
    pub launch_us: f64,
    /// What each of a chain of them takes, from the first one's launch to the last one's end.
    pub chain_us: f64,
}

impl Overhead {
    /// The overhead of `device`, measured now.
    ///
    /// # Errors
    /// What the device reports.
    pub(super) fn measure(device: &Device) -> Result<Self, Error> {
        let (x, y) = (Tensor::full(device, &[64], 0.5)?, Tensor::full(device, &[64], 0.0)?);
        let chain = || {
            let started = Instant::now();
            for i in 0..CHAIN {
                let (from, to) = if i % 2 == 0 { (&x, &y) } else { (&y, &x) };
                scale(device, 1.0, from.view(), to.view(), false)?;
            }
            let launched = started.elapsed();
            device.synchronize()?;
            Ok::<_, Error>([launched, started.elapsed()].map(|time| 1e6 * time.as_secs_f64() / CHAIN as f64))
        };
        // The first one compiles.
        chain()?;
        let (started, mut chains) = (Instant::now(), 0);
        let mut best = Self { launch_us: f64::INFINITY, chain_us: f64::INFINITY };
        while chains < REPEATS || started.elapsed().as_secs_f64() < SECONDS {
            let [launch_us, chain_us] = chain()?;
            best = Self { launch_us: best.launch_us.min(launch_us), chain_us: best.chain_us.min(chain_us) };
            chains += 1;
        }
        Ok(best)
    }
}
