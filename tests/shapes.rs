//! Every operation, forward and backward, over random shapes: the CPU agrees with the f64 reference, and operands that do not fit
//! are errors.

use mode_autograd::{
    Added, AutogradError, Gradients, Param, Tape, Var, add, attention, columns, embedding, gate_merge, glu, layer_norm,
    linear, linear_cross_entropy, linear_to, rms_norm, rotary, scale,
};
use mode_kernels::fill_hash::{fill, ids};
use mode_tensor::{Activation, AttentionShape, Device, Dtype, Ids, Rotation, Tensor};
use proptest::prelude::*;

type Shape = Vec<usize>;
type Op<'a> = dyn Fn(&Device, &[Var]) -> Result<Var, AutogradError> + 'a;

/// `op` on parameters of these shapes: its output, and the gradients of all parameters for a random gradient of the output.
fn run(device: &Device, seed: u32, shapes: &[Shape], op: &Op) -> Result<Vec<Vec<f64>>, AutogradError> {
    run_to_end(device, seed, shapes, &|device, tape, vars| {
        let y = op(device, vars)?;
        let (value, shape) = (y.value().to_f64()?, y.value().shape());
        let dy = Tensor::from_slice(device, &fill(seed + 99, value.len(), 1.0), shape)?;
        Ok((vec![value], tape.backward(&y, dy)?))
    })
}

type End<'a> = dyn Fn(&Device, &Tape, &[Var]) -> Result<(Vec<Vec<f64>>, Gradients), AutogradError> + 'a;

/// What `end` makes of parameters of these shapes, and their gradients.
fn run_to_end(device: &Device, seed: u32, shapes: &[Shape], end: &End) -> Result<Vec<Vec<f64>>, AutogradError> {
    let tape = Tape::new();
    let param = |(i, shape): (usize, &Shape)| {
        let values = fill(seed + i as u32, shape.iter().product(), 1.0);
        let param = Param::new(format!("p{i}"), Tensor::from_slice(device, &values, shape)?);
        param.set_trained(true);
        Ok::<_, AutogradError>(param)
    };
    let params = shapes.iter().enumerate().map(param).collect::<Result<Vec<_>, _>>()?;
    let (mut found, gradients) = end(device, &tape, &params.iter().map(|param| tape.param(param)).collect::<Vec<_>>())?;
    for param in &params {
        found.push(gradients.of(param)?.to_f64()?);
    }
    Ok(found)
}

/// The CPU's results are the reference's, to the rounding of f32 sums.
fn agree(seed: u32, shapes: &[Shape], op: &Op) -> Result<(), TestCaseError> {
    agree_on(&|device| run(device, seed, shapes, op))
}

/// What a device computes, number by number.
type Run<'a> = &'a dyn Fn(&Device) -> Result<Vec<Vec<f64>>, AutogradError>;

fn agree_on(run: Run) -> Result<(), TestCaseError> {
    let on = |device: &Device| run(device).map_err(|e| TestCaseError::fail(e.to_string()));
    for (i, (got, want)) in on(&Device::cpu())?.iter().zip(on(&Device::reference())?).enumerate() {
        let scale = want.iter().fold(1.0f64, |most, v| most.max(v.abs()));
        for (j, (got, want)) in got.iter().zip(&want).enumerate() {
            prop_assert!((got - want).abs() <= 3e-5 * scale, "result {i}, element {j}: {got} and {want}");
        }
    }
    Ok(())
}

