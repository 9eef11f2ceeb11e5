//! What a driver has compiled, handed out so that somebody keeps it for the next run, where the backend lets it out: Vulkan. Most
//! drivers of desktops keep such a cache of their own; others compile everything anew in every process.

use crate::Device;
use crate::device::Backend;

/// Characters of a driver's name and version in a key at the most.
const MOST: usize = 80;

impl Device {
    /// What tells caches of compiled pipelines apart, by adapter and driver, fit for a file's name; none where there are no such caches.
    pub fn pipeline_cache_key(&self) -> Option<String> {
        let Backend::Gpu(gpu) = self.backend() else { return None };
        gpu.device.features().contains(wgpu::Features::PIPELINE_CACHE).then_some(())?;
        let key = wgpu::util::pipeline_cache_key(&gpu.info)?;
        let driver = format!("{} {}", gpu.info.driver, gpu.info.driver_info);
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        Some(format!("{key}-{}", driver.trim().chars().map(plain).take(MOST).collect::<String>()))
    }

    /// From now on keeps what is compiled, beside what `data` holds already. Data that adapter or driver have no use for are
    /// passed over; nothing happens where [`Device::pipeline_cache_key`] is none.
    ///
    /// # Safety
    /// `data` are what [`Device::pipeline_cache`] of a device of the same key returned, unchanged: drivers check no more than a header.
    pub unsafe fn keep_pipelines(&self, data: Option<&[u8]>) {
        let Backend::Gpu(gpu) = self.backend() else { return };
        if self.pipeline_cache_key().is_none() {
            return;
        }
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("mode"), data, fallback: true };
        // SAFETY: the caller promises what wgpu asks for.
        let cache = unsafe { gpu.device.create_pipeline_cache(&descriptor) };
        gpu.pipelines.keep(cache);
    }

    /// What has been compiled since [`Device::keep_pipelines`], and what was given to that; none before.
    pub fn pipeline_cache(&self) -> Option<Vec<u8>> {
        let Backend::Gpu(gpu) = self.backend() else { return None };
        gpu.pipelines.cache()?.get_data()
    }
}
