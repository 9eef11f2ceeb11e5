//! `y_t = table[ids_t]`: one row of the table a token. ids `[tokens]`, table `[rows, width]`, y `[tokens, width]`.
//! Also picks rows of any matrix, such as the last token's. Moves 2 units. The table may be stored as halves.

use crate::bindings::as_ids;
use crate::dtype::as_halves;
use crate::fill_hash::{fill, ids};
use crate::{Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, launch};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`Embedding`].
    pub struct Params {
        /// Tokens.
        pub tokens: u32,
        /// Elements a row.
        pub width: u32,
        /// How the table is stored: [`Dtype::code`].
        pub dtype: u32,
    }
}

/// The kernel.
pub struct Embedding;

/// y = rows of `table` by `ids`, each of which the caller knows to be below the number of rows.
///
/// # Errors
/// As [`crate::launch`].
pub fn embedding(device: &Device, width: usize, ids: &View, table: &View, y: &View) -> Result<(), KernelError> {
    let params = Params { tokens: ids.len as u32, width: width as u32, dtype: table.dtype().code() };
    launch::<Embedding>(device, &params, &[ids, table], &[y])
}

impl Kernel for Embedding {
    type Params = Params;
    const NAME: &'static str = "embedding";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::EMBEDDING];
    const INPUTS: &'static [&'static str] = &["ids", "table"];
    const OUTPUTS: &'static [&'static str] = &["y"];

    fn constants(p: &Params) -> Vec<(&'static str, u32)> {
        vec![("DTYPE", p.dtype)]
    }

    fn dtype(p: &Params, binding: usize) -> Dtype {
        if binding == 1 { Dtype::from_code(p.dtype) } else { Dtype::F32 }
    }

    fn reads_halves(_: &Params, binding: usize) -> bool {
        binding == 1
    }

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", (p.tokens as usize * p.width as usize).div_ceil(256))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([ids, table], [y]) = bindings.take();
        let (width, dtype) = (p.width as usize, Dtype::from_code(p.dtype));
        y.par_chunks_mut(width).zip(as_ids(ids)).with_min_len(64).for_each(|(y, &id)| {
            let row = id as usize * width..(id as usize + 1) * width;
            match dtype {
                Dtype::F32 => y.copy_from_slice(&table[row]),
                halves => halves.decode(&as_halves(table)[row], y),
            }
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([ids, table], [y]) = bindings.take();
        let width = p.width as usize;
        for token in 0..p.tokens as usize {
            for i in 0..width {
                y[token * width + i] = table[ids[token] as usize * width + i];
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let bytes = if p.dtype == Dtype::F32.code() { 8.0 } else { 6.0 };
        Cost { flop: 0.0, bytes: bytes * f64::from(p.tokens) * f64::from(p.width) }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [
            (1, 1, 1, Dtype::F32),
            (7, 33, 5, Dtype::F32),
            (130, 65, 11, Dtype::F32),
            (9, 33, 5, Dtype::F16),
            (1, 1, 1, Dtype::BF16),
            (130, 65, 11, Dtype::BF16),
        ];
        let large = [(66_000, 257, 999, Dtype::F32), (66_000, 257, 999, Dtype::BF16)];
        sizes.pick(odd, large).into_iter().map(|shape| case(shape, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let (tokens, width) = draw.rows();
        case((tokens, width, draw.size(300), draw.one_of(&Dtype::ALL)), draw.seed())
    }
}

fn case((tokens, width, rows, dtype): (usize, usize, usize, Dtype), seed: u32) -> Case<Params> {
    Case {
        params: Params { tokens: tokens as u32, width: width as u32, dtype: dtype.code() },
        inputs: vec![Data::U32(ids(seed, tokens, rows as u32)), Data::F32(fill(seed + 1, rows * width, 1.0))],
        outputs: vec![Data::Out(tokens * width)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut y = [0.0; 4];
        let table = [1.0, 2.0, 3.0, 4.0];
        let bindings = Bindings::new(vec![&[1.0, 0.0], &table], vec![&mut y]);
        Embedding::reference(&Params { tokens: 2, width: 2, dtype: 0 }, bindings);
        assert_eq!(y, [3.0, 4.0, 1.0, 2.0]);
    }
}
