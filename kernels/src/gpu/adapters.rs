//! The GPU adapters of this machine.

use crate::KernelError;
use std::sync::OnceLock;

/// What a person needs to know to choose an adapter.
#[derive(Debug, Clone)]
pub struct AdapterSummary {
    /// The driver's name for it.
    pub name: String,
    /// Vulkan, Metal or DX12.
    pub backend: String,
    /// False for a program on the CPU, such as lavapipe or WARP.
    pub hardware: bool,
}

/// One instance a process: creating it loads the Vulkan loader and every driver.
fn all() -> &'static [(wgpu::Adapter, wgpu::AdapterInfo)] {
    static ALL: OnceLock<Vec<(wgpu::Adapter, wgpu::AdapterInfo)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::PRIMARY;
        descriptor.flags = wgpu::InstanceFlags::empty();
        let instance = wgpu::Instance::new(descriptor);
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
        adapters
            .into_iter()
            .map(|a| {
                let info = a.get_info();
                (a, info)
            })
            .collect()
    })
}

/// A summary of each adapter.
pub fn adapters() -> Vec<AdapterSummary> {
    let summary = |info: &wgpu::AdapterInfo| AdapterSummary {
        name: info.name.clone(),
        backend: info.backend.to_string(),
        hardware: info.device_type != wgpu::DeviceType::Cpu,
    };
    all().iter().map(|(_, info)| summary(info)).collect()
}

/// Adapter number `index`.
pub(super) fn nth(index: usize) -> Result<(wgpu::Adapter, wgpu::AdapterInfo), KernelError> {
    all().get(index).cloned().ok_or_else(|| {
        let names: Vec<String> =
            all().iter().enumerate().map(|(i, (_, info))| format!("gpu:{i} {}", info.name)).collect();
        let found = if names.is_empty() { "none".to_string() } else { names.join(", ") };
        KernelError::NoAdapter { wanted: format!("gpu:{index}"), found }
    })
}
