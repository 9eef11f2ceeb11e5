//! `dtable[id] +=` sum of dy_t over the tokens t with ids_t = id, in token order: deterministic without atomics.
//!
//! ids, order `[tokens]`, dy `[tokens, width]`, dtable `[rows, width]`. `order` lists the tokens sorted by id, equal ids in
//! token order; whoever meets the first token of an id adds up the whole run. Tokens of the padding id send nothing. Moves 1 unit, and 2 of the rows touched.

use crate::bindings::as_ids;
use crate::fill_hash::{fill, ids};
use crate::{Bindings, Case, Cost, Data, Device, Draw, Kernel, KernelError, Pass, Sizes, View, launch};

crate::kernel::params! {
    /// Parameters of [`EmbeddingBackward`].
    pub struct Params {
        /// Tokens.
        pub tokens: u32,
        /// Elements a row.
        pub width: u32,
        /// The id whose row gets nothing; [`NO_PADDING`] for none.
        pub padding: u32,
    }
}

/// No id.
pub const NO_PADDING: u32 = u32::MAX;

/// The kernel.
pub struct EmbeddingBackward;

/// The tokens sorted by id, equal ids in token order: what the kernel takes as `order`.
pub fn order_by_id(ids: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&token| ids[token as usize]);
    order
}

/// Adds each token's row of `dy` to its id's row of `dtable`, but for tokens of the padding id.
///
/// # Errors
/// As [`crate::launch`].
pub fn embedding_backward(
    device: &Device,
    [width, padding]: [u32; 2],
    ids: &View,
    order: &View,
    dy: &View,
    dtable: &View,
) -> Result<(), KernelError> {
    let params = Params { tokens: ids.len as u32, width, padding };
    launch::<EmbeddingBackward>(device, &params, &[ids, order, dy], &[dtable])
}

impl Kernel for EmbeddingBackward {
    type Params = Params;
    const NAME: &'static str = "embedding_backward";
    const SHADERS: &'static [mode_shaders::Shader] = &[mode_shaders::EMBEDDING_BACKWARD];
    const INPUTS: &'static [&'static str] = &["ids", "order", "dy"];
    const OUTPUTS: &'static [&'static str] = &["dtable"];

    fn passes(p: &Params) -> Vec<Pass> {
        vec![Pass::new("main", p.tokens as usize)]
    }

    fn cpu(p: &Params, bindings: Bindings<f32>) {
        let ([ids, order, dy], [dtable]) = bindings.take();
        let (ids, width) = (as_ids(ids), p.width as usize);
        for &token in as_ids(order).iter().filter(|&&token| ids[token as usize] != p.padding) {
            let row = &mut dtable[ids[token as usize] as usize * width..][..width];
            row.iter_mut().zip(&dy[token as usize * width..][..width]).for_each(|(sum, v)| *sum += v);
        }
    }

    fn reference(p: &Params, bindings: Bindings<f64>) {
        let ([ids, _, dy], [dtable]) = bindings.take();
        let width = p.width as usize;
        for token in (0..p.tokens as usize).filter(|&token| ids[token] != f64::from(p.padding)) {
            for i in 0..width {
                dtable[ids[token] as usize * width + i] += dy[token * width + i];
            }
        }
    }

    fn cost(p: &Params) -> Cost {
        let n = f64::from(p.tokens) * f64::from(p.width);
        Cost { flop: n, bytes: 12.0 * n }
    }

    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Params>> {
        let odd = [(1, 1, 1, NO_PADDING), (7, 33, 5, 0), (130, 65, 11, 10), (64, 3, 200, NO_PADDING)];
        let large = [(66_000, 65, 999, NO_PADDING), (300, 3, 70_000, 1)];
        sizes.pick(odd, large).into_iter().map(|shape| case(shape, seed)).collect()
    }

    fn draw(draw: &mut Draw) -> Case<Params> {
        let ((tokens, width), rows) = (draw.rows(), draw.size(300));
        let padding = if draw.bit() { NO_PADDING } else { draw.below(rows) as u32 };
        case((tokens, width, rows, padding), draw.seed())
    }
}

fn case((tokens, width, rows, padding): (usize, usize, usize, u32), seed: u32) -> Case<Params> {
    let tokens_ids = ids(seed, tokens, rows as u32);
    Case {
        params: Params { tokens: tokens as u32, width: width as u32, padding },
        inputs: vec![
            Data::U32(tokens_ids.clone()),
            Data::U32(order_by_id(&tokens_ids)),
            Data::F32(fill(seed + 1, tokens * width, 1.0)),
        ],
        outputs: vec![Data::F32(fill(seed + 2, rows * width, 1.0))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(order_by_id(&[5, 2, 5, 0]), [3, 1, 0, 2]);
        let mut dtable = [100.0, 200.0];
        let bindings = Bindings::new(vec![&[1.0, 0.0], &[1.0, 0.0], &[7.0, 4.0]], vec![&mut dtable]);
        EmbeddingBackward::reference(&Params { tokens: 2, width: 1, padding: 0 }, bindings);
        assert_eq!(dtable, [100.0, 207.0]);
    }
}
