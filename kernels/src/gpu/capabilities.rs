//! What shaders may use on an adapter beyond what all have: tiers of kernels are chosen by it.

/// The features that a device is opened with, where its adapter has them.
const FEATURES: wgpu::Features = wgpu::Features::TIMESTAMP_QUERY
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::PIPELINE_CACHE)
    .union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

/// Those of [`FEATURES`] that an adapter has. Mesa's lavapipe on a CPU with vectors of four lists cooperative matrices, and then opens no
/// device with them, in which wgpu sees a mistake of ours.
pub(super) fn features(adapter: &wgpu::Adapter, info: &wgpu::AdapterInfo) -> wgpu::Features {
    let narrow = info.subgroup_max_size < 8;
    let matrices = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    adapter.features() & if narrow { FEATURES.difference(matrices) } else { FEATURES }
}

/// What a shader with subgroup operations declares; naga has no `enable subgroups;`.
const SUBGROUP: &str = "const SUBGROUP: u32 =";

/// What a shader declares whose subgroups share out 16 rows.
const ROWS_A_LANE: &str = "const ROWS_A_LANE: u32 =";

/// What a device can do beyond the least; nothing, where it runs no shaders.
#[derive(Debug, Clone, Copy, Default)]
pub struct Capabilities {
    /// Arithmetic on f16.
    pub f16: bool,
    /// Threads of a subgroup, least and most; none without subgroup operations.
    pub subgroup: Option<[u32; 2]>,
    /// Cooperative matrices of 8 x 8 that multiply f16 and add f32.
    pub cooperative_8: bool,
    /// The same of 16 x 16.
    pub cooperative_16: bool,
    /// True where a CPU stands in for a GPU.
    pub software: bool,
    /// Workgroups of 256 threads that keep it busy, roughly, for no interface tells.
    pub workgroups: u32,
    /// Bytes of memory that a workgroup shares, at the most.
    pub workgroup_bytes: u32,
}

impl Capabilities {
    pub(super) fn of(adapter: &wgpu::Adapter, info: &wgpu::AdapterInfo) -> Self {
        use wgpu::CooperativeScalarType::{F16, F32};
        let features = features(adapter, info);
        let cooperative = |size: u32| {
            let ours = |p: &wgpu::CooperativeMatrixProperties| {
                [p.m_size, p.n_size, p.k_size] == [size; 3] && p.ab_type == F16 && p.cr_type == F32
            };
            // DX12 has none; and Metal, through naga, loads none from vec4s, which is how shaders stage them.
            info.backend == wgpu::Backend::Vulkan
                && features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
                && adapter.cooperative_matrix_properties().iter().any(ours)
        };
        let software = info.device_type == wgpu::DeviceType::Cpu;
        Self {
            f16: features.contains(wgpu::Features::SHADER_F16),
            subgroup: features
                .contains(wgpu::Features::SUBGROUP)
                .then_some([info.subgroup_min_size, info.subgroup_max_size]),
            cooperative_8: cooperative(8),
            cooperative_16: cooperative(16),
            software,
            workgroups: if software { 8 } else { 256 },
            workgroup_bytes: adapter.limits().max_compute_workgroup_storage_size,
        }
    }

    /// Threads of a subgroup, where all subgroups have as many.
    pub fn subgroup_size(&self) -> Option<u32> {
        self.subgroup.and_then(|[least, most]| (least == most).then_some(least))
    }

    /// True where subgroups have 4 to 16 threads, as many as a CPU's vector has numbers.
    pub fn narrow_subgroups(&self) -> bool {
        self.subgroup_size().is_some_and(|size| (4..=16).contains(&size))
    }

    /// What the device itself knows of a shader's constants: `SUBGROUP`, the threads of one.
    pub(super) fn constants(&self, source: &str) -> Option<(&'static str, u32)> {
        self.subgroup_size().filter(|_| source.contains(SUBGROUP)).map(|size| ("SUBGROUP", size))
    }

    /// What the shader `source` uses that is not here: its own text says what that is.
    pub(super) fn lack(&self, source: &str) -> Option<&'static str> {
        [
            ("enable f16;", self.f16, "f16 arithmetic"),
            (SUBGROUP, self.subgroup_size().is_some(), "subgroup operations, all subgroups of one size"),
            (ROWS_A_LANE, self.narrow_subgroups(), "subgroups of 4 to 16 threads"),
            ("coop_mat8x8<f16", self.cooperative_8, "cooperative matrices of 8 x 8, f16 -> f32"),
            ("coop_mat16x16<f16", self.cooperative_16, "cooperative matrices of 16 x 16, f16 -> f32"),
        ]
        .into_iter()
        .find_map(|(word, has, what)| (!has && source.contains(word)).then_some(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shader_says_what_it_needs() {
        let none = Capabilities::default();
        let eight = Capabilities { f16: true, cooperative_8: true, subgroup: Some([8, 32]), ..none };
        assert_eq!(none.lack("alias Real = f32;"), None);
        assert_eq!(none.lack("enable f16;"), Some("f16 arithmetic"));
        assert_eq!(eight.lack("enable f16;\nalias Left = coop_mat8x8<f16, A>;"), None);
        let sixteen = eight.lack("alias Left = coop_mat16x16<f16, A>;");
        assert_eq!(sixteen, Some("cooperative matrices of 16 x 16, f16 -> f32"));
        assert_eq!(eight.lack("const SUBGROUP: u32 = 32;"), Some("subgroup operations, all subgroups of one size"));
        let of = |size| Capabilities { subgroup: Some([size; 2]), ..none }.lack(mode_shaders::MATMUL_BROADCAST.text);
        assert_eq!([of(8), of(32)], [None, Some("subgroups of 4 to 16 threads")]);
    }
}
