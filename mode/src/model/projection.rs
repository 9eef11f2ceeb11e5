//! A weight matrix that a bias and a LoRA may stand beside: y = x W^T + b, W `[out, in]`, b `[out]`, x `[tokens, in]`. The bias, a
//! residual and, where nothing is trained, an activation are part of the product; a LoRA's product is added to that in the same way.

use super::context::Context;
use super::init::Start;
use super::lora::Lora;
use super::weights::Maker;
use crate::Error;
use mode_autograd::{Added, AutogradError, Param, Var, linear_to};

/// A weight matrix `[out, in]`, with a bias and a LoRA beside it if there are. Clones are the same parameters.
#[derive(Clone)]
pub struct Projection {
    /// The matrix.
    pub weight: Param,
    /// `[out]`.
    pub bias: Option<Param>,
    /// What a LoRA adds.
    pub(crate) lora: Option<Lora>,
}

impl Projection {
    /// The projection `name` of `[out, in]`; a bias starts at zero.
    pub(crate) fn new(
        maker: &mut Maker,
        name: &str,
        shape: [usize; 2],
        start: Start,
        biased: bool,
    ) -> Result<Self, Error> {
        let weight = maker.param(&format!("{name}.weight"), &shape, start)?;
        let bias = match biased {
            true => Some(maker.param(&format!("{name}.bias"), &shape[..1], Start::Constant(0.0))?),
            false => None,
        };
        Ok(Self { weight, bias, lora: None })
    }

    pub(crate) fn apply(&self, context: &Context, x: &Var) -> Result<Var, AutogradError> {
        self.apply_to(context, x, Added::default())
    }

    /// The same and what is `added` to it: a residual, an activation.
    pub(crate) fn apply_to(&self, context: &Context, x: &Var, added: Added) -> Result<Var, AutogradError> {
        let bias = self.bias.as_ref().map(|bias| context.tape.param(bias));
        let own = |added| linear_to(x, &context.tape.param(&self.weight), Added { bias: bias.as_ref(), ..added });
        match &self.lora {
            None => own(added),
            // What comes last is the LoRA's product.
            Some(lora) => {
                let y = own(Added { residual: added.residual, ..Added::default() })?;
                lora.add_to(context, x, Added { residual: Some(&y), ..added })
            }
        }
    }

    /// All its parameters but a LoRA's.
    pub(crate) fn params(&self) -> impl Iterator<Item = &Param> {
        std::iter::once(&self.weight).chain(&self.bias)
    }
}
