//! Gradients against central differences.
//!
//! The scalar L is a loss, or of a result y the sum of w_i y_i with fixed random w. On the reference device all of it is f64, so
//! the differences (L(x + h) - L(x - h)) / 2h are good to about 1e-8 and a wrong term can't hide in their noise. The vjp is run
//! there, and on the device under test in f32.

use crate::{AutogradError, Gradients, Loss, Param, Tape, Var};
use mode_tensor::{Device, Tensor};

/// An input: its values and its shape.
pub type Input<'a> = (&'a [f32], &'a [usize]);

/// What has a scalar and its gradients: the result of an operation, or a loss.
pub trait Differentiable {
    /// The scalar.
    ///
    /// # Errors
    /// What the device reports.
    fn scalar(&self) -> Result<f64, AutogradError>;

    /// Its gradients.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    fn gradients(self, tape: &Tape) -> Result<Gradients, AutogradError>;
}

impl Differentiable for Var {
    fn scalar(&self) -> Result<f64, AutogradError> {
        Ok(self.value().to_f64()?.iter().enumerate().map(|(i, y)| weight(i) * y).sum())
    }

    fn gradients(self, tape: &Tape) -> Result<Gradients, AutogradError> {
        let seed: Vec<f64> = (0..self.value().len()).map(weight).collect();
        let seed = Tensor::from_f64(self.value().device(), &seed, self.value().shape())?;
        tape.backward(&self, seed)
    }
}

impl Differentiable for Loss {
    fn scalar(&self) -> Result<f64, AutogradError> {
        Ok(self.evaluate()?.mean.to_f64()?[0])
    }

    fn gradients(self, tape: &Tape) -> Result<Gradients, AutogradError> {
        Ok(self.backward(tape)?.1)
    }
}

/// Checks the gradients of `f` with respect to all `inputs`: in f64 to 1e-6, on `device` to 2e-3 of the greatest.
///
/// ```
/// use mode_autograd::{add, gradcheck};
/// use mode_tensor::Device;
///
/// let (a, b) = ((&[1.0, 2.0][..], &[2][..]), (&[3.0, 4.0][..], &[2][..]));
/// gradcheck("add", &Device::cpu(), &[a, b], |_, x| add(&x[0], &x[1]))?;
/// # Ok::<(), mode_autograd::AutogradError>(())
/// ```
///
/// # Errors
/// The first element that disagrees, or what `f` reports.
pub fn gradcheck<D: Differentiable>(
    op: &str,
    device: &Device,
    inputs: &[Input],
    f: impl Fn(&Device, &[Var]) -> Result<D, AutogradError>,
) -> Result<(), AutogradError> {
    let reference = Device::reference();
    let exact = gradients(&reference, inputs, &f)?;
    let tested = gradients(device, inputs, &f)?;
    for input in 0..inputs.len() {
        let greatest = exact[input].iter().fold(1e-6f64, |m, v| m.max(v.abs()));
        for element in 0..inputs[input].0.len() {
            let h = 1e-5;
            let up = value(&reference, inputs, (input, element, h), &f)?;
            let down = value(&reference, inputs, (input, element, -h), &f)?;
            let want = (up - down) / (2.0 * h);
            for (got, tolerance) in [(exact[input][element], 1e-6), (tested[input][element], 2e-3)] {
                let close = (got - want).abs() <= tolerance * (want.abs() + greatest);
                if !close {
                    return Err(AutogradError::Gradcheck { op: op.into(), input, element, got, want });
                }
            }
        }
    }
    Ok(())
}

/// The weight of output element i.
fn weight(i: usize) -> f64 {
    ((i * 7919 + 13) % 1000) as f64 / 500.0 - 1.0
}

/// The vjp's gradients of all inputs.
fn gradients<D: Differentiable>(
    device: &Device,
    inputs: &[Input],
    f: &impl Fn(&Device, &[Var]) -> Result<D, AutogradError>,
) -> Result<Vec<Vec<f64>>, AutogradError> {
    let tape = Tape::new();
    let mut params = Vec::new();
    for (values, shape) in inputs {
        let param = Param::new("input", Tensor::from_slice(device, values, shape)?);
        param.set_trained(true);
        params.push(param);
    }
    let vars: Vec<Var> = params.iter().map(|param| tape.param(param)).collect();
    let gradients = f(device, &vars)?.gradients(&tape)?;
    params.iter().map(|param| Ok(gradients.of(param)?.to_f64()?)).collect()
}

/// The scalar with one element of one input moved.
fn value<D: Differentiable>(
    device: &Device,
    inputs: &[Input],
    (moved, element, by): (usize, usize, f64),
    f: &impl Fn(&Device, &[Var]) -> Result<D, AutogradError>,
) -> Result<f64, AutogradError> {
    let mut vars = Vec::new();
    for (i, (values, shape)) in inputs.iter().enumerate() {
        let mut values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        if i == moved {
            values[element] += by;
        }
        vars.push(Var::constant(Tensor::from_f64(device, &values, shape)?));
    }
    f(device, &vars)?.scalar()
}
