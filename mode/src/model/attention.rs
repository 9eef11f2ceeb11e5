//! Causal self-attention with rotary positions: o = O softmax(q k^T / sqrt(width) + mask) v, q = turn(Q x), k = turn(K x), v = V x.
//!
//! x and o `[tokens, width]`; q `[tokens, heads * head width]`, k and v `[tokens, kv_heads * head width]`, followed behind those of
//! the tokens before where there is a cache.

use super::config::Config;
use super::context::Context;
use super::init::Start;
use super::projection::Projection;
use crate::Error;
use mode_autograd::{AutogradError, Param, Var, attention, rotary};
use mode_tensor::AttentionShape;

/// Names of the projections, as in Hugging Face's files.
pub(crate) const PROJECTIONS: [&str; 4] = ["q_proj", "k_proj", "v_proj", "o_proj"];

/// The attention of a layer. Clones are the same parameters.
#[derive(Clone)]
pub struct Attention {
    /// Query, key, value and output: those that a LoRA adapts.
    pub(crate) projections: [Projection; 4],
    heads: usize,
    kv_heads: usize,
}

impl Attention {
    /// The projections that `param` makes; `output` is how the one that writes to the stream starts.
    pub(crate) fn new(
        config: &Config,
        mut param: impl FnMut(&str, [usize; 2], Start) -> Result<Param, Error>,
        output: Start,
    ) -> Result<Self, Error> {
        let (d, q, kv) = (config.width, config.heads * config.head_width, config.kv_heads * config.head_width);
        let input = Start::Normal((d as f64).powf(-0.5));
        let mut projection = |i: usize, shape, start| {
            Ok::<_, Error>(Projection {
                weight: param(&format!("self_attn.{}", PROJECTIONS[i]), shape, start)?,
                lora: None,
            })
        };
        let projections = [
            projection(0, [q, d], input)?,
            projection(1, [kv, d], input)?,
            projection(2, [kv, d], input)?,
            projection(3, [d, q], output)?,
        ];
        Ok(Self { projections, heads: config.heads, kv_heads: config.kv_heads })
    }

    /// What it adds to the stream, of the normed stream x; `layer` is the name that a cache knows it by.
    pub(crate) fn forward(&self, context: &Context, layer: &str, x: &Var) -> Result<Var, AutogradError> {
        let [q, k, v, o] = &self.projections;
        let q = rotary(&q.apply(context, x)?, context.rotation, context.length)?;
        let k = rotary(&k.apply(context, x)?, context.rotation, context.length)?;
        let v = v.apply(context, x)?;
        let (k, v, past) = match context.cache {
            None => (k, v, 0),
            Some(cache) => {
                let [k, v] = cache.extend(layer, [k.value(), v.value()])?;
                (Var::constant(k), Var::constant(v), cache.past())
            }
        };
        let shape = AttentionShape { length: context.length, heads: self.heads, kv_heads: self.kv_heads, past };
        o.apply(context, &attention(&q, &k, &v, shape)?)
    }
}
