//! The gradient of every operation against central differences in f64, on the reference and on the CPU.

use mode_autograd::{Added, AutogradError, Differentiable, Var, gradcheck};
use mode_kernels::fill_hash::fill;
use mode_tensor::{Activation, AttentionShape, Device, Dtype, Ids, Rotation};

type Checked = Result<(), AutogradError>;

fn check<D: Differentiable>(
    op: &str,
    shapes: &[&[usize]],
    f: impl Fn(&Device, &[Var]) -> Result<D, AutogradError>,
) -> Checked {
    let values: Vec<Vec<f32>> =
        shapes.iter().enumerate().map(|(i, s)| fill(31 + i as u32, s.iter().product(), 1.0)).collect();
    let inputs: Vec<(&[f32], &[usize])> = values.iter().map(Vec::as_slice).zip(shapes.iter().copied()).collect();
    gradcheck(op, &Device::cpu(), &inputs, f)
}

#[test]
fn add() -> Checked {
    check("add", &[&[3, 5], &[3, 5]], |_, x| mode_autograd::add(&x[0], &x[1]))?;
    // One operand twice: its gradients add up.
    check("add", &[&[3, 5]], |_, x| mode_autograd::add(&x[0], &x[0]))
}

#[test]
fn scale() -> Checked {
    check("scale", &[&[7]], |_, x| mode_autograd::scale(&x[0], -1.25))
}

#[test]
fn linear() -> Checked {
    check("linear", &[&[5, 4], &[3, 4]], |_, x| mode_autograd::linear(&x[0], &x[1]))?;
    // Three users of one input, as q, k and v: gradients are accumulated by the products themselves.
    check("linear", &[&[5, 4], &[3, 4]], |_, x| {
        let y = mode_autograd::add(&mode_autograd::linear(&x[0], &x[1])?, &mode_autograd::linear(&x[0], &x[1])?)?;
        mode_autograd::add(&y, &mode_autograd::linear(&x[0], &x[1])?)
    })
}

#[test]
fn rms_norm() -> Checked {
    check("rms_norm", &[&[4, 6], &[6]], |_, x| mode_autograd::rms_norm(&x[0], &x[1], 1e-5, 1.0, Dtype::F32))
}

#[test]
fn layer_norm() -> Checked {
    check("layer_norm", &[&[4, 6], &[6], &[6]], |_, x| mode_autograd::layer_norm(&x[0], &x[1], &x[2], 1e-5, Dtype::F32))
}

#[test]
fn activation() -> Checked {
    for activation in Activation::ALL {
        check("activation", &[&[4, 6]], move |_, x| mode_autograd::activation(activation, &x[0]))?;
    }
    Ok(())
}

#[test]
fn linear_to() -> Checked {
    check("linear_to", &[&[5, 4], &[3, 4], &[3], &[5, 3]], |_, x| {
        let added = Added { alpha: -0.5, bias: Some(&x[2]), residual: Some(&x[3]), ..Added::default() };
        mode_autograd::linear_to(&x[0], &x[1], added)
    })?;
    // The residual is the input too; an activation, which differences see as part of the product and the tape as an operation.
    check("linear_to", &[&[5, 3], &[3, 3]], |_, x| {
        let activation = Some(Activation::GeluTanh);
        mode_autograd::linear_to(&x[0], &x[1], Added { residual: Some(&x[0]), activation, ..Added::default() })
    })
}

#[test]
fn columns() -> Checked {
    check("columns", &[&[4, 6]], |_, x| {
        let [a, b] = [mode_autograd::columns(&x[0], 1, 3)?, mode_autograd::columns(&x[0], 3, 3)?];
        mode_autograd::glu(Activation::Silu, &a, &b)
    })
}

#[test]
fn glu() -> Checked {
    for activation in Activation::ALL {
        check("glu", &[&[4, 6], &[4, 6]], move |_, x| mode_autograd::glu(activation, &x[0], &x[1]))?;
    }
    Ok(())
}

#[test]
fn rotary() -> Checked {
    check("rotary", &[&[6, 8]], |device, x| {
        mode_autograd::rotary(&x[0], &Rotation::new(device, 5, &[1.0, 0.1], 1.0)?, 3)
    })
}

