//! The autograd alone: a small network learns two spirals. `cargo run --release --example train_mlp`

use mode_autograd::{AdamW, AdamWSettings, AutogradError, Param, Tape, Var, add, glu, linear, linear_cross_entropy};
use mode_kernels::fill_hash::fill;
use mode_tensor::Activation;
use mode_tensor::{Device, Ids, Tensor};

const POINTS: usize = 256;
const HIDDEN: usize = 32;

/// Points `[POINTS, 2]` on two spirals, and which spiral each is on.
fn spirals() -> (Vec<f32>, Vec<u32>) {
    let point = |i: usize| {
        let (radius, turn) = (0.1 + 0.9 * i as f32 / POINTS as f32, std::f32::consts::PI * (i % 2) as f32);
        let angle = 4.0 * radius + turn;
        [radius * angle.cos(), radius * angle.sin()]
    };
    ((0..POINTS).flat_map(point).collect(), (0..POINTS as u32).map(|i| i % 2).collect())
}

/// h + W2 swiglu(W1 h) `[POINTS, HIDDEN]` with h = x W0^T: wide enough to turn with the spirals.
fn network(tape: &Tape, x: &Var, params: &[Param]) -> Result<Var, AutogradError> {
    let [enter, gate, up, down] = [0, 1, 2, 3].map(|i| tape.param(&params[i]));
    let h = linear(x, &enter)?;
    add(&h, &linear(&glu(Activation::Silu, &linear(&h, &gate)?, &linear(&h, &up)?)?, &down)?)
}

/// Trains for four hundred steps.
pub fn main() -> Result<(), AutogradError> {
    let device = Device::cpu();
    let shapes = [[HIDDEN, 3], [HIDDEN, HIDDEN], [HIDDEN, HIDDEN], [HIDDEN, HIDDEN], [2, HIDDEN]];
    let params = shapes.iter().zip(1..).map(|(&[rows, columns], seed)| {
        let values = fill(seed, rows * columns, (3.0 / columns as f32).sqrt());
        let param = Param::new(format!("w{seed}"), Tensor::from_slice(&device, &values, &[rows, columns])?);
        param.set_trained(true);
        Ok(param)
    });
    let params = params.collect::<Result<Vec<_>, AutogradError>>()?;
    let mut optimizer = AdamW::new(&params, AdamWSettings::default())?;

    let (points, spirals) = spirals();
    // A third coordinate that is always 1 takes the place of biases.
    let points: Vec<f32> = points.chunks(2).flat_map(|p| [p[0], p[1], 1.0]).collect();
    let x = Var::constant(Tensor::from_slice(&device, &points, &[POINTS, 3])?);
    let targets = Ids::new(&device, &spirals)?;
    let mut last = (f32::NAN, 0.0);
    for step in 0..=400 {
        let tape = Tape::new();
        // The last matrix makes logits `[POINTS, 2]`.
        let loss = linear_cross_entropy(&network(&tape, &x, &params)?, &tape.param(&params[4]), &targets, None);
        let (found, gradients) = loss.backward(&tape)?;
        last = found.read()?;
        if step % 100 == 0 {
            println!("step {step:3}  loss {:.4}  {:5.1} % right", last.0, 100.0 * last.1);
        }
        optimizer.step(&gradients, 1e-2)?;
    }
    assert!(last.1 > 0.95, "{} of the points are told apart", last.1);
    Ok(())
}
