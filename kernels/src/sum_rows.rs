//! y_i (+)= sum over rows of x_i: the gradient of a [bias](crate::bias), and a product made in parts, which has an
//! [epilogue].
//!
//! x `[rows, width]`, y, residual `[width]`, read as rows of as many columns as the bias has. Chunks of rows are summed first and then
//! added in order, so that the bits do not depend on the number of threads. Moves 1 unit.

use crate::epilogue::{self, Ending, Epilogue};
use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

/// Rows a chunk.
const CHUNK: usize = 64;

crate::kernel::params! {
    /// Parameters of [`SumRows`].
    pub struct Params {
        /// Rows.
        pub rows: u32,
        /// Elements a row.
        pub width: u32,
        /// Rows a partial sum.
        pub chunk: u32,
        /// 1 to add to what `y` holds.
        pub accumulate: u32,
        /// Columns of y, which the bias is added to.
        pub columns: u32,
        /// What becomes of the sum: [`Epilogue`]'s number; in the WGSL constants of the pipeline.
        pub epilogue: u32,
        /// How x is stored: [`Dtype::code`].
        pub dtype: u32,
        /// How y and the residual are.
        pub y_dtype: u32,
    }
}

impl Params {
    fn new(rows: usize, width: usize) -> Self {
        let [rows, width, chunk] = [rows, width, CHUNK].map(|v| v as u32);
        let dtype = Dtype::F32.code();
        Self { rows, width, chunk, accumulate: 0, columns: width, epilogue: 0, dtype, y_dtype: dtype }
    }
}

/// The kernel.
pub struct SumRows;

/// The sum over the rows of x.
///
/// # Errors
/// As [`crate::launch`].
pub fn sum_rows(device: &Device, x: &View, y: &View, accumulate: bool) -> Result<(), KernelError> {
    sum_rows_to(device, x, y, accumulate, y.len, &Epilogue::default())
}

/// The same with an epilogue for rows of `columns`.
///
/// # Errors
/// As [`crate::launch`].
pub(crate) fn sum_rows_to(
    device: &Device,
    x: &View,
    y: &View,
    accumulate: bool,
    columns: usize,
    epilogue: &Epilogue,
) -> Result<(), KernelError> {
    let rows = x.len / y.len.max(1);
    let params = Params {
        accumulate: accumulate.into(),
        columns: columns as u32,
        epilogue: epilogue.code(),
        dtype: x.dtype().code(),
        y_dtype: y.dtype().code(),
        ..Params::new(rows, y.len)
    };
    let partial = View::whole(device.alloc(rows.div_ceil(CHUNK) * y.len)?);
    let [bias, residual] = epilogue.views(x);
    launch::<SumRows>(device, &params, &[x, bias, residual], &[&partial, y])
}

