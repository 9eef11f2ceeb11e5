//! The activations of feed-forward layers, h = f(x), element by element; x and h `[tokens, hidden]`. Moves 2 units.
//!
//! SiLU x sigmoid(x); GELU x Phi(x), Phi the standard normal distribution (Hendrycks and Gimpel, arXiv 1606.08415); its
//! approximation by tanh, x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), which is x sigmoid(2 u); ReLU max(x, 0);
//! tanh, which also bends logits.

use crate::add::TASK;
pub(crate) use crate::simd::tanh;
use crate::simd::{exp, sigmoid, simd};
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

/// Which activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Activation {
    /// x sigmoid(x).
    Silu = 0,
    /// GELU by tanh.
    GeluTanh = 1,
    /// x Phi(x).
    Gelu = 2,
    /// max(x, 0).
    Relu = 3,
    /// tanh(x).
    Tanh = 4,
}

impl Activation {
    /// All of them, by their numbers in the WGSL.
    pub const ALL: [Self; 5] = [Self::Silu, Self::GeluTanh, Self::Gelu, Self::Relu, Self::Tanh];

    /// f(x).
    pub(crate) fn value(self, x: f64) -> f64 {
        match self {
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::GeluTanh => x / (1.0 + (-2.0 * tanh_argument(x)).exp()),
            Self::Gelu => x * normal64(x),
            Self::Relu => x.max(0.0),
            Self::Tanh => x.tanh(),
        }
    }

    /// f'(x).
    pub(crate) fn slope(self, x: f64) -> f64 {
        match self {
            Self::Silu => {
                let s = 1.0 / (1.0 + (-x).exp());
                s * (1.0 + x * (1.0 - s))
            }
            Self::GeluTanh => {
                // (1 + tanh(u)) / 2 = sigmoid(2 u), of which digits are left far out.
                let s = 1.0 / (1.0 + (-2.0 * tanh_argument(x)).exp());
                let du = (2.0 / std::f64::consts::PI).sqrt() * (1.0 + 3.0 * 0.044_715 * x * x);
                s * (1.0 + 2.0 * x * (1.0 - s) * du)
            }
            Self::Gelu => normal64(x) + x * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt(),
            Self::Relu => f64::from(u8::from(x > 0.0)),
            Self::Tanh => x.cosh().powi(-2),
        }
    }
}

fn tanh_argument(x: f64) -> f64 {
    (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))
}

/// Phi(x) = erfc(-x / sqrt 2) / 2.
fn normal64(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// 2 sqrt(2 / pi).
const TWICE: f32 = 1.595_769_2;

#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

#[inline(always)]
pub(crate) fn gelu_tanh(x: f32) -> f32 {
    x * sigmoid(TWICE * (x + 0.044_715 * x * x * x))
}

#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    x * normal(x)
}

#[inline(always)]
pub(crate) fn relu(x: f32) -> f32 {
    x.max(0.0)
}

/// Phi(x) to 4e-6 of itself, however far out: for x < 0 it is e^(-x^2 / 2) times a polynomial in 1 / (1 + c |x|), fitted by least
/// squares of relative errors; 1 less that for x > 0.
#[inline(always)]
fn normal(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.304_055_92 * x.abs());
    let low = ((0.036_886_964 * t - 0.155_331_75) * t + 0.192_117_32) * t - 0.043_121_185;
    let p = ((((low * t + 0.123_567_55) * t + 0.102_428_65) * t + 0.122_195_72) * t + 0.121_256_75) * t;
    let upper = p * exp(-0.5 * x * x);
    if x < 0.0 { upper } else { 1.0 - upper }
}

#[inline(always)]
pub(crate) fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s * (1.0 + x * (1.0 - s))
}

#[inline(always)]
pub(crate) fn gelu_tanh_slope(x: f32) -> f32 {
    let s = sigmoid(TWICE * (x + 0.044_715 * x * x * x));
    s * (1.0 + x * (1.0 - s) * TWICE * (1.0 + 0.134_145 * x * x))
}

