//! What shaders may use on an adapter beyond what all have: tiers of kernels are chosen by it.

use mode_shaders::Shader;

/// The features that a device is opened with, where its adapter has them.
pub(super) const FEATURES: wgpu::Features = wgpu::Features::TIMESTAMP_QUERY
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

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
    /// Bytes of memory that a workgroup shares, at the most.
    pub workgroup_bytes: u32,
}

impl Capabilities {
    pub(super) fn of(adapter: &wgpu::Adapter, info: &wgpu::AdapterInfo) -> Self {
        use wgpu::CooperativeScalarType::{F16, F32};
        let features = adapter.features();
        let cooperative = |size: u32| {
            let ours = |p: &wgpu::CooperativeMatrixProperties| {
                [p.m_size, p.n_size, p.k_size] == [size; 3] && p.ab_type == F16 && p.cr_type == F32
            };
            features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
                && adapter.cooperative_matrix_properties().iter().any(ours)
        };
        Self {
            f16: features.contains(wgpu::Features::SHADER_F16),
            subgroup: features
                .contains(wgpu::Features::SUBGROUP)
                .then_some([info.subgroup_min_size, info.subgroup_max_size]),
            cooperative_8: cooperative(8),
            cooperative_16: cooperative(16),
            workgroup_bytes: adapter.limits().max_compute_workgroup_storage_size,
        }
    }

    /// What `shader` uses that is not here. Its own text says what it uses.
    pub fn lack(&self, shader: &Shader) -> Option<&'static str> {
        [
            ("enable f16;", self.f16, "f16 arithmetic"),
            ("enable subgroups;", self.subgroup.is_some(), "subgroup operations"),
            ("coop_mat8x8<f16", self.cooperative_8, "cooperative matrices of 8 x 8, f16 -> f32"),
            ("coop_mat16x16<f16", self.cooperative_16, "cooperative matrices of 16 x 16, f16 -> f32"),
        ]
        .into_iter()
        .find_map(|(word, has, what)| (!has && shader.text.contains(word)).then_some(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shader_says_what_it_needs() {
        let shader = |text| Shader { file: "square.wgsl", shared: &[], text };
        let none = Capabilities::default();
        let eight = Capabilities { f16: true, cooperative_8: true, ..none };
        assert_eq!(none.lack(&shader("alias Real = f32;")), None);
        assert_eq!(none.lack(&shader("enable f16;")), Some("f16 arithmetic"));
        assert_eq!(eight.lack(&shader("enable f16;\nalias Left = coop_mat8x8<f16, A>;")), None);
        let sixteen = eight.lack(&shader("alias Left = coop_mat16x16<f16, A>;"));
        assert_eq!(sixteen, Some("cooperative matrices of 16 x 16, f16 -> f32"));
    }
}
