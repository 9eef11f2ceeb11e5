//! c = f(alpha a b + bias + residual (+ c)), batched: every linear layer, forward and backward.
//!
//! a `[batch, m, k]`, b `[batch, k, n]` through strides, c `[batch, m, n]` row-major. A transposed operand is the same
//! buffer with its strides swapped, so y = x W^T, dx = dy W and dW += dy^T x are this one kernel. The CPU body is the
//! `gemm` crate's kernel for f32. b, which is the weight in the first two, may be stored as halves; in mixed precision a and c
//! may be stored as f16. On a GPU there are several shaders, of which shapes and the device choose one: [`Tier`]. What is added, and the
//! activation f, are an [epilogue]: bias `[n]`, residual like c.

mod cases;
mod tier;

pub use tier::Tier;

use crate::dtype::as_halves;
use crate::epilogue::{self, Ending, Epilogue};
use crate::gemm::{Halves, Matrix, gemm_halves, gemm_parallel};
use crate::narrow::{MOST_ROWS, MOST_TERMS, Rows, few_columns, few_terms, narrow};
use crate::strips::Strip;
use crate::{
    Bindings, Capabilities, Case, Cost, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, Tuning, View, launch,
    sum_rows::sum_rows_to,
};

/// What may become of the operands on the way to their product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Nothing.
    F32,
    /// What is f32 of them is rounded to f16 by a GPU that has a faster way then, and in main memory; what is past 65,504 becomes
    /// infinite. Sums are f32.
    Half,
}

impl Precision {
    /// Its number in launches.
    pub fn code(self) -> u32 {
        self as u32
    }
}

crate::kernel::params! {
    /// Parameters of [`Matmul`].
    pub struct Params {
        /// Independent products.
        pub batch: u32,
        /// Rows of c.
        pub m: u32,
        /// Columns of c.
        pub n: u32,
        /// Terms of each sum.
        pub k: u32,
        /// Terms of each sum of the last product, which may have fewer.
        pub k_last: u32,
        /// Elements from one product's a to the next's.
        pub a_batch: u32,
        /// Elements from one row of a to the next.
        pub a_row: u32,
        /// Elements from one column of a to the next.
        pub a_column: u32,
        /// Elements from one product's b to the next's.
        pub b_batch: u32,
        /// Elements from one row of b to the next.
        pub b_row: u32,
        /// Elements from one column of b to the next.
        pub b_column: u32,
        /// Factor of the product.
        pub alpha: f32,
        /// 1 to add to what `c` holds.
        pub accumulate: u32,
        /// How b is stored: [`Dtype::code`].
        pub dtype: u32,
        /// How the product is computed on a GPU: [`Tier::code`]; [`matmul`] chooses it.
        pub tier: u32,
        /// What [`matmul`] may choose: [`Precision::code`].
        pub precision: u32,
        /// What becomes of the product: [`Epilogue`]'s number; in the WGSL constants of the pipeline.
        pub epilogue: u32,
        /// How a is stored: [`Dtype::code`].
        pub a_dtype: u32,
        /// How c is.
        pub c_dtype: u32,
    }
}

impl Params {
    /// c `[batch, m, n]` = a b, with a stored `[batch, m, k]`, or `[batch, k, m]` if `transpose_a`, and b stored
    /// `[batch, k, n]`, or `[batch, n, k]` if `transpose_b`.
    pub fn new(batch: usize, m: usize, n: usize, k: usize, transpose_a: bool, transpose_b: bool) -> Self {
        let (m, n, k) = (m as u32, n as u32, k as u32);
        let (a_row, a_column) = if transpose_a { (1, m) } else { (k, 1) };
        let (b_row, b_column) = if transpose_b { (1, k) } else { (n, 1) };
        Self {
            batch: batch as u32,
            m,
            n,
            k,
            k_last: k,
            a_batch: if batch == 1 { 0 } else { m * k },
            a_row,
            a_column,
            b_batch: if batch == 1 { 0 } else { k * n },
            b_row,
            b_column,
            alpha: 1.0,
            accumulate: 0,
            dtype: Dtype::F32.code(),
            tier: Tier::Small.code(),
            precision: Precision::F32.code(),
            epilogue: 0,
            a_dtype: Dtype::F32.code(),
            c_dtype: Dtype::F32.code(),
        }
    }

    /// Terms of each sum of product number `i`.
    fn terms(&self, i: usize) -> usize {
        if i + 1 == self.batch as usize { self.k_last as usize } else { self.k as usize }
    }
}

/// The kernel.
pub struct Matmul;