#[inline(always)]
pub(crate) fn gelu_slope(x: f32) -> f32 {
    normal(x) + x * 0.398_942_3 * exp(-0.5 * x * x)
}

#[inline(always)]
pub(crate) fn relu_slope(x: f32) -> f32 {
    if x > 0.0 { 1.0 } else { 0.0 }
}

#[inline(always)]
pub(crate) fn tanh_slope(x: f32) -> f32 {
    // 1 - tanh^2 has no digits left where tanh is almost 1.
    let e = exp(-2.0 * x.abs());
    4.0 * e / ((1.0 + e) * (1.0 + e))
}

/// `$body` with `$f` and `$slope` the functions of an [`Activation`], each compiled into its own loop.
macro_rules! with_functions {
    ($activation:expr, |$f:pat_param, $slope:pat_param| $body:expr) => {{
        use $crate::activation as all;
        use $crate::activation::Activation;
        match $activation {
            Activation::Silu => {
                let ($f, $slope) = (all::silu, all::silu_slope);
                $body
            }
            Activation::GeluTanh => {
                let ($f, $slope) = (all::gelu_tanh, all::gelu_tanh_slope);
                $body
            }
            Activation::Gelu => {
                let ($f, $slope) = (all::gelu, all::gelu_slope);
                $body
            }
            Activation::Relu => {
                let ($f, $slope) = (all::relu, all::relu_slope);
                $body
            }
            Activation::Tanh => {
                let ($f, $slope) = (all::tanh, all::tanh_slope);
                $body
            }
        }
    }};
}
pub(crate) use with_functions;

crate::kernel::params! {
    /// Parameters of the kernels that have an activation.
    pub struct Params {
        /// Elements.
        pub count: u32,
        /// Number of the [`Activation`]; in the WGSL a constant of the pipeline.
        pub activation: u32,
        /// How all operands are stored: [`Dtype::code`].
        pub dtype: u32,
    }
}

impl Params {
    pub(crate) fn new(count: usize, activation: Activation) -> Self {
        Self { count: count as u32, activation: activation as u32, dtype: Dtype::F32.code() }
    }

    /// Those of a launch that writes `output`, and reads operands stored like that.
    pub(crate) fn of(output: &View, activation: Activation) -> Self {
        Self { dtype: output.dtype().code(), ..Self::new(output.len, activation) }
    }

    /// How all operands are stored.
    pub(crate) fn dtype(&self) -> Dtype {
        Dtype::activation(self.dtype)
    }

    /// The shader's types.
    pub(crate) fn types(&self) -> Vec<(&'static str, &'static str)> {
        vec![("Stored", self.dtype().wgsl()[0])]
    }

    pub(crate) fn activation(&self) -> Activation {
        Activation::ALL[self.activation as usize]
    }

    /// The shader's constants.
    pub(crate) fn constants(&self) -> Vec<(&'static str, u32)> {
        vec![("ACTIVATION", self.activation)]
    }

    /// Cases of what `case` makes of each activation at odd sizes, in f32 and f16, or of the usual one at a large size.
    pub(crate) fn cases(sizes: Sizes, case: impl Fn(Self) -> Case<Self>) -> Vec<Case<Self>> {
        let every = |count: usize| Activation::ALL.map(|activation| Self::new(count, activation));
        let mut odd = [1, 255, 257].map(|count| Self::new(count, Activation::Silu)).to_vec();
        odd.extend(every(40_001));
        let cases = sizes.pick(odd, [Self::new(16_777_300, Activation::Silu)]).into_iter().map(case).collect();
        Case::and(cases, sizes, &[|p| Self { dtype: Dtype::F16.code(), ..p }])
    }

    /// Any activation at any size, stored either way.
    pub(crate) fn draw(draw: &mut Draw) -> Self {
        Self { dtype: draw.stored(), ..Self::new(draw.count(), draw.one_of(&Activation::ALL)) }
    }
}

