//! What can go wrong with gradients.

use mode_tensor::TensorError;

/// An error of differentiation or of an optimizer.
#[derive(Debug, thiserror::Error)]
pub enum AutogradError {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Operands that were recorded on different tapes.
    #[error("{op}: operands are on different tapes; use one tape for one forward pass")]
    TwoTapes {
        /// The operation.
        op: &'static str,
    },
    /// A tape that has been walked back already.
    #[error("{op}: its tape has been walked back already; record each forward pass on a tape of its own")]
    Spent {
        /// The operation.
        op: &'static str,
    },
    /// The backward was asked of something that nothing trained leads to.
    #[error("backward: the loss depends on no trained parameter; set at least one parameter to be trained")]
    NothingTrained,
    /// An optimizer over no parameters.
    #[error("optimizer: no parameter is trained; unfreeze an expert, a gate or the model")]
    NoParameters,
    /// A trained parameter that the loss does not depend on.
    #[error(
        "parameter '{name}' is trained, but no gradient reaches it: the loss does not depend on it; freeze it or use it"
    )]
    Unreached {
        /// The parameter.
        name: String,
    },
    /// A parameter that two optimizers want to step.
    #[error("optimizer: another one has taken over parameter '{name}'; step with that, or make this one after it")]
    TakenOver {
        /// The parameter.
        name: String,
    },
    /// A gradient that disagrees with finite differences.
    #[error("gradcheck of {op}: input {input}, element {element}: {got} but differences give {want}")]
    Gradcheck {
        /// The operation.
        op: String,
        /// Number of the input.
        input: usize,
        /// Element of the input.
        element: usize,
        /// The vjp's value.
        got: f64,
        /// The differences' value.
        want: f64,
    },
}
