//! The loss where each of several devices has the logits of a part of the vocabulary (Megatron-LM, arXiv 1909.08053, section 3): what
//! each part says of each token, four numbers, what they say together, and the gradient of each part's logits.

use crate::{Ids, Tensor, TensorError};
use mode_kernels::cross_entropy_part::{self as kernel, Params};

/// What the loss of all tokens is, from all parts of the vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// Log sum exp over the whole vocabulary, which each part's gradient is made of.
    pub lse: Vec<f32>,
    /// Negative log-likelihood of each target, in nats; NaN where no part has it.
    pub nll: Vec<f32>,
    /// 1 where the target is the likeliest token, the first of equals.
    pub hit: Vec<f32>,
}

/// What a part of the vocabulary, the ids from `offset` on, says of the tokens from `first` on, from its logits `[rows, vocabulary]` and
/// all targets `[tokens]`, which may be ids of other parts. Logits become what `cap` bends them to, if there is one
/// (`cap tanh(logits / cap)`). stats `[tokens, 4]` gets, a row of logits, the greatest of them, their log sum exp, the target's and a
/// code: 0 where the target, whose logit is 0 then, is of another part, 1 where it is of this one, 2 where it is also the part's first of
/// the greatest.
///
/// # Errors
/// More rows than there are tokens from `first` on, or other statistics than four a token.
pub fn cross_entropy_part(
    logits: &Tensor,
    targets: &Ids,
    first: usize,
    offset: usize,
    cap: Option<f32>,
    stats: &Tensor,
) -> Result<(), TensorError> {
    if stats.shape() != [targets.len(), 4] {
        return Err(TensorError::shape(OP, "four statistics a target are wanted", stats.shape(), &[targets.len(), 4]));
    }
    let params = params(logits, targets, first, offset, cap, false)?;
    // Without a gradient nothing reads dloss and lse.
    let inputs = [targets.view(); 3];
    Ok(kernel::cross_entropy_part(logits.device(), params, inputs, [logits.view(), stats.view()])?)
}

/// Puts the gradient of a part's logits, which [`cross_entropy_part`] has bent, in their place: from lse `[tokens]`, which
/// [`join_parts`] finds, and dloss `[1]`, the gradient of the mean nll.
///
/// # Errors
/// More rows than there are tokens from `first` on, or other sums than one a token.
pub fn cross_entropy_part_gradient(
    logits: &Tensor,
    targets: &Ids,
    first: usize,
    offset: usize,
    cap: Option<f32>,
    lse: &Tensor,
    dloss: &Tensor,
) -> Result<(), TensorError> {
    if lse.len() != targets.len() {
        return Err(TensorError::shape(OP, "one log sum exp a target is wanted", lse.shape(), &[targets.len()]));
    }
    if dloss.len() != 1 {
        return Err(TensorError::shape(OP, "one gradient of the mean is wanted", dloss.shape(), &[1]));
    }
    let params = params(logits, targets, first, offset, cap, true)?;
    // In the place of statistics, which stay as they are; zero, so that a search for NaN finds none in it.
    let none = Tensor::full(logits.device(), &[1, 4], 0.0)?;
    let inputs = [targets.view(), dloss.view(), lse.view()];
    Ok(kernel::cross_entropy_part(logits.device(), params, inputs, [logits.view(), none.view()])?)
}

const OP: &str = "cross_entropy_part";

fn params(
    logits: &Tensor,
    targets: &Ids,
    first: usize,
    offset: usize,
    cap: Option<f32>,
    gradient: bool,
) -> Result<Params, TensorError> {
    let [rows, vocabulary, tokens] = [logits.rows(), logits.width(), targets.len()];
    if rows > tokens.saturating_sub(first) {
        return Err(TensorError::shape(OP, "one target a row of logits is wanted", &[first, rows], &[tokens]));
    }
    if vocabulary == 0 || offset.saturating_add(vocabulary) > u32::MAX as usize {
        return Err(TensorError::shape(OP, "no such part of a vocabulary", &[offset], logits.shape()));
    }
    let [rows, vocabulary, offset, first, tokens] = [rows, vocabulary, offset, first, tokens].map(|v| v as u32);
    Ok(Params { rows, vocabulary, offset, first, tokens, cap: cap.unwrap_or(0.0), gradient: gradient.into() })
}

/// What the statistics of all parts, `[tokens, 4]` each and in the order of the vocabulary, say together; of as many tokens as the
/// shortest has. Always the same bits, and computed in f64.
///
/// ```
/// use mode_tensor::join_parts;
///
/// // Exponentials of 1 and 3, the target's, here, and of 4 there: 3 of 8, and as the greatest is there, no hit.
/// let [ln3, ln4] = [3f32, 4.0].map(f32::ln);
/// let loss = join_parts(&[vec![ln3, ln4, ln3, 2.0], vec![ln4, ln4, 0.0, 0.0]]);
/// assert!((loss.nll[0] - (8f32 / 3.0).ln()).abs() < 1e-6);
/// assert_eq!(loss.hit, [0.0]);
/// ```
pub fn join_parts(parts: &[Vec<f32>]) -> Joined {
    let [lse, nll, hit] = join(parts).map(|values| values.into_iter().map(|value| value as f32).collect());
    Joined { lse, nll, hit }
}