#[test]
fn attention() -> Checked {
    for (heads, kv_heads) in [(2, 2), (4, 2), (3, 1)] {
        let shape = AttentionShape::new(5, heads, kv_heads);
        let (q, kv) = ([10, 3 * heads], [10, 3 * kv_heads]);
        check("attention", &[&q, &kv, &kv], |_, x| mode_autograd::attention(&x[0], &x[1], &x[2], shape))?;
    }
    Ok(())
}

#[test]
fn embedding() -> Checked {
    check("embedding", &[&[4, 3]], |device, x| {
        mode_autograd::embedding(&Ids::new(device, &[2, 0, 2, 2, 1])?, &x[0], None)
    })
}

#[test]
fn linear_cross_entropy() -> Checked {
    for cap in [None, Some(0.7)] {
        check("linear_cross_entropy", &[&[4, 3], &[7, 3]], move |device, x| {
            Ok(mode_autograd::linear_cross_entropy(&x[0], &x[1], &Ids::new(device, &[6, 0, 3, 3])?, cap))
        })?;
    }
    // A head that is the embedding too, whose gradients meet.
    check("linear_cross_entropy", &[&[7, 3]], |device, x| {
        let hidden = mode_autograd::embedding(&Ids::new(device, &[2, 0, 2, 5])?, &x[0], None)?;
        Ok(mode_autograd::linear_cross_entropy(&hidden, &x[0], &Ids::new(device, &[6, 0, 3, 3])?, None))
    })
}

#[test]
fn gate_merge() -> Checked {
    for branches in [2, 3, 5] {
        let (x, w, b) = ([4, 6], [branches, 6], [branches]);
        let mut shapes: Vec<&[usize]> = vec![&x, &w, &b];
        shapes.extend(std::iter::repeat_n(&x[..], branches));
        check("gate_merge", &shapes, |_, v| {
            let branches: Vec<&Var> = v[3..].iter().collect();
            Ok(mode_autograd::gate_merge(&v[0], &v[1], &v[2], &branches)?.y)
        })?;
    }
    Ok(())
}

#[test]
fn gate_merge_of_the_greatest() -> Checked {
    // Where a small change moves no branch in or out, the gradient is that of the branches kept.
    for (branches, top) in [(2, 1), (3, 2), (5, 2), (5, 5)] {
        let (x, w, b) = ([4, 6], [branches, 6], [branches]);
        let mut shapes: Vec<&[usize]> = vec![&x, &w, &b];
        shapes.extend(std::iter::repeat_n(&x[..], branches));
        check("gate_merge_top", &shapes, |_, v| {
            let branches: Vec<&Var> = v[3..].iter().collect();
            Ok(mode_autograd::gate_merge_top(&v[0], &v[1], &v[2], &branches, top)?.y)
        })?;
    }
    Ok(())
}

#[test]
fn gate_merge_over_slots() -> Checked {
    // As a block makes them: each branch ends in the merge's own memory, padded to 64 elements, and shares x with the gate.
    let shapes: [&[usize]; 6] = [&[4, 6], &[3, 6], &[3], &[6, 6], &[6, 6], &[6, 6]];
    check("gate_merge", &shapes, |device, v| {
        let slots = mode_tensor::Tensor::slots(device, 3, &[4, 6])?;
        let branch = |(slot, weight)| mode_autograd::add_at(&v[0], &mode_autograd::linear(&v[0], weight)?, Some(slot));
        let branches = slots.iter().zip(&v[3..]).map(branch).collect::<Result<Vec<_>, _>>()?;
        Ok(mode_autograd::gate_merge(&v[0], &v[1], &v[2], &branches.iter().collect::<Vec<_>>())?.y)
    })
}

#[test]
fn a_wrong_gradient_is_found() {
    // Doubles the forward but not the vjp: x is used once as a variable and once as a constant.
    let checked = check("wrong", &[&[3]], |_, x| mode_autograd::add(&x[0], &Var::constant(x[0].value().clone())));
    assert!(matches!(checked, Err(AutogradError::Gradcheck { .. })));
}