/// A frequency for each of `half` pairs.
fn angles(half: usize) -> Vec<f64> {
    (0..half).map(|i| 1e4f64.powf(-(i as f64) / half as f64)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn linear_agrees(seed in 1u32..1000, rows in 1usize..70, from in 1usize..70, to in 1usize..70) {
        agree(seed, &[vec![rows, from], vec![to, from]], &|_, v| linear(&v[0], &v[1]))?;
        agree(seed, &[vec![rows, from], vec![to, from], vec![to], vec![rows, to]], &|_, v| {
            let activation = Some(Activation::GeluTanh).filter(|_| seed % 2 == 0);
            let added = Added { alpha: 0.5, bias: Some(&v[2]), residual: Some(&v[3]), activation, out: None };
            linear_to(&v[0], &v[1], added)
        })?;
    }

    #[test]
    fn columns_agree(seed in 1u32..1000, rows in 1usize..90, width in 2usize..90, first in 0usize..40) {
        let first = first % width;
        agree(seed, &[vec![rows, width]], &|_, v| {
            // Two blocks of one matrix, which overlap.
            let count = width - first;
            add(&columns(&v[0], first, count)?, &scale(&columns(&v[0], 0, count)?, 0.5)?)
        })?;
    }

    #[test]
    fn sums_and_scales_agree(seed in 1u32..1000, rows in 1usize..40, width in 1usize..90, alpha in -3f32..3.0) {
        agree(seed, &[vec![rows, width], vec![rows, width]], &|_, v| scale(&add(&v[0], &v[1])?, alpha))?;
    }

    #[test]
    fn glu_agrees(seed in 1u32..1000, rows in 1usize..40, width in 1usize..90) {
        agree(seed, &[vec![rows, width], vec![rows, width]], &|_, v| glu(Activation::GeluTanh, &v[0], &v[1]))?;
    }

    #[test]
    fn norms_agree(seed in 1u32..1000, rows in 1usize..40, width in 1usize..300, epsilon in 1e-6f32..1.0) {
        agree(seed, &[vec![rows, width], vec![width]], &|_, v| rms_norm(&v[0], &v[1], epsilon, 0.0, Dtype::F32))?;
        let shapes = [vec![rows, width], vec![width], vec![width]];
        agree(seed, &shapes, &|_, v| layer_norm(&v[0], &v[1], &v[2], epsilon, Dtype::F32))?;
    }

    #[test]
    fn rotary_agrees(seed in 1u32..1000, windows in 1usize..4, length in 1usize..20, heads in 1usize..5, half in 1usize..20) {
        agree(seed, &[vec![windows * length, heads * 2 * half]], &|device, v| {
            rotary(&v[0], &Rotation::new(device, length, &angles(half), 1.0)?, length)
        })?;
    }

    #[test]
    fn attention_agrees(
        seed in 1u32..1000, windows in 1usize..3, length in 1usize..40, kv_heads in 1usize..4, group in 1usize..4,
        width in 1usize..40
    ) {
        let heads = kv_heads * group;
        let (q, kv) = (vec![windows * length, heads * width], vec![windows * length, kv_heads * width]);
        agree(seed, &[q, kv.clone(), kv], &|_, v| {
            attention(&v[0], &v[1], &v[2], AttentionShape::new(length, heads, kv_heads))
        })?;
    }

    #[test]
    fn embedding_agrees(seed in 1u32..1000, rows in 1usize..60, width in 1usize..40, tokens in 1usize..90) {
        agree(seed, &[vec![rows, width]], &|device, v| {
            embedding(&Ids::new(device, &ids(seed, tokens, rows as u32))?, &v[0], None)
        })?;
    }

    #[test]
    fn linear_cross_entropy_agrees(
        seed in 1u32..1000, tokens in 1usize..40, width in 1usize..40, vocabulary in 1usize..300, cap in prop::option::of(0.5f32..5.0)
    ) {
        agree_on(&|device| run_to_end(device, seed, &[vec![tokens, width], vec![vocabulary, width]], &|device, tape, v| {
            let targets = Ids::new(device, &ids(seed, tokens, vocabulary as u32))?;
            let (found, gradients) = linear_cross_entropy(&v[0], &v[1], &targets, cap).backward(tape)?;
            Ok((vec![found.nll.to_f64()?, found.mean.to_f64()?], gradients))
        }))?;
    }

    #[test]
    fn gate_merge_agrees(seed in 1u32..1000, tokens in 1usize..50, width in 1usize..140, branches in 1usize..7) {
        let stream = vec![tokens, width];
        let mut shapes = vec![stream.clone(), vec![branches, width], vec![branches]];
        shapes.extend(vec![stream; branches]);
        agree(seed, &shapes, &|_, v| Ok(gate_merge(&v[0], &v[1], &v[2], &v[3..].iter().collect::<Vec<_>>())?.y))?;
    }

    /// Shapes at random are errors or results, and never end the program.
    #[test]
    fn operands_that_do_not_fit_are_errors(
        a in prop::collection::vec(1usize..6, 1..4), b in prop::collection::vec(1usize..6, 1..4),
        c in prop::collection::vec(1usize..6, 1..4), heads in 0usize..4, length in 0usize..7
    ) {
        let shapes = [a.clone(), b.clone(), c.clone()];
        let all = |op: &Op| run(&Device::cpu(), 5, &shapes, op);
        let attended = all(&|_, v| attention(&v[0], &v[1], &v[2], AttentionShape::new(length, heads, heads)));
        let merged = all(&|_, v| Ok(gate_merge(&v[0], &v[1], &v[2], &[&v[0]])?.y));
        // Results that leave an operand out have no gradient for it: those are errors too.
        let others = [
            all(&|_, v| linear(&v[0], &v[1])),
            all(&|_, v| add(&v[0], &v[1])),
            all(&|_, v| glu(Activation::GeluTanh, &v[0], &v[1])),
            all(&|_, v| rms_norm(&v[0], &v[1], 1e-5, 0.0, Dtype::F32)),
            all(&|_, v| layer_norm(&v[0], &v[1], &Var::constant(v[2].value().clone()), 1e-5, Dtype::F32)),
            all(&|device, v| rotary(&v[0], &Rotation::new(device, 3, &[1.0], 1.0)?, length)),
            run_to_end(&Device::cpu(), 5, &shapes, &|device, tape, v| {
                let loss = linear_cross_entropy(&v[0], &v[1], &Ids::new(device, &[0, 1, 2])?, None);
                Ok((vec![], loss.backward(tape)?.1))
            }),
            all(&|device, v| embedding(&Ids::new(device, &[9])?, &v[0], None)),
        ];
        prop_assert!(others.iter().all(Result::is_err));
        prop_assert!(attended.is_err() || a[..] == b[..] || heads > 0);
        prop_assert!(merged.is_err() || b == [1, *a.last().unwrap_or(&0)]);
    }
}
