//! y = steps (a0 + a1) (b0 + b1 + b2 + b3), of square matrices: what `steps` steps of s <- s + a b make of s = 0, summed over eight
//! sums, each of another pair of factors. A subgroup holds all of them in registers, chains of cooperative multiply-adds that wait
//! for no other: with steps enough, this is the most that a device multiplies so.
//!
//! a `[2, size, size]`, b `[4, size, size]`, y `[workgroups, 8, size, size]`, the same for each subgroup of each workgroup. Factors are
//! rounded to f16, sums are f32. Vulkan alone runs it, where the adapter lists matrices of that size (8 or 16).

use crate::cooperative::matrices;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

/// Subgroups of a workgroup, and sums of each.
const SUBGROUPS: usize = 8;
const SUMS: usize = 8;
/// Factors on either side.
const FACTORS: [usize; 2] = [2, 4];

crate::kernel::params! {
    /// Parameters of [`Mma`].
    pub struct Params {
        /// Steps.
        pub steps: u32,
        /// Rows and columns of a matrix: 8 or 16.
        pub size: u32,
        /// Workgroups, at the most 65,535.
        pub workgroups: u32,
    }
}

impl Params {
    /// Elements of a, b and y.
    pub fn elements(&self) -> [usize; 3] {
        let matrix = (self.size * self.size) as usize;
        [FACTORS[0] * matrix, FACTORS[1] * matrix, self.workgroups as usize * SUBGROUPS * matrix]
    }
}

/// The kernel.
pub struct Mma;

/// `steps` steps of s <- s + a b from 0.
///
/// # Errors
/// As [`crate::launch`]; a GPU without cooperative matrices of that size.
pub fn mma(device: &Device, params: Params, [a, b]: [&View; 2], y: &View) -> Result<(), KernelError> {
    launch::<Mma>(device, &params, &[a, b], &[y])
}

impl Kernel for Mma {
    type Params = Params;
    const NAME: &'static str = "mma";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::MMA];
    const INPUTS: &'static [&'static str] = &["a", "b"];
    const OUTPUTS: &'static [&'static str] = &["y"];

    fn constants(p: &Params) -> Vec<(&'static str, u32)> {
        vec![("SIZE", p.size)]
    }

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        matrices(p.size).to_vec()
    }

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass { entry: "main", groups: [p.workgroups, 1, 1] }]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([a, b], [y]) = bindings.take();
        let size = p.size as usize;
        // All subgroups do the same.
        let sum = |factors: &[f32]| {
            let (first, rest) = factors.split_at(size * size);
            let mut sum = first.to_vec();
            rest.chunks(size * size).for_each(|factor| sum.iter_mut().zip(factor).for_each(|(s, f)| *s += f));
            sum
        };
        let (a, b, mut once) = (sum(a), sum(b), vec![0.0; size * size]);
        for (row, a) in once.chunks_mut(size).zip(a.chunks(size)) {
            for (b, a) in b.chunks(size).zip(a) {
                row.iter_mut().zip(b).for_each(|(y, b)| *y += p.steps as f32 * a * b);
            }
        }
        y.par_chunks_mut(size * size).for_each(|y| y.copy_from_slice(&once));
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([a, b], [y]) = bindings.take();
        let size = p.size as usize;
        let matrix = size * size;
        for (i, y) in y.iter_mut().enumerate() {
            let (row, column) = (i % matrix / size, i % size);
            let product =
                |a: &[f64], b: &[f64]| (0..size).map(|x| a[row * size + x] * b[x * size + column]).sum::<f64>();
            let products = a.chunks(matrix).flat_map(|a| b.chunks(matrix).map(move |b| product(a, b)));
            *y = f64::from(p.steps) * products.sum::<f64>();
        }
    }

    fn cost(p: &Params) -> Cost {
        let subgroups = f64::from(p.workgroups) * SUBGROUPS as f64;
        let flop = 2.0 * f64::from(p.size).powi(3) * f64::from(p.steps) * SUMS as f64 * subgroups;
        Cost { flop, bytes: 4.0 * p.elements().iter().sum::<usize>() as f64 }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, 1), (3, 0), (5, 37)];
        let shapes = sizes.pick(odd, [(300, 50)]);
        [8, 16].into_iter().flat_map(|size| shapes.iter().map(move |&(n, steps)| case(size, n, steps, seed))).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        case(draw.one_of(&[8, 16]), draw.size(20) as u32, draw.below(40) as u32, draw.seed())
    }
}

fn case(size: u32, workgroups: u32, steps: u32, seed: u32) -> Case<Params> {
    let params = Params { steps, size, workgroups };
    let [a, b, y] = params.elements();
    // Eighths, of which f16 holds each and f32 all sums, in whatever order a device adds them.
    let eighths = |seed, count| fill(seed, count, 1.0).into_iter().map(|x| (8.0 * x).round() / 8.0).collect();
    Case {
        params,
        inputs: vec![Data::F32(eighths(seed, a)), Data::F32(eighths(seed + 1, b))],
        outputs: vec![Data::Out(y)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // (1 + 2) (1 + 10 + 100 + 1000) is 3333, three times.
        let params = Params { steps: 3, size: 1, workgroups: 1 };
        let mut y = [0.0; 8];
        Mma::reference(&params, Bindings::new(vec![&[1.0, 2.0], &[1.0, 10.0, 100.0, 1000.0]], vec![&mut y]));
        assert_eq!(y, [9_999.0; 8]);
        // Rows of a by columns of b: [1 2; 3 4] [0 1; 0 0] in the first pair, nothing in the others.
        let params = Params { size: 2, steps: 1, ..params };
        let (mut a, mut b, mut y) = ([0.0; 8], [0.0; 16], [9.0; 32]);
        a[..4].copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
        b[1] = 1.0;
        Mma::reference(&params, Bindings::new(vec![&a, &b], vec![&mut y]));
        assert_eq!(y[28..], [0.0, 1.0, 0.0, 3.0]);
    }
}
