//! The GPU adapters of this machine.

use super::Capabilities;
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
    /// Name and version of its driver.
    pub driver: String,
    /// Bytes in one buffer, and in one binding of it, at the most.
    pub buffer_bytes: [u64; 2],
    /// Bytes of memory that a workgroup shares, at the most.
    pub workgroup_bytes: u32,
    /// Threads of a workgroup, at the most.
    pub workgroup_threads: u32,
    /// Workgroups in one dimension of a launch, at the most.
    pub workgroups: u32,
    /// Threads of a subgroup, least and most.
    pub subgroup: [u32; 2],
    /// Features that kernels can make use of.
    pub features: Vec<&'static str>,
    /// Shapes of cooperative matrices: m, n, k, and the types of operands and sums.
    pub cooperative_matrices: Vec<String>,
    /// What kernels choose by.
    pub capabilities: Capabilities,
}

/// The features named in [`AdapterSummary::features`].
const FEATURES: [(&str, wgpu::Features); 5] = [
    ("f16", wgpu::Features::SHADER_F16),
    ("subgroups", wgpu::Features::SUBGROUP),
    ("immediates", wgpu::Features::IMMEDIATES),
    ("timestamps", wgpu::Features::TIMESTAMP_QUERY),
    ("cooperative matrices", wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
];

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

pub(super) fn summary(adapter: &wgpu::Adapter, info: &wgpu::AdapterInfo) -> AdapterSummary {
    let (limits, features) = (adapter.limits(), adapter.features());
    let matrix = |p: &wgpu::CooperativeMatrixProperties| {
        format!("{}x{}x{} {:?} -> {:?}", p.m_size, p.n_size, p.k_size, p.ab_type, p.cr_type)
    };
    AdapterSummary {
        name: info.name.clone(),
        backend: info.backend.to_string(),
        hardware: info.device_type != wgpu::DeviceType::Cpu,
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        buffer_bytes: [limits.max_buffer_size, limits.max_storage_buffer_binding_size],
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroup_threads: limits.max_compute_invocations_per_workgroup,
        workgroups: limits.max_compute_workgroups_per_dimension,
        subgroup: [info.subgroup_min_size, info.subgroup_max_size],
        features: FEATURES.iter().filter(|(_, feature)| features.contains(*feature)).map(|(name, _)| *name).collect(),
        cooperative_matrices: adapter.cooperative_matrix_properties().iter().map(matrix).collect(),
        capabilities: Capabilities::of(adapter, info),
    }
}

/// A summary of each adapter.
pub fn adapters() -> Vec<AdapterSummary> {
    all().iter().map(|(adapter, info)| summary(adapter, info)).collect()
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
