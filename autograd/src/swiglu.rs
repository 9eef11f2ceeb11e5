//! h = silu(gate) * up. Formulas of the gradients stand with the kernel.

use crate::{AutogradError, Var};

/// silu(gate) * up, both `[tokens, hidden]`.
///
/// # Errors
/// Shapes that differ.
pub fn swiglu(gate: &Var, up: &Var) -> Result<Var, AutogradError> {
    let h = mode_tensor::swiglu(gate.value(), up.value())?;
    Var::record("swiglu", h, &[gate, up], |_| {
        let (gate, up) = (gate.value().clone(), up.value().clone());
        Box::new(move |g, sink| {
            let (dgate, dup) = mode_tensor::swiglu_backward(&gate, &up, g)?;
            sink.add(0, dgate)?;
            sink.add(1, dup)
        })
    })
}