/// c (+)= alpha a b, with all three as they are stored, and what the epilogue makes of that.
///
/// # Errors
/// As [`crate::launch`].
pub fn matmul(
    device: &Device,
    params: Params,
    [a, b]: [&View; 2],
    epilogue: &Epilogue,
    c: &View,
) -> Result<(), KernelError> {
    let [bias, residual] = epilogue.views(a);
    let [a_dtype, dtype, c_dtype] = [a, b, c].map(|view| view.dtype().code());
    let params = Params { a_dtype, dtype, c_dtype, epilogue: epilogue.code(), ..params };
    let whole = |params: &Params, c: &View| launch::<Matmul>(device, params, &[a, b, bias, residual], &[c]);
    if !device.is_gpu() {
        return whole(&params, c);
    }
    let (params, parts) = way(&params, device.capabilities(), &device.tuning());
    if parts == 1 {
        return whole(&params, c);
    }
    let keep = params.accumulate != 0;
    let (params, parts) = in_parts(&params, parts);
    let params = Params { c_dtype: Dtype::F32.code(), ..params };
    let sums = View::whole(device.alloc(parts * c.len)?);
    // The parts have no epilogue: their sum has.
    launch::<Matmul>(device, &params, &[a, b, a, a], &[&sums])?;
    sum_rows_to(device, &sums, c, keep, params.n as usize, epilogue)
}

/// How a GPU computes a product: its tier, and the parts that its sums are made in.
pub(crate) fn way(p: &Params, device: Capabilities, tuning: &Tuning) -> (Params, u32) {
    let tier = Tier::choose(p, device, tuning);
    let params = Params { tier: tier.code(), ..*p };
    (params, tier::parts(&params, tier, tuning))
}

/// A product as a batch of about `parts`, each over as many of its terms, and how many they are.
fn in_parts(p: &Params, parts: u32) -> (Params, usize) {
    // Whole slices of every tier, and whole vec4s.
    let k = p.k.div_ceil(parts).next_multiple_of(64).min(p.k);
    let batch = p.k.div_ceil(k);
    let (a_batch, b_batch, k_last) = (k * p.a_column, k * p.b_row, p.k - (batch - 1) * k);
    (Params { batch, k, k_last, a_batch, b_batch, accumulate: 0, epilogue: 0, ..*p }, batch as usize)
}