/// lse, nll and hit.
fn join<T: Copy + Into<f64>>(parts: &[Vec<T>]) -> [Vec<f64>; 3] {
    let tokens = parts.iter().map(|part| part.len() / 4).min().unwrap_or(0);
    let mut joined = [(); 3].map(|()| Vec::with_capacity(tokens));
    for token in 0..tokens {
        let stats = || parts.iter().map(|part| part.as_chunks::<4>().0[token].map(Into::<f64>::into));
        let shift = stats().map(|[_, lse, ..]| lse).fold(f64::NEG_INFINITY, f64::max);
        let lse = shift + stats().map(|[_, lse, ..]| (lse - shift).exp()).sum::<f64>().ln();
        let own = stats().find(|[.., code]| *code > 0.0).map_or(f64::NAN, |[_, _, own, _]| own);
        let hit = stats().enumerate().any(|(at, [greatest, _, _, code])| {
            let beaten =
                |(other, [theirs, ..]): (usize, [f64; 4])| theirs > greatest || (other < at && theirs == greatest);
            code == 2.0 && !stats().enumerate().any(beaten)
        });
        let found = [lse, lse - own, if hit { 1.0 } else { 0.0 }];
        joined.iter_mut().zip(found).for_each(|(all, found)| all.push(found));
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CrossEntropy, Device};
    use mode_kernels::fill_hash::{fill, ids};

    const TOKENS: usize = 13;
    const VOCABULARY: usize = 301;
    /// The first tokens, whose launch is not the last.
    const CHUNK: usize = 8;

    /// Random logits, with ties, and targets, some of which have the greatest logit.
    fn problem() -> (Vec<f32>, Vec<u32>) {
        let (mut logits, mut targets) = (fill(1, TOKENS * VOCABULARY, 9.0), ids(2, TOKENS, VOCABULARY as u32));
        for (token, (z, target)) in logits.chunks_mut(VOCABULARY).zip(&mut targets).enumerate() {
            match token {
                // All logits are the same, and the target is the first, the last or the first of a later part.
                0..3 => {
                    z.fill(7.0);
                    *target = [0, 300, 100][token];
                }
                // Two are the greatest, in two of three parts, and the target is either.
                3..5 => {
                    [z[90], z[250]] = [9.5; 2];
                    *target = [90, 250][token - 3];
                }
                5..9 => z[*target as usize] = 9.5,
                _ => {}
            }
        }
        (logits, targets)
    }

    fn chunks() -> [std::ops::Range<usize>; 2] {
        [0..CHUNK, CHUNK..TOKENS]
    }

    /// Columns `part` of rows `rows` of the logits.
    fn block(
        device: &Device,
        logits: &[f32],
        rows: &std::ops::Range<usize>,
        part: &std::ops::Range<usize>,
    ) -> Result<Tensor, TensorError> {
        let rows = logits.chunks(VOCABULARY).skip(rows.start).take(rows.len());
        let values: Vec<f32> = rows.flat_map(|row| &row[part.clone()]).copied().collect();
        Tensor::from_slice(device, &values, &[values.len() / part.len(), part.len()])
    }

    /// nll, hit and the logits' gradient by the loss over the whole vocabulary.
    fn whole(device: &Device, cap: Option<f32>) -> Result<[Vec<f64>; 3], TensorError> {
        let (logits, targets) = problem();
        let (targets, dloss) = (Ids::new(device, &targets)?, Tensor::full(device, &[1], 3.0)?);
        let loss = CrossEntropy::empty(device, TOKENS)?;
        let mut gradient = Vec::new();
        for rows in chunks() {
            let logits = block(device, &logits, &rows, &(0..VOCABULARY))?;
            loss.add_rows(&logits, &targets, rows.start, cap, Some(&dloss))?;
            gradient.extend(logits.to_f64()?);
        }
        Ok([loss.nll.to_f64()?, loss.hit.to_f64()?, gradient])
    }

    /// The same by parts that begin at `offsets`.
    fn in_parts(device: &Device, offsets: &[usize], cap: Option<f32>) -> Result<[Vec<f64>; 3], TensorError> {
        let (logits, targets) = problem();
        let (targets, dloss) = (Ids::new(device, &targets)?, Tensor::full(device, &[1], 3.0)?);
        let ends = offsets.iter().skip(1).copied().chain([VOCABULARY]);
        let parts: Vec<_> = offsets.iter().zip(ends).map(|(&start, end)| start..end).collect();
        let (mut stats, mut kept) = (Vec::new(), Vec::new());
        for part in &parts {
            let found = Tensor::empty(device, &[TOKENS, 4])?;
            for rows in chunks() {
                let logits = block(device, &logits, &rows, part)?;
                cross_entropy_part(&logits, &targets, rows.start, part.start, cap, &found)?;
                kept.push((part, rows, logits));
            }
            stats.push(found.to_f64()?);
        }
        let [lse, nll, hit] = join(&stats);
        let rounded: Vec<Vec<f32>> = stats.iter().map(|part| part.iter().map(|v| *v as f32).collect()).collect();
        for (got, want) in join_parts(&rounded).nll.iter().zip(&nll) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} and {want}");
        }
        let lse = Tensor::from_f64(device, &lse, &[TOKENS])?;
        let mut gradient = vec![f64::NAN; TOKENS * VOCABULARY];
        for (part, rows, logits) in kept {
            cross_entropy_part_gradient(&logits, &targets, rows.start, part.start, cap, &lse, &dloss)?;
            for (row, values) in rows.zip(logits.to_f64()?.chunks(part.len())) {
                gradient[row * VOCABULARY..][part.clone()].copy_from_slice(values);
            }
        }
        Ok([nll, hit, gradient])
    }

    #[test]
    fn parts_are_the_whole() -> Result<(), TensorError> {
        for cap in [None, Some(5.0)] {
            let want = whole(&Device::reference(), cap)?;
            let hits = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
            assert_eq!(want[1], hits);
            for (device, tolerance) in [(Device::reference(), 1e-12), (Device::cpu(), 1e-5)] {
                for offsets in [&[0][..], &[0, 100], &[0, 100, 237]] {
                    let got = in_parts(&device, offsets, cap)?;
                    assert_eq!(got[1], want[1], "{offsets:?}");
                    for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
                        let near = (got - want).abs() <= tolerance * (1.0 + want.abs());
                        assert!(near, "{offsets:?} {cap:?}: {got} and {want}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_first_part_of_equal_ones_has_the_hit() {
        let part = |greatest: f32, code: f32| vec![greatest, greatest, if code > 0.0 { greatest } else { 0.0 }, code];
        let hit = |parts: &[Vec<f32>]| join_parts(parts).hit;
        assert_eq!(hit(&[part(2.0, 2.0), part(2.0, 0.0)]), [1.0]);
        assert_eq!(hit(&[part(2.0, 0.0), part(2.0, 2.0)]), [0.0]);
        assert_eq!(hit(&[part(1.0, 0.0), part(2.0, 2.0), part(2.0, 0.0)]), [1.0]);
        assert_eq!(hit(&[part(1.0, 0.0), part(2.0, 2.0), part(2.5, 0.0)]), [0.0]);
        assert_eq!(hit(&[part(2.0, 1.0), part(1.0, 0.0)]), [0.0]);
        // A target that no part has.
        let lost = join_parts(&[part(300.0, 0.0), part(300.0, 0.0)]);
        assert!(lost.nll[0].is_nan() && lost.hit == [0.0]);
        assert_eq!(lost.lse, [300.0 + 2f32.ln()]);
        assert!(join_parts(&[]).lse.is_empty());
    }

    #[test]
    fn operands_that_do_not_fit_are_errors() -> Result<(), TensorError> {
        let device = Device::cpu();
        let tensor = |shape: &[usize]| Tensor::full(&device, shape, 1.0);
        let (logits, stats) = (tensor(&[3, 4])?, tensor(&[5, 4])?);
        let (lse, short, dloss) = (tensor(&[5])?, tensor(&[4])?, tensor(&[1])?);
        let targets = Ids::new(&device, &[0, 1, 2, 99, 5])?;
        let wrong = |result: Result<(), TensorError>| result.err().map(|e| e.to_string()).unwrap_or_default();
        let statistics = |first, offset, stats| cross_entropy_part(&logits, &targets, first, offset, None, stats);
        statistics(2, 7, &stats)?;
        assert!(wrong(statistics(3, 0, &stats)).contains("one target a row of logits is wanted: [3, 3] and [5]"));
        assert!(wrong(statistics(usize::MAX, 0, &stats)).contains("one target a row of logits is wanted"));
        assert!(wrong(statistics(0, u32::MAX as usize - 3, &stats)).contains("no such part of a vocabulary"));
        assert!(wrong(statistics(0, 0, &logits)).contains("four statistics a target are wanted: [3, 4] and [5, 4]"));
        let gradient = |lse, dloss| cross_entropy_part_gradient(&logits, &targets, 0, 0, None, lse, dloss);
        gradient(&lse, &dloss)?;
        assert!(wrong(gradient(&short, &dloss)).contains("one log sum exp a target is wanted: [4] and [5]"));
        assert!(wrong(gradient(&lse, &stats)).contains("one gradient of the mean is wanted: [5, 4] and [1]"));
        Ok(())
    }
}
