//! What fusing the gate merge gains: the same operation as separate launches, and the bytes of both.
//!
//! In units of tokens x width moved, with K branches, the merge moves K + 2 forward and 2K + 3 backward. Launched apart:
//!
//! ```text
//! forward    z = x W^T (1), + b, softmax,  K products p_k f_k (2 each),  K - 1 sums (3 each)                        5K - 2
//! backward   df_k = p_k g (2 each),  g f_k (3 each) and their sums over the width (1 each),  softmax's gradient,
//!            dx = dz W (1),  dW = dz^T x (1),  db                                                                   6K + 2
//! ```
//!
//! Tensors of one number a branch and token are not counted. The ideal gain is the ratio of units: 2.60 and 2.22 for K = 3. A gain
//! over launches that are slow themselves says nothing: they must move their units at nearly the rate of a copy. Both ways and the
//! copy take turns, and of each the best counts: a memory whose speed wanders is the same for all then.

use super::profile::Rounds;
use super::{Ceilings, ceilings, kernels};
use crate::Error;
use mode_kernels::softmax_backward::{self, softmax_backward};
use mode_kernels::{bias, multiply, softmax};
use mode_tensor::{Device, Product, Target, Tensor, add, matmul, matmul_into, sum_rows};
use serde::Serialize;

/// The least share of a copy's rate, in percent, at which launches apart are a fair opponent.
const FAIR: f64 = 85.0;
/// The greatest difference of both results, as a share of their root mean square.
const AGREEMENT: f64 = 1e-4;
/// Turns that fused launches, those apart and a copy take.
const TURNS: usize = 5;

/// Fused against unfused.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fusion {
    /// Forward.
    pub forward: Gain,
    /// Backward, of all gradients.
    pub backward: Gain,
}

/// One direction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gain {
    /// Milliseconds of the fused launches.
    pub fused_ms: f64,
    /// Milliseconds of the launches apart.
    pub unfused_ms: f64,
    /// How many those are.
    pub unfused_launches: usize,
    /// Units that each moves.
    pub units: [usize; 2],
    /// How many times as fast fused is.
    pub gain: f64,
    /// What it would be if both moved their units equally fast.
    pub ideal: f64,
    /// The gain in percent of that.
    pub percent_of_ideal: f64,
    /// The rate of the launches apart in percent of a copy's; none if the ceilings are not believed.
    pub unfused_percent_of_copy: Option<f64>,
    /// True if that is enough for a fair comparison.
    pub fair: bool,
}

/// The gate merge of sizes [branches, tokens, width] against launches apart.
pub(super) fn compare(device: &Device, sizes: [usize; 3], ceilings: &Ceilings) -> Result<Fusion, Error> {
    let [branches, tokens, width] = sizes;
    let apart = Apart::new(device, sizes)?;
    apart.check()?;
    let (_, p) = apart.forward()?;
    let merged = apart.gate.merge()?;
    // Fused and apart, forward and backward.
    let mut rounds: [Rounds; 4] = Default::default();
    let mut gbytes = ceilings.gbytes;
    for _ in 0..TURNS {
        let runs: [&dyn Fn() -> Result<(), Error>; 4] = [
            &|| apart.gate.merge().map(|_| ()),
            &|| apart.forward().map(|_| ()),
            &|| apart.gate.backward(&merged).map(|_| ()),
            &|| apart.backward(&p).map(|_| ()),
        ];
        for (rounds, run) in rounds.iter_mut().zip(runs) {
            rounds.extend(Rounds::of(device, &mut || apart.wait(run()))?);
        }
        gbytes = gbytes.max(ceilings::bandwidth(device, ceilings.timer == "timestamps")?.0 / 1e9);
    }
    let [forward, forward_apart, backward, backward_apart] = &rounds;
    let (k, unit) = (branches, 4.0 * (tokens * width) as f64);
    let seconds = |rounds: &Rounds| rounds.best().iter().map(|timing| timing.seconds).sum::<f64>();
    let gain = |fused: &Rounds, unfused: &Rounds, units: [usize; 2]| {
        let (fused_seconds, unfused_seconds) = (seconds(fused), seconds(unfused));
        let (gain, ideal) = (unfused_seconds / fused_seconds.max(1e-12), units[1] as f64 / units[0] as f64);
        let rate = units[1] as f64 * unit / unfused_seconds.max(1e-12) / 1e9;
        let of_copy = ceilings.believed.then_some(100.0 * rate / gbytes);
        Gain {
            fused_ms: 1e3 * fused_seconds,
            unfused_ms: 1e3 * unfused_seconds,
            unfused_launches: unfused.best().len(),
            units,
            gain,
            ideal,
            percent_of_ideal: 100.0 * gain / ideal,
            unfused_percent_of_copy: of_copy,
            fair: of_copy >= Some(FAIR),
        }
    };
    Ok(Fusion {
        forward: gain(forward, forward_apart, [k + 2, 5 * k - 2]),
        backward: gain(backward, backward_apart, [2 * k + 3, 6 * k + 2]),
    })
}

