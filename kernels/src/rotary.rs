//! Rotary position embedding (Su et al., arXiv 2104.09864), half-split as in Hugging Face's Llama.
//!
//! Each head's pairs (i, i + width/2) of a token at position t turn by the angle t * theta^(-2i/width):
//! `y_i = x_i cos - x_{i+h} sin`, `y_{i+h} = x_{i+h} cos + x_i sin`. The gradient turns back (sign -1). x, y
//! `[tokens, heads, width]`; cosine, sine `[first + length, width / 2]`, and token n of a pass has position first + n mod length:
//! first is 0 unless the tokens before are in a cache. Moves 2 units.

use crate::simd::simd;
use crate::{
    Bindings, Case, Cost, Data, Device, Draw, Dtype, Kernel, KernelError, Pass, Sizes, View, fill_hash::fill, launch,
};
use rayon::prelude::*;

crate::kernel::params! {
    /// Parameters of [`Rotary`].
    pub struct Params {
        /// Tokens, over all windows.
        pub tokens: u32,
        /// Tokens a window.
        pub length: u32,
        /// Heads.
        pub heads: u32,
        /// Width of a head, even.
        pub width: u32,
        /// 1 to turn, -1 to turn back.
        pub sign: f32,
        /// Position of a window's first token.
        pub first: u32,
        /// How x and y are stored: [`Dtype::code`].
        pub dtype: u32,
    }
}

/// The kernel.
pub struct Rotary;

/// y = x turned by each token's angle.
///
/// # Errors
/// As [`crate::launch`].
pub fn rotary(device: &Device, p: Params, x: &View, cosine: &View, sine: &View, y: &View) -> Result<(), KernelError> {
    launch::<Rotary>(device, &Params { dtype: x.dtype().code(), ..p }, &[x, cosine, sine], &[y])
}

impl Kernel for Rotary {
    type Params = Params;
    const NAME: &'static str = "rotary";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::ROTARY];
    const INPUTS: &'static [&'static str] = &["x", "cosine", "sine"];
    const OUTPUTS: &'static [&'static str] = &["y"];

    fn types(p: &Params) -> Vec<(&'static str, &'static str)> {
        vec![("Stored", Dtype::activation(p.dtype).wgsl()[0])]
    }

    fn dtype(p: &Params, binding: usize) -> Dtype {
        if binding == 0 || binding == 3 { Dtype::activation(p.dtype) } else { Dtype::F32 }
    }

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", ((p.tokens * p.heads * p.width / 2) as usize).div_ceil(256))]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([x, cosine, sine], [y]) = bindings.take();
        let (width, half, length) = (p.width as usize, p.width as usize / 2, p.length as usize);
        let row = p.heads as usize * width;
        y.par_chunks_mut(row).zip(x.par_chunks(row)).with_min_len(16).enumerate().for_each(|(token, (y, x))| {
            let at = (p.first as usize + token % length) * half;
            let (cosine, sine) = (&cosine[at..at + half], &sine[at..at + half]);
            rotate(y, x, cosine, sine, p.sign);
        });
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([x, cosine, sine], [y]) = bindings.take();
        let (heads, width, half) = (p.heads as usize, p.width as usize, p.width as usize / 2);
        for token in 0..p.tokens as usize {
            let position = p.first as usize + token % p.length as usize;
            for head in 0..heads {
                let low = (token * heads + head) * width;
                for i in 0..half {
                    let (c, s) = (cosine[position * half + i], sine[position * half + i] * f64::from(p.sign));
                    y[low + i] = x[low + i] * c - x[low + half + i] * s;
                    y[low + half + i] = x[low + half + i] * c + x[low + i] * s;
                }
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.tokens) * f64::from(p.heads) * f64::from(p.width);
        Cost { flop: 3.0 * n, bytes: 2.0 * Self::dtype(p, 0).bytes() * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [
            ([1, 0, 1, 1, 2], 1.0),
            ([2, 0, 7, 3, 6], -1.0),
            ([3, 0, 33, 5, 20], 1.0),
            ([1, 19, 1, 3, 6], 1.0),
            ([2, 5, 3, 1, 8], 1.0),
        ];
        let large = [([17, 0, 1025, 8, 128], -1.0)];
        let cases = sizes.pick(odd, large).into_iter().map(|(shape, sign)| case(shape, sign, seed)).collect();
        Case::and(cases, sizes, &[|p| Params { dtype: Dtype::F16.code(), ..p }])
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let shape = [draw.size(4), draw.gap(), draw.size(100), draw.size(5), 2 * draw.size(64)];
        let case = case(shape, draw.one_of(&[1.0, -1.0]), draw.seed());
        case.with(|p| Params { dtype: draw.stored(), ..p })
    }
}

fn case([windows, first, length, heads, width]: [usize; 5], sign: f32, seed: u32) -> Case<Params> {
    let n = windows * length * heads * width;
    let table = (first + length) * width / 2;
    let [tokens, first, length, heads, width] = [windows * length, first, length, heads, width].map(|size| size as u32);
    Case {
        params: Params { tokens, length, heads, width, sign, first, dtype: Dtype::F32.code() },
        inputs: vec![
            Data::F32(fill(seed, n, 1.0)),
            Data::F32(fill(seed + 1, table, 1.0)),
            Data::F32(fill(seed + 2, table, 1.0)),
        ],
        outputs: vec![Data::Out(n)],
    }
}

simd! {
    /// The heads of a token; cosine and sine are as long as half a head.
    fn rotate(y: &mut [f32], x: &[f32], cosine: &[f32], sine: &[f32], sign: f32) {
        let half = cosine.len();
        let sine = &sine[..half];
        for (y, x) in y.chunks_exact_mut(2 * half).zip(x.chunks_exact(2 * half)) {
            let ((low, high), (a, b)) = (y.split_at_mut(half), x.split_at(half));
            for i in 0..half {
                let s = sine[i] * sign;
                low[i] = a[i] * cosine[i] - b[i] * s;
                high[i] = b[i] * cosine[i] + a[i] * s;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // A quarter turn takes (1, 2) to (-2, 1).
        let mut y = [0.0; 2];
        let params = Params { tokens: 1, length: 1, heads: 1, width: 2, sign: 1.0, first: 0, dtype: Dtype::F32.code() };
        Rotary::reference(&params, Bindings::new(vec![&[1.0, 2.0], &[0.0], &[1.0]], vec![&mut y]));
        assert_eq!(y, [-2.0, 1.0]);
    }
}