impl Kernel for SumRows {
    type Params = Params;
    const NAME: &'static str = "sum_rows";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::SUM_ROWS];
    const INPUTS: &'static [&'static str] = &["x", "bias", "residual"];
    const OUTPUTS: &'static [&'static str] = &["partial", "y"];

    fn constants(p: &Params) -> Vec<(&'static str, u32)> {
        epilogue::constants(p.epilogue).to_vec()
    }

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        vec![("StoredX", Self::dtype(p, 0).wgsl()[0]), ("StoredY", Self::dtype(p, 4).wgsl()[0])]
    }

    fn dtype(p: &Params, binding: usize) -> Dtype {
        match binding {
            0 => Dtype::activation(p.dtype),
            1 | 2 => epilogue::dtype(p.epilogue, binding - 1, [p.dtype, p.y_dtype]),
            3 => Dtype::F32,
            _ => Dtype::activation(p.y_dtype),
        }
    }

    fn reads_halves(p: &Params, binding: usize) -> bool {
        matches!(binding, 1 | 2) && !epilogue::has(p.epilogue, binding - 1)
    }

    fn passes(p: &Params) -> Vec<Pass> {
        let (width, chunks) = (p.width as usize, p.rows.div_ceil(p.chunk) as usize);
        vec![Pass::new("chunks", (chunks * width).div_ceil(64)), Pass::new("finish", width.div_ceil(64))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x, bias, residual], [partial, y]) = bindings.take();
        let (width, chunk) = (p.width as usize, p.chunk as usize);
        partial.par_chunks_mut(width).zip(x.par_chunks(chunk * width)).for_each(|(sum, x)| {
            add_rows(sum, x);
        });
        if p.accumulate == 0 {
            y.fill(0.0);
        }
        for sum in partial.chunks_exact(width) {
            y.iter_mut().zip(sum).for_each(|(y, sum)| *y += sum);
        }
        let columns = p.columns as usize;
        let ending = Ending::new(p.epilogue, bias, residual, columns);
        y.chunks_exact_mut(columns).enumerate().for_each(|(row, y)| ending.finish(y, row));
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x, bias, residual], [_, y]) = bindings.take();
        let width = p.width as usize;
        let ending = Ending::new(p.epilogue, bias, residual, p.columns as usize);
        for i in 0..width {
            let before = if p.accumulate != 0 { y[i] } else { 0.0 };
            y[i] = ending.of(before + (0..p.rows as usize).map(|row| x[row * width + i]).sum::<f64>(), i);
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.rows) * f64::from(p.width);
        let (columns, width) = (f64::from(p.columns), f64::from(p.width));
        let added = epilogue::bytes(p.epilogue, [width / columns, columns], Self::dtype(p, 4).bytes());
        Cost { flop: n, bytes: Self::dtype(p, 0).bytes() * n + added }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [
            (1, 1, false, 1, 0),
            (63, 65, true, 65, 0),
            (65, 3, false, 3, 0),
            (200, 129, true, 129, 0),
            (3, 77, false, 11, 1),
            (4, 130, true, 13, 2),
            (2, 12, false, 3, 3 | 2 << 2),
        ];
        let large = [(66_000, 129, false, 129, 0), (130, 70_001, true, 70_001, 0)];
        let cases = sizes.pick(odd, large).into_iter().map(|shape| case(shape, seed)).collect();
        // The gradient of a bias, and a product's parts.
        let bias = |p| Params { dtype: Dtype::F16.code(), ..p };
        Case::and(cases, sizes, &[bias, |p| Params { y_dtype: Dtype::F16.code(), ..p }])
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (rows, columns) = draw.rows();
        let width = columns * draw.size(5);
        let case = case((rows, width, draw.bit(), columns, draw.one_of(&[0, 0, 1, 2, 3 | 2 << 2])), draw.seed());
        case.with(|p| Params { dtype: draw.stored(), y_dtype: draw.stored(), ..p })
    }
}

fn case((rows, width, keep, columns, epilogue): (usize, usize, bool, usize, u32), seed: u32) -> Case<Params> {
    Case {
        params: Params { accumulate: keep.into(), columns: columns as u32, epilogue, ..Params::new(rows, width) },
        inputs: vec![
            Data::F32(fill(seed, rows * width, 1.0)),
            Data::F32(fill(seed + 2, columns, 1.0)),
            Data::F32(fill(seed + 3, width, 1.0)),
        ],
        outputs: vec![
            Data::Scratch(rows.div_ceil(CHUNK) * width),
            if keep { Data::F32(fill(seed + 1, width, 1.0)) } else { Data::Out(width) },
        ],
    }
}

simd! {
    fn add_rows(sum: &mut [f32], x: &[f32]) {
        sum.fill(0.0);
        for x in x.chunks_exact(sum.len()) {
            sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (mut partial, mut y) = ([0.0; 2], [1.0, 2.0]);
        let params = Params { accumulate: 1, ..Params::new(2, 2) };
        let inputs: Vec<&[f64]> = vec![&[2.0, 3.0, 4.0, 5.0], &[10.0, 20.0], &[100.0, 200.0]];
        SumRows::reference(&params, Bindings::new(inputs.clone(), vec![&mut partial, &mut y]));
        assert_eq!(y, [7.0, 10.0]);
        let params = Params { accumulate: 0, epilogue: 3, ..params };
        SumRows::reference(&params, Bindings::new(inputs, vec![&mut partial, &mut y]));
        assert_eq!(y, [116.0, 228.0]);
    }
}
