//! Kinds of gates: what a gate reads, and how its logits become weights. The paper's is the first of each.
//!
//! a = softmax of the `top` greatest of (r W^T + b) / T, and 0 for the others, per token; r `[tokens, width]`, K = N + 1 branches,
//! W `[branches, width]`. What r is of the block's input x `[tokens, width]`:
//!
//! ```text
//! token      r_t = x_t
//! sequence   r_t = mean of x_s, s <= t                        what the sequence is like so far
//! attention  r_t = x_t + sum_s softmax(q_t k_s / sqrt(h)) v_s,  s <= t,   q = x Q^T, k = x K^T, v = x V^T
//! ```
//!
//! Q, K and V are `[width, width]`, the gate's own; positions are not turned, and heads are of the greatest width h up to 64 that
//! divides the stream's. V begins at zero, so that an attention gate begins as the token gate of the same W and b.
//!
//! A branch that a token skips (`top` < K) is computed for it all the same: experts hold self-attention, so later tokens that do take
//! the expert find this token's keys and values there, made of the same x as every other's. To skip the work as well would leave
//! holes in what an expert attends to, and make a token's output hang on which others took it.
//!
//! With `top` = 1 the one weight is 1 whatever the logit, so gates get no gradient and stay as they were composed.

use super::attention::attend;
use super::context::Context;
use super::init::{Random, Start};
use crate::Error;
use mode_autograd::{AutogradError, Param, Var, add, linear, scale};
use mode_tensor::{AttentionShape, Device, SafeTensors, Tensor};
use serde::{Deserialize, Serialize};

/// Width of a head of an attention gate at the most.
const MOST_HEAD_WIDTH: usize = 64;

/// What a gate's logits are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// The token.
    #[default]
    Token,
    /// The mean of the sequence up to the token.
    Sequence,
    /// The token, and what an attention of the gate's own finds before it.
    Attention,
}

/// The kind of all gates of a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gating {
    /// What logits are made of.
    pub reads: Reads,
    /// T, which logits are divided by: below 1 for a sharper choice.
    pub temperature: f64,
    /// Branches that a token keeps, the backbone counted as one; 0 for all.
    pub top: usize,
}

impl Default for Gating {
    fn default() -> Self {
        Self { reads: Reads::Token, temperature: 1.0, top: 0 }
    }
}

impl Gating {
    /// True for the paper's.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// An error for what no gate of so many branches can be.
    pub(crate) fn check(&self, branches: usize) -> Result<(), String> {
        let Self { temperature, top, .. } = *self;
        if !(temperature.is_finite() && (1e-3..=1e3).contains(&temperature)) {
            return Err(format!("gating.temperature is {temperature}; it lies between 0.001 and 1000"));
        }
        if top > branches {
            return Err(format!("gating.top is {top} of {branches} branches, the backbone's among them; give fewer"));
        }
        Ok(())
    }

    /// Branches kept of so many.
    pub(crate) fn kept(&self, branches: usize) -> usize {
        if self.top == 0 { branches } else { self.top.min(branches) }
    }
}

/// What makes r of x.
#[derive(Clone)]
pub(crate) enum Reader {
    Token,
    Sequence,
    /// Q, K and V.
    Attention(Box<[Param; 3]>),
}

impl Reader {
    /// Names of Q, K and V of a block's gate.
    fn names(block: usize) -> [String; 3] {
        ["query", "key", "value"].map(|part| format!("blocks.{block}.gate.{part}"))
    }

    /// The tensors that it is read from: names and shapes.
    pub(crate) fn listed(reads: Reads, block: usize, width: usize) -> Vec<(String, Vec<usize>)> {
        match reads {
            Reads::Attention => Self::names(block).map(|name| (name, vec![width, width])).to_vec(),
            Reads::Token | Reads::Sequence => Vec::new(),
        }
    }

    /// A new one.
    pub(crate) fn new(
        reads: Reads,
        device: &Device,
        block: usize,
        width: usize,
        random: &mut Random,
    ) -> Result<Self, Error> {
        let normal = Start::Normal((width as f64).powf(-0.5));
        let starts = [normal, normal, Start::Constant(0.0)];
        let mut part = 0;
        Self::build(reads, device, block, width, &mut |_| {
            part += 1;
            Ok(random.values(width * width, starts[part - 1]))
        })
    }

    /// One that was written.
    pub(crate) fn read(
        reads: Reads,
        tensors: &SafeTensors,
        device: &Device,
        block: usize,
        width: usize,
    ) -> Result<Self, Error> {
        Self::build(reads, device, block, width, &mut |name| Ok(tensors.read(name, &[width, width])?))
    }

    fn build(
        reads: Reads,
        device: &Device,
        block: usize,
        width: usize,
        values: &mut dyn FnMut(&str) -> Result<Vec<f32>, Error>,
    ) -> Result<Self, Error> {
        let [q, k, v] = match reads {
            Reads::Token => return Ok(Self::Token),
            Reads::Sequence => return Ok(Self::Sequence),
            Reads::Attention => Self::names(block),
        };
        let mut param = |name: String| {
            let tensor = Tensor::from_slice(device, &values(&name)?, &[width, width])?;
            Ok::<_, Error>(Param::new(name, tensor))
        };
        Ok(Self::Attention(Box::new([param(q)?, param(k)?, param(v)?])))
    }

    /// r of x. `layer` is the name that a cache knows the gate by.
    pub(crate) fn apply(&self, context: &Context, layer: &str, x: &Var) -> Result<Var, AutogradError> {
        let width = x.value().width();
        let head = (1..=MOST_HEAD_WIDTH).rev().find(|&head| width.is_multiple_of(head)).unwrap_or(1);
        let shape = AttentionShape::new(1, width / head, width / head);
        match self {
            Self::Token => Ok(x.clone()),
            Self::Sequence => {
                // Scores of zero weigh all tokens alike, whatever the keys are.
                let any = Var::constant(x.value().clone());
                attend(
                    context,
                    None,
                    layer,
                    [any.clone(), any, x.clone()],
                    AttentionShape { scale: Some(0.0), ..shape },
                )
            }
            Self::Attention(params) => {
                let [q, k, v] = &**params;
                let project = |param| linear(x, &context.tape.param(param));
                add(x, &attend(context, None, layer, [project(q)?, project(k)?, project(v)?], shape)?)
            }
        }
    }

    /// Its parameters.
    pub(crate) fn params(&self) -> &[Param] {
        match self {
            Self::Token | Self::Sequence => &[],
            Self::Attention(params) => &params[..],
        }
    }
}

/// W and b over the temperature.
pub(crate) fn sharpened(weights: [Var; 2], temperature: f64) -> Result<[Var; 2], AutogradError> {
    if temperature == 1.0 {
        return Ok(weights);
    }
    let [weight, bias] = weights;
    let factor = (1.0 / temperature) as f32;
    Ok([scale(&weight, factor)?, scale(&bias, factor)?])
}
