//! y = value, everywhere: gradients start at zero. Moves 1 unit.

use crate::{Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, launch};

crate::kernel::params! {
    /// Parameters of [`Fill`].
    pub struct Params {
        /// Elements.
        pub count: u32,
        /// What each becomes.
        pub value: f32,
    }
}

/// The kernel.
pub struct Fill;

/// y = value.
///
/// # Errors
/// As [`crate::launch`].
pub fn fill(device: &Device, value: f32, y: &View) -> Result<(), KernelError> {
    launch::<Fill>(device, &Params { count: y.len as u32, value }, &[], &[y])
}

impl Kernel for Fill {
    type Params = Params;
    const NAME: &'static str = "fill";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::FILL];
    const INPUTS: &'static [&'static str] = &[];
    const OUTPUTS: &'static [&'static str] = &["y"];

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
        Cost { flop: 0.0, bytes: 4.0 * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, _: u32) -> Vec<Case<Params>> {
        sizes.pick([1, 255, 40_001], [16_777_300]).into_iter().map(|n| case(n, -1.5)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(draw.count(), draw.one_of(&[0.0, -1.5, 1e-30, f32::MAX]))
    }
}

fn case(n: usize, value: f32) -> Case<Params> {
    Case { params: Params { count: n as u32, value }, inputs: vec![], outputs: vec![Data::Out(n)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut y = [0.0; 2];
        Fill::reference(&Params { count: 2, value: 3.0 }, Bindings::new(vec![], vec![&mut y]));
        assert_eq!(y, [3.0, 3.0]);
    }
}
