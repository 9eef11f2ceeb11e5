//! Cooperative matrices: of square matrices that the threads of a subgroup hold together, a product of f16 is added to a sum of f32.

/// What a shader that uses them begins with.
pub(crate) const ENABLE: &str = "enable wgpu_cooperative_matrix;";

/// The aliases that such shaders have for a left factor, a right one and a sum, of 8 x 8 or of 16 x 16.
pub(crate) fn matrices(size: u32) -> [(&'static str, &'static str); 3] {
    match size {
        8 => [("Left", "coop_mat8x8<f16, A>"), ("Right", "coop_mat8x8<f16, B>"), ("Sum", "coop_mat8x8<f32, C>")],
        _ => [("Left", "coop_mat16x16<f16, A>"), ("Right", "coop_mat16x16<f16, B>"), ("Sum", "coop_mat16x16<f32, C>")],
    }
}
