//! c = a + b, element by element: residual connections, and gradients that meet. Moves 3 units.

use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

/// Elements that one task of the CPU body works on: enough to be worth a task, few enough to spread.
pub(crate) const TASK: usize = 16_384;

crate::kernel::params! {
    /// Parameters of [`Add`].
    pub struct Params {
        /// Elements.
        pub count: u32,
    }
}

/// The kernel.
pub struct Add;

/// c = a + b.
///
/// # Errors
/// As [`crate::launch`].
pub fn add(device: &Device, a: &View, b: &View, c: &View) -> Result<(), KernelError> {
    launch::<Add>(device, &Params { count: c.len as u32 }, &[a, b], &[c])
}

impl Kernel for Add {
    type Params = Params;
    const NAME: &'static str = "add";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::ADD];
    const INPUTS: &'static [&'static str] = &["a", "b"];
    const OUTPUTS: &'static [&'static str] = &["c"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.count as usize).div_ceil(256))]
    }

    fn cpu(_: &Params, bindings: Bindings<f32>) {
        let ([a, b], [c]) = bindings.take();
        c.par_chunks_mut(TASK).zip(a.par_chunks(TASK)).zip(b.par_chunks(TASK)).for_each(|((c, a), b)| {
            sums(c, a, b);
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([a, b], [c]) = bindings.take();
        for i in 0..p.count as usize {
            c[i] = a[i] + b[i];
        }
    }

    fn cost(p: &Params) -> Cost {
        Cost { flop: f64::from(p.count), bytes: 12.0 * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        sizes.pick([1, 255, 257, 40_001], [16_777_300]).into_iter().map(|n| case(n, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(draw.count(), draw.seed())
    }
}

fn case(n: usize, seed: u32) -> Case<Params> {
    Case {
        params: Params { count: n as u32 },
        inputs: vec![Data::F32(fill(seed, n, 1.0)), Data::F32(fill(seed + 1, n, 1.0))],
        outputs: vec![Data::Out(n)],
    }
}

simd! {
    /// c = a + b.
    pub(crate) fn sums(c: &mut [f32], a: &[f32], b: &[f32]) {
        c.iter_mut().zip(a).zip(b).for_each(|((c, a), b)| *c = a + b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut c = [0.0; 2];
        Add::reference(&Params { count: 2 }, Bindings::new(vec![&[1.0, 2.0], &[10.0, 20.0]], vec![&mut c]));
        assert_eq!(c, [11.0, 22.0]);
    }
}
