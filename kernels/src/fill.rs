//! y = value, everywhere: gradients start at zero. Moves 1 unit.

use crate::dtype::LEAST_NORMAL;
use crate::{Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, launch};

crate::kernel::params! {
    /// Parameters of [`Fill`].
    pub struct Params {
        /// Elements.
        pub count: u32,
        /// What each becomes.
        pub value: f32,
        /// How y is stored: [`Dtype::code`].
        pub dtype: u32,
    }
}

/// The kernel.
pub struct Fill;

/// y = value.
///
/// # Errors
/// As [`crate::launch`].
pub fn fill(device: &Device, value: f32, y: &View) -> Result<(), KernelError> {
    launch::<Fill>(device, &Params { count: y.len as u32, value, dtype: y.dtype().code() }, &[], &[y])
}

impl Kernel for Fill {
    type Params = Params;
    const NAME: &'static str = "fill";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::FILL];
    const INPUTS: &'static [&'static str] = &[];
    const OUTPUTS: &'static [&'static str] = &["y"];

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        vec![("Stored", Self::dtype(p, 0).wgsl()[0])]
    }

    fn dtype(p: &Params, _: usize) -> Dtype {
        Dtype::activation(p.dtype)
    }

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.count as usize).div_ceil(256))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([], [y]) = bindings.take();
        y.fill(p.value);
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([], [y]) = bindings.take();
        for i in 0..p.count as usize {
            y[i] = f64::from(p.value);
        }
    }

    fn cost(p: &Params) -> Cost {
        Cost { flop: 0.0, bytes: Self::dtype(p, 0).bytes() * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, _: u32) -> Vec<Case<Params>> {
        let cases = sizes.pick([1, 255, 40_001], [16_777_300]).into_iter().map(|n| case(n, -1.5)).collect();
        Case::and(cases, sizes, &[|p| Params { dtype: Dtype::F16.code(), ..p }])
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (count, dtype) = (draw.count(), draw.stored());
        // The ends of what is stored so.
        let [least, greatest] = if dtype == Dtype::F16.code() { [LEAST_NORMAL, 65_504.0] } else { [1e-30, f32::MAX] };
        case(count, draw.one_of(&[0.0, -1.5, least, greatest])).with(|p| Params { dtype, ..p })
    }
}

fn case(n: usize, value: f32) -> Case<Params> {
    let params = Params { count: n as u32, value, dtype: Dtype::F32.code() };
    Case { params, inputs: vec![], outputs: vec![Data::Out(n)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut y = [0.0; 2];
        Fill::reference(
            &Params { count: 2, value: 3.0, dtype: Dtype::F32.code() },
            Bindings::new(vec![], vec![&mut y]),
        );
        assert_eq!(y, [3.0, 3.0]);
    }
}