impl Kernel for Matmul {
    type Params = Params;
    const NAME: &'static str = "matmul";
    const SHADERS: &'static [mode_shaders::Shader] = &[
        mode_shaders::MATMUL,
        mode_shaders::MATMUL_NARROW,
        mode_shaders::MATMUL_COOPERATIVE,
        mode_shaders::MATMUL_BROADCAST,
    ];
    const INPUTS: &'static [&'static str] = &["a", "b", "bias", "residual"];
    const OUTPUTS: &'static [&'static str] = &["c"];

    fn constants(p: &Params) -> Vec<(&'static str, u32)> {
        [Tier::of(p).constants(p), epilogue::constants(p.epilogue).to_vec()].concat()
    }

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        Tier::of(p).types(p)
    }

    fn tier(p: &Params) -> usize {
        Tier::of(p).shader()
    }

    fn dtype(p: &Params, binding: usize) -> Dtype {
        match binding {
            0 => Dtype::activation(p.a_dtype),
            1 => Dtype::from_code(p.dtype),
            2 | 3 => epilogue::dtype(p.epilogue, binding - 2, [p.a_dtype, p.c_dtype]),
            _ => Dtype::activation(p.c_dtype),
        }
    }

    fn reads_halves(p: &Params, binding: usize) -> bool {
        binding == 1 || matches!(binding, 2 | 3) && !epilogue::has(p.epilogue, binding - 2)
    }

    fn rounds(p: &Params, input: usize) -> bool {
        input < 2 && p.precision == Precision::Half.code() && Self::dtype(p, input) == Dtype::F32
    }

    fn passes(p: &Params) -> Vec<Pass> {
        Tier::of(p).passes(p)
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([a, b, bias, residual], [c]) = bindings.take();
        let (m, n) = (p.m as usize, p.n as usize);
        for (i, c) in c.chunks_exact_mut(m * n).enumerate() {
            let k = p.terms(i);
            // What is not wanted may be another's memory, and shorter.
            let ending = Ending::new(p.epilogue, bias, residual.get(i * m * n..).unwrap_or_default(), n);
            let a = Matrix { data: &a[i * p.a_batch as usize..], row: p.a_row as usize, column: p.a_column as usize };
            let (start, row, column) = (i * p.b_batch as usize, p.b_row as usize, p.b_column as usize);
            // Few rows or columns, and both operands' lines contiguous: a bound of memory, not of arithmetic.
            let narrow_fits = m <= MOST_ROWS && a.column == 1 && row == 1;
            let plain = p.alpha == 1.0 && p.accumulate == 0 && p.epilogue == 0 && a.column == 1;
            match Dtype::from_code(p.dtype) {
                Dtype::F32 if narrow_fits => {
                    narrow([m, n, k], c, a, (Rows::F32(&b[start..]), column), p.alpha, p.accumulate != 0, &ending);
                }
                dtype if narrow_fits => {
                    let rows = Rows::Halves(&as_halves(b)[start..], dtype);
                    narrow([m, n, k], c, a, (rows, column), p.alpha, p.accumulate != 0, &ending);
                }
                Dtype::F32 if plain && n <= MOST_ROWS && row == 1 => few_columns([n, k], c, a, &b[start..], column),
                Dtype::F32 if plain && k <= MOST_TERMS && column == 1 => {
                    few_terms([n, k], c, a, Matrix { data: &b[start..], row, column });
                }
                Dtype::F32 => {
                    let b = Matrix { data: &b[start..], row, column };
                    let c = Strip::new(c, n, n);
                    gemm_parallel([m, n, k], c, a, b, p.alpha, p.accumulate != 0, (&ending, 0));
                }
                dtype => {
                    let b = Halves { data: &as_halves(b)[start..], dtype, row, column };
                    gemm_halves([m, n, k], c, a, b, p.alpha, p.accumulate != 0, &ending);
                }
            }
        }
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([a, b, bias, residual], [c]) = bindings.take();
        let ending = Ending::new(p.epilogue, bias, residual, p.n as usize);
        let [batch, m, n] = [p.batch, p.m, p.n].map(|v| v as usize);
        let a =
            |s: usize, i: usize, j: usize| a[s * p.a_batch as usize + i * p.a_row as usize + j * p.a_column as usize];
        let b =
            |s: usize, i: usize, j: usize| b[s * p.b_batch as usize + i * p.b_row as usize + j * p.b_column as usize];
        for s in 0..batch {
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..p.terms(s)).map(|x| a(s, i, x) * b(s, x, j)).sum();
                    let at = (s * m + i) * n + j;
                    let before = if p.accumulate != 0 { c[at] } else { 0.0 };
                    c[at] = ending.of(f64::from(p.alpha) * sum + before, at);
                }
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let [batch, m, n] = [p.batch, p.m, p.n].map(f64::from);
        let terms = (batch - 1.0) * f64::from(p.k) + f64::from(p.k_last);
        let [a, b, c] = [0, 1, 4].map(|binding| Self::dtype(p, binding).bytes());
        let added = epilogue::bytes(p.epilogue, [batch * m, n], c);
        Cost { flop: 2.0 * m * n * terms, bytes: a * m * terms + b * n * terms + c * batch * m * n + added }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        cases::cases(sizes, seed)
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        cases::draw(draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // 100 + [1 2] [5 6]^T = 117; then an outer product, a's column read as a transposed row.
        let mut c = [100.0];
        let params = Params { accumulate: 1, ..Params::new(1, 1, 1, 2, false, true) };
        Matmul::reference(&params, Bindings::new(vec![&[1.0, 2.0], &[5.0, 6.0], &[], &[]], vec![&mut c]));
        assert_eq!(c, [117.0]);
        let mut c = [0.0; 4];
        let params = Params::new(1, 2, 2, 1, true, false);
        Matmul::reference(&params, Bindings::new(vec![&[1.0, 2.0], &[5.0, 6.0], &[], &[]], vec![&mut c]));
        assert_eq!(c, [5.0, 6.0, 10.0, 12.0]);
        // Two products of which the second has one term: 1 * 4 + 2 * 5, then 3 * 6.
        let mut c = [0.0; 2];
        let params = Params { k_last: 1, ..Params::new(2, 1, 1, 2, false, true) };
        Matmul::reference(
            &params,
            Bindings::new(vec![&[1.0, 2.0, 3.0, 0.5], &[4.0, 5.0, 6.0, 7.0], &[], &[]], vec![&mut c]),
        );
        assert_eq!(c, [14.0, 18.0]);
        // Half of it less 10, plus 2 and 3; ReLU leaves what is positive.
        let params = Params { epilogue: 3 | 4 << 2, alpha: 0.5, ..params };
        let inputs: Vec<&[f64]> = vec![&[1.0, 2.0, 3.0, 0.5], &[4.0, 5.0, 6.0, 7.0], &[-10.0], &[2.0, 3.0]];
        Matmul::reference(&params, Bindings::new(inputs, vec![&mut c]));
        assert_eq!(c, [0.0, 2.0]);
    }
}
