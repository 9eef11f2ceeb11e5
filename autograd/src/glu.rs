//! h = f(gate) * up. Formulas of the gradients stand with the kernel.

use crate::{AutogradError, Var};
use mode_tensor::Activation;

/// f(gate) * up, both `[tokens, hidden]`: SwiGLU if f is SiLU, GeGLU if it is GELU.
///
/// # Errors
/// Shapes that differ.
pub fn glu(activation: Activation, gate: &Var, up: &Var) -> Result<Var, AutogradError> {
    let h = mode_tensor::glu(activation, gate.value(), up.value())?;
    Var::record("glu", h, &[gate, up], |_| {
        let (gate, up) = (gate.value().clone(), up.value().clone());
        Box::new(move |g, sink| {
            let (dgate, dup) = mode_tensor::glu_backward(activation, &gate, &up, g)?;
            sink.add(0, dgate)?;
            sink.add(1, dup)
        })
    })
}
