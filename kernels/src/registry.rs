//! Every kernel, once. A new kernel is one word here.

use crate::{Case, Cost, Device, Kernel, KernelError, Parameters, Sizes, Time, check, time};
use mode_shaders::Shader;

/// What the checks and tables need of a kernel whose parameters' type they don't know.
pub trait AnyKernel: Send + Sync {
    /// Name in traces, errors and tables.
    fn name(&self) -> &'static str;
    /// The shaders, one a tier.
    fn shaders(&self) -> &'static [Shader];
    /// Names of the read-only, then of the read-write bindings.
    fn bindings(&self) -> (&'static [&'static str], &'static [&'static str]);
    /// Names and types of the parameters, in order.
    fn params(&self) -> &'static [(&'static str, &'static str)];
    /// For each odd-sized case: the shader, its constants and types, the entry points, the cost.
    fn launches(&self) -> Vec<Launch>;
    /// Runs every case of `sizes` on `device` against the reference.
    ///
    /// # Errors
    /// What a launch reports; disagreement is in the result, not an error.
    fn check(&self, device: &Device, sizes: Sizes, seed: u32) -> Result<check::Outcome, KernelError>;
    /// Runs `count` random launches on `device` against the reference, the first of them with `seed`.
    ///
    /// # Errors
    /// As [`AnyKernel::check`]; the error names the draw's own seed.
    fn draws(&self, device: &Device, count: u32, seed: u32) -> Result<check::Outcome, KernelError>;
    /// How long the largest launch of its cases that runs `shader` takes, of several the shortest; none where the device
    /// can't run that shader.
    ///
    /// # Errors
    /// What a launch reports.
    fn time(&self, device: &Device, shader: &Shader, seed: u32) -> Result<Option<Time>, KernelError>;
}

/// What one case would launch.
pub struct Launch {
    /// The shader.
    pub shader: Shader,
    /// Values of the shader's constants.
    pub constants: Vec<(&'static str, u32)>,
    /// Types of its aliases.
    pub types: Vec<(&'static str, &'static str)>,
    /// Entry points.
    pub entries: Vec<&'static str>,
    /// FLOP and bytes.
    pub cost: Cost,
}

struct Entry<K>(std::marker::PhantomData<fn() -> K>);

impl<K: Kernel> AnyKernel for Entry<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }
    fn shaders(&self) -> &'static [Shader] {
        K::SHADERS
    }
    fn bindings(&self) -> (&'static [&'static str], &'static [&'static str]) {
        (K::INPUTS, K::OUTPUTS)
    }
    fn params(&self) -> &'static [(&'static str, &'static str)] {
        K::Params::FIELDS
    }
    fn launches(&self) -> Vec<Launch> {
        let launch = |case: Case<K::Params>| Launch {
            shader: K::SHADERS[K::tier(&case.params)],
            constants: K::constants(&case.params),
            types: K::types(&case.params),
            entries: K::passes(&case.params).iter().map(|pass| pass.entry).collect(),
            cost: K::cost(&case.params),
        };
        K::cases(Sizes::Odd, 1).into_iter().map(launch).collect()
    }
    fn check(&self, device: &Device, sizes: Sizes, seed: u32) -> Result<check::Outcome, KernelError> {
        check::kernel::<K>(device, sizes, seed)
    }
    fn draws(&self, device: &Device, count: u32, seed: u32) -> Result<check::Outcome, KernelError> {
        check::draws::<K>(device, count, seed)
    }
    fn time(&self, device: &Device, shader: &Shader, seed: u32) -> Result<Option<Time>, KernelError> {
        time::kernel::<K>(device, shader, seed)
    }
}

macro_rules! registry {
    ($($module:ident :: $kernel:ident),* $(,)?) => {
        $(pub use crate::$module::$kernel;)*
        /// All kernels.
        pub const ALL: &[&dyn AnyKernel] = &[$(&Entry::<$kernel>(std::marker::PhantomData)),*];

        #[cfg(test)]
        #[test]
        fn dispatches_follow_from_whole_numbers() {
            $(tests::ignores_floats::<$kernel>();)*
        }
    };
}

registry!(
    activation::Activate,
    activation_backward::ActivationBackward,
    adamw::AdamW,
    add::Add,
    attention::Attention,
    attention_backward::AttentionBackward,
    bias::Bias,
    columns::Columns,
    cross_entropy::CrossEntropy,
    cross_entropy_part::CrossEntropyPart,
    embedding::Embedding,
    embedding_backward::EmbeddingBackward,
    fill::Fill,
    fma::Fma,
    gate_merge::GateMerge,
    gate_merge_backward::GateMergeBackward,
    glu::Glu,
    glu_backward::GluBackward,
    matmul::Matmul,
    mma::Mma,
    multiply::Multiply,
    rms_norm::RmsNorm,
    rms_norm_dw::RmsNormDw,
    rms_norm_dx::RmsNormDx,
    rotary::Rotary,
    scale::Scale,
    softmax::Softmax,
    softmax_backward::SoftmaxBackward,
    sum_of_squares::SumOfSquares,
    sum_rows::SumRows,
);

#[cfg(test)]
mod tests {
    use super::*;

    /// The launches of `K` are the same dispatches whatever its f32 parameters are.
    pub(super) fn ignores_floats<K: Kernel>() {
        for case in K::cases(Sizes::Odd, 1) {
            for float in [0.0_f32, -3.5, 1e9, f32::NAN] {
                let mut other = case.params;
                let words = bytemuck::bytes_of_mut(&mut other).chunks_exact_mut(4).zip(K::Params::FIELDS);
                words
                    .filter(|(_, (_, ty))| *ty == "f32")
                    .for_each(|(word, _)| word.copy_from_slice(&float.to_ne_bytes()));
                let dispatches = |p: &K::Params| (K::tier(p), K::constants(p), K::types(p), K::passes(p));
                assert_eq!(dispatches(&other), dispatches(&case.params), "{} {:?}", K::NAME, K::Params::FIELDS);
            }
        }
    }
}