/// The kernel.
pub struct Activate;

/// h = f(x).
///
/// # Errors
/// As [`crate::launch`].
pub fn activation(device: &Device, activation: Activation, x: &View, h: &View) -> Result<(), KernelError> {
    launch::<Activate>(device, &Params::of(h, activation), &[x], &[h])
}

impl Kernel for Activate {
    type Params = Params;
    const NAME: &'static str = "activation";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::ACTIVATION];
    const INPUTS: &'static [&'static str] = &["x"];
    const OUTPUTS: &'static [&'static str] = &["h"];

    fn constants(p: &Params) -> Vec<(&'static str, u32)> {
        p.constants()
    }

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        p.types()
    }

    fn dtype(p: &Params, _: usize) -> Dtype {
        p.dtype()
    }

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.count as usize).div_ceil(256))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        fn apply(x: &[f32], h: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
            h.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(h, x)| {
                chunk(h, x, &f);
            });
        }
        let ([x], [h]) = bindings.take();
        with_functions!(p.activation(), |f, _| apply(x, h, f))
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x], [h]) = bindings.take();
        for i in 0..p.count as usize {
            h[i] = p.activation().value(x[i]);
        }
    }

    fn cost(p: &Params) -> Cost {
        Cost { flop: 5.0 * f64::from(p.count), bytes: 2.0 * p.dtype().bytes() * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        Params::cases(sizes, |params| case(params, seed))
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(Params::draw(draw), draw.seed())
    }
}

fn case(params: Params, seed: u32) -> Case<Params> {
    Case {
        params,
        inputs: vec![Data::F32(fill(seed, params.count as usize, 8.0))],
        outputs: vec![Data::Out(params.count as usize)],
    }
}

simd! {
    fn chunk<F: Fn(f32) -> f32>(h: &mut [f32], x: &[f32], f: &F) {
        h.iter_mut().zip(x).for_each(|(h, &x)| *h = f(x));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_keep_their_digits() {
        for i in -1_100..=1_100 {
            let x = 0.01 * i as f32;
            let close = |got: f32, want: f64| assert!((f64::from(got) / want - 1.0).abs() < 1e-5, "{x}: {got} {want}");
            close(normal(x), normal64(x.into()));
            close(tanh_slope(x), 1.0 / f64::from(x).cosh().powi(2));
        }
        assert_eq!([normal(-1e9), normal(1e9), tanh_slope(-1e9), tanh_slope(1e9)], [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn by_hand() {
        // silu(ln 3) = ln 3 * 3/4; Phi(1) = 0.8413447461; tanh(u(1)) by hand 0.6823840; and each slope by differences.
        let close = |got: f64, want: f64| approx::assert_relative_eq!(got, want, epsilon = 1e-7);
        close(Activation::Silu.value(3f64.ln()), 0.75 * 3f64.ln());
        close(Activation::Gelu.value(1.0), 0.841_344_746_1);
        close(Activation::GeluTanh.value(1.0), 0.841_191_990_6);
        close(Activation::Relu.value(-2.0), 0.0);
        for activation in Activation::ALL {
            for x in [-3.0, -0.4, 0.3, 2.0] {
                let difference = activation.value(x + 1e-6) - activation.value(x - 1e-6);
                approx::assert_relative_eq!(activation.slope(x), difference / 2e-6, epsilon = 1e-7);
            }
        }
        // Far out, where 1 - tanh has no digits left, by their leading terms.
        approx::assert_relative_eq!(Activation::Tanh.slope(20.0), 4.0 * (-40.0f64).exp(), max_relative = 1e-12);
        let (x, u) = (-8.0f64, tanh_argument(-8.0));
        let leading = (2.0 * u).exp() * (1.0 + 2.0 * x * 0.797_884_560_8 * (1.0 + 0.134_145 * x * x));
        approx::assert_relative_eq!(Activation::GeluTanh.slope(x), leading, max_relative = 1e-9);
    }
}
