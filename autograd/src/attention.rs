//! Causal attention. The backward recomputes the scores from q, k and the rows' log sum exp.

use crate::{AutogradError, Var};
use mode_tensor::{AttentionShape, attention_backward};

/// Attention of q `[tokens, heads * width]` over k, v `[tokens, kv_heads * width]`.
///
/// # Errors
/// Shapes that do not fit.
pub fn attention(q: &Var, k: &Var, v: &Var, shape: AttentionShape) -> Result<Var, AutogradError> {
    let attended = mode_tensor::attention(q.value(), k.value(), v.value(), shape)?;
    let o = attended.o.clone();
    Var::record("attention", o, &[q, k, v], |_| {
        let (q, k, v) = (q.value().clone(), k.value().clone(), v.value().clone());
        Box::new(move |g, sink| {
            let [dq, dk, dv] = attention_backward([&q, &k, &v], &attended, g, shape)?;
            sink.add(0, dq)?;
            sink.add(1, dk)?;
            sink.add(2, dv)
        })
    })
}
