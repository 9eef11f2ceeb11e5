//! c = a + b, element by element: residual connections, and gradients that meet. Moves 3 units.

use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

/// Elements that one task of the CPU body works on: enough to be worth a task, few enough to spread.
pub(crate) const TASK: usize = 16_384;

crate::kernel::params! {
    /// Parameters of [`Add`].
    pub struct Params {
        /// Elements.
        pub count: u32,
        /// How a and c are stored: [`Dtype::code`].
        pub dtype: u32,
        /// How b is.
        pub b_dtype: u32,
    }
}

/// The kernel.
pub struct Add;

/// c = a + b.
///
/// # Errors
/// As [`crate::launch`].
pub fn add(device: &Device, a: &View, b: &View, c: &View) -> Result<(), KernelError> {
    let params = Params { count: c.len as u32, dtype: a.dtype().code(), b_dtype: b.dtype().code() };
    launch::<Add>(device, &params, &[a, b], &[c])
}

impl Kernel for Add {
    type Params = Params;
    const NAME: &'static str = "add";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::ADD];
    const INPUTS: &'static [&'static str] = &["a", "b"];
    const OUTPUTS: &'static [&'static str] = &["c"];

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        vec![("Stored", Self::dtype(p, 0).wgsl()[0]), ("StoredB", Self::dtype(p, 1).wgsl()[0])]
    }

    fn dtype(p: &Params, binding: usize) -> Dtype {
        Dtype::activation(if binding == 1 { p.b_dtype } else { p.dtype })
    }

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
        let bytes: f64 = (0..3).map(|binding| Self::dtype(p, binding).bytes()).sum();
        Cost { flop: f64::from(p.count), bytes: bytes * f64::from(p.count) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let cases = sizes.pick([1, 255, 257, 40_001], [16_777_300]).into_iter().map(|n| case(n, seed)).collect();
        // A branch that is added to the stream, and what meets among branches.
        let branch = |p| Params { b_dtype: Dtype::F16.code(), ..p };
        Case::and(cases, sizes, &[branch, |p| Params { dtype: Dtype::F16.code(), b_dtype: Dtype::F16.code(), ..p }])
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(draw.count(), draw.seed()).with(|p| Params { dtype: draw.stored(), b_dtype: draw.stored(), ..p })
    }
}

fn case(n: usize, seed: u32) -> Case<Params> {
    Case {
        params: Params { count: n as u32, dtype: Dtype::F32.code(), b_dtype: Dtype::F32.code() },
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
        let params = Params { count: 2, dtype: Dtype::F32.code(), b_dtype: Dtype::F32.code() };
        Add::reference(&params, Bindings::new(vec![&[1.0, 2.0], &[10.0, 20.0]], vec![&mut c]));
        assert_eq!(c, [11.0, 22.0]);
    }
}
