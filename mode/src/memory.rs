//! Main memory: how much there is, how much this process ever used, and a refusal of what can't fit.

use crate::Error;
use mode_tensor::Device;

/// Memory that this process could still take, in bytes; `None` where the system does not say.
pub(crate) fn available() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some(system.available_memory()).filter(|&bytes| bytes > 0)
}

/// The machine in words: system, processor, cores, memory.
pub(crate) fn machine() -> String {
    let mut words = vec![format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)];
    if let Ok(mut system) = sysinfo::System::new() {
        system.refresh_memory();
        system.refresh_cpu_all();
        let brand = system.cpus().first().map(|cpu| cpu.brand().trim().to_string());
        words.extend(brand.filter(|brand| !brand.is_empty()));
        words.push(format!("{} cores", system.cpus().len()));
        words.push(format!("{:.0} GB of memory", system.total_memory() as f64 / 1e9));
    }
    words.join(", ")
}

/// Bytes that a device holds for tensors.
pub(crate) fn in_use(device: &Device) -> u64 {
    device.counters().bytes
}

/// The resident size now in bytes, as Linux tells; `None` elsewhere.
pub(crate) fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// The greatest resident size so far in bytes, which Linux keeps in `/proc`; `None` elsewhere.
pub(crate) fn peak() -> Option<u64> {
    status("VmHWM:")
}

fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// An error if `numbers` f32 numbers of `what` can't fit a device in main memory. A GPU says itself what it can't hold.
///
/// Without this, a size mistyped by a few zeros would be granted by the system and end the process once it is touched.
///
/// # Errors
/// [`Error::Setting`], which names `what` and both sizes.
pub(crate) fn require(device: &Device, numbers: u64, what: &str) -> Result<(), Error> {
    let Some(free) = available().filter(|_| !device.is_gpu() && !device.is_dry()) else { return Ok(()) };
    let needed = numbers.saturating_mul(4);
    if needed <= free {
        return Ok(());
    }
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    Err(Error::Setting(format!(
        "{what} needs {:.1} GB of memory or more, and {:.1} GB are free; choose smaller sizes",
        gigabytes(needed),
        gigabytes(free)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused() {
        assert!(require(&Device::cpu(), 1_000, "a little").is_ok());
        let error = require(&Device::cpu(), 1 << 60, "the model").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("the model needs"), "{error}");
    }
}