/// The gate merge as separate launches.
struct Apart {
    gate: kernels::GateInputs,
    ones: Tensor,
}

impl Apart {
    fn new(device: &Device, sizes: [usize; 3]) -> Result<Self, Error> {
        let width = sizes[2];
        Ok(Self { gate: kernels::GateInputs::new(device, sizes)?, ones: Tensor::full(device, &[width, 1], 1.0)? })
    }

    fn wait(&self, ran: Result<(), Error>) -> Result<(), Error> {
        ran?;
        Ok(self.gate.x.device().synchronize()?)
    }

    /// a times column `column` of b, or a b.
    fn multiply(&self, a: &Tensor, b: &Tensor, column: Option<usize>) -> Result<Tensor, Error> {
        let c = Tensor::empty(a.device(), a.shape())?;
        let (columns, column) = column.map_or((0, 0), |column| (b.width(), column));
        let [count, width, columns, column] = [a.len(), a.width(), columns, column].map(|v| v as u32);
        let params = multiply::Params { count, width, columns, column };
        multiply::multiply(a.device(), params, a.view(), b.view(), c.view())?;
        Ok(c)
    }

    /// y and p.
    fn forward(&self) -> Result<(Tensor, Tensor), Error> {
        let kernels::GateInputs { x, weight, bias: b, f, .. } = &self.gate;
        let device = x.device();
        let product = matmul(Product::new(x, weight).transpose_b())?;
        let [z, p] = [Tensor::empty(device, product.shape())?, Tensor::empty(device, product.shape())?];
        bias::bias(device, product.view(), b.view(), z.view())?;
        softmax::softmax(device, z.width(), z.view(), p.view())?;
        let mut y = self.multiply(&f[0], &p, Some(0))?;
        for (k, f) in f.iter().enumerate().skip(1) {
            y = add(&y, &self.multiply(f, &p, Some(k))?, None)?;
        }
        Ok((y, p))
    }

    /// dx, dW, db and the branches' gradients.
    fn backward(&self, p: &Tensor) -> Result<Vec<Tensor>, Error> {
        let kernels::GateInputs { x, weight, f, g, .. } = &self.gate;
        let device = x.device();
        let branches = (0..f.len()).map(|k| self.multiply(g, p, Some(k))).collect::<Result<Vec<_>, _>>()?;
        let dp = Tensor::slots(device, f.len(), &[x.rows(), 1])?;
        for (f, dp) in f.iter().zip(&dp) {
            matmul_into(Product::new(&self.multiply(g, f, None)?, &self.ones), Target::Overwrite(dp))?;
        }
        let dz = Tensor::empty(device, p.shape())?;
        let stride = dp.get(1).map_or(0, |second| second.view().offset);
        let params = softmax_backward::Params { rows: p.rows() as u32, width: p.width() as u32, stride: stride as u32 };
        let mut all = dp[0].view().clone();
        all.len = stride * (f.len() - 1) + x.rows();
        softmax_backward(device, params, p.view(), &all, dz.view())?;
        let dx = matmul(Product::new(&dz, weight))?;
        let dw = matmul(Product::new(&dz, x).transpose_a())?;
        let db = sum_rows(&dz, Target::New)?;
        Ok([vec![dx, dw, db], branches].concat())
    }

    /// An error if both ways do not lead to the same numbers.
    fn check(&self) -> Result<(), Error> {
        let (y, p) = self.forward()?;
        let merged = self.gate.merge()?;
        let fused = self.gate.backward(&merged)?;
        let apart = self.backward(&p)?;
        let pairs = [
            ("y", &y, Some(&merged.y)),
            ("dx", &apart[0], fused.x.as_ref()),
            ("dW", &apart[1], fused.gate[0].as_ref()),
            ("df", &apart[3], fused.branches.first().and_then(Option::as_ref)),
        ];
        for (name, apart, fused) in pairs {
            let (apart, fused) = (apart.to_vec()?, fused.map_or(Ok(Vec::new()), Tensor::to_vec)?);
            let square = |v: f32| f64::from(v) * f64::from(v);
            let scale = (fused.iter().map(|&v| square(v)).sum::<f64>() / fused.len().max(1) as f64).sqrt();
            let worst = apart.iter().zip(&fused).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
            let agrees = apart.len() == fused.len() && worst <= AGREEMENT * scale.max(1e-30);
            if !agrees {
                let what = format!("{name} of the fused gate merge and of the launches apart differ by {worst:e}");
                return Err(Error::CheckFailed(what));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree_and_ideals_are_ratios_of_units() -> Result<(), Error> {
        let device = Device::cpu();
        for sizes in [[3, 70, 33], [1, 5, 7], [2, 64, 64]] {
            Apart::new(&device, sizes)?.check()?;
        }
        let fusion = compare(&device, [3, 8, 16], &Ceilings::for_tests(1.0, 1e9))?;
        assert_eq!((fusion.forward.units, fusion.backward.units), ([5, 13], [9, 20]));
        assert!(!fusion.forward.fair && fusion.forward.unfused_launches == 3 + 3 + 2);
        Ok(())
    }
}
