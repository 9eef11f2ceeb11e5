//! Causal self-attention, for each head: o = softmax(cap(s q k^T) + mask) v O^T, q = R(x Q^T), k = R(x K^T), v = x V^T.
//!
//! s is 1 / sqrt(head width) as a rule. R turns by position (`rope.rs`). cap(z) = c tanh(z / c) where the family has a soft cap (Gemma 2).
//! The mask lets a token see itself and what came before, or the last w of those (a sliding window). heads / kv_heads query heads share
//! a key head.
//!
//! x and o `[tokens, width]`; q `[tokens, heads * head width]`, k and v `[tokens, kv_heads * head width]`, followed behind those of
//! the tokens before where there is a cache. Q, K and V are three projections or one; queries and keys are normed a head at a
//! time, and turned by their positions, where the family does so.

use super::cache::Span;
use super::config::Config;
use super::context::Context;
use super::init::Start;
use super::norm::Norm;
use super::projection::Projection;
use super::weights::Maker;
use crate::Error;
use mode_autograd::{Added, AutogradError, Param, Var, attention, columns, rotary};
use mode_tensor::{AttentionShape, Rotation, Tensor, copy_rows};

/// The attention of a layer. Clones are the same parameters.
#[derive(Clone)]
pub struct Attention {
    /// Query, key and value, or the one projection that makes all three.
    pub(crate) inputs: Vec<Projection>,
    pub(crate) output: Projection,
    /// Of each head's query and key.
    norms: Option<[Norm; 2]>,
    /// Which of the model's rotations.
    rope: Option<usize>,
    shape: AttentionShape,
    head_width: usize,
}

impl Attention {
    /// The attention of layer number `layer`, named after `at`; `output` is how the projection that writes to the stream starts.
    pub(crate) fn new(
        config: &Config,
        maker: &mut Maker,
        at: &str,
        layer: usize,
        output: Start,
    ) -> Result<Self, Error> {
        let (d, names) = (config.width, &config.family.names);
        let (q, kv) = (config.heads * config.head_width, config.kv_heads * config.head_width);
        let widths = if names.inputs.len() == 1 { vec![q + 2 * kv] } else { vec![q, kv, kv] };
        let input = Start::Normal((d as f64).powf(-0.5));
        let mut projection =
            |name: &str, shape, start, biased| Projection::new(maker, &format!("{at}{name}"), shape, start, biased);
        let inputs = names.inputs.iter().zip(widths);
        let inputs = inputs.map(|(name, width)| projection(name, [width, d], input, config.biases.inputs));
        let inputs = inputs.collect::<Result<_, _>>()?;
        let output = projection(names.output, [d, q], output, config.biases.output)?;
        let mut norm = |name: &str| Norm::new(config, maker, &format!("{at}{name}"), config.head_width, 1.0);
        let norms = match config.head_norms {
            true => Some([norm(names.head_norms[0])?, norm(names.head_norms[1])?]),
            false => None,
        };
        let shape = AttentionShape {
            window: config.window(layer),
            scale: config.score_scale.map(|scale| scale as f32),
            cap: config.score_cap.map(|cap| cap as f32),
            ..AttentionShape::new(1, config.heads, config.kv_heads)
        };
        Ok(Self { inputs, output, norms, rope: config.rope(layer), shape, head_width: config.head_width })
    }

    /// Attention over the normed stream x, and what is `added` to it; `layer` is the name that a cache knows it by.
    pub(crate) fn forward(&self, context: &Context, layer: &str, x: &Var, added: Added) -> Result<Var, AutogradError> {
        let rotation = self.rope.map(|rope| &context.rotations[rope]);
        let o = attend(context, rotation, layer, self.project(context, x)?, self.shape)?;
        self.output.apply_to(context, &o, added)
    }

    /// Queries, keys and values, normed where the family does so.
    fn project(&self, context: &Context, x: &Var) -> Result<[Var; 3], AutogradError> {
        let [q, k, v] = match self.inputs.as_slice() {
            [q, k, v] => [q.apply(context, x)?, k.apply(context, x)?, v.apply(context, x)?],
            fused => {
                let all = fused[0].apply(context, x)?;
                let (q, kv) = (self.shape.heads * self.head_width, self.shape.kv_heads * self.head_width);
                [columns(&all, 0, q)?, columns(&all, q, kv)?, columns(&all, q + kv, kv)?]
            }
        };
        let Some([q_norm, k_norm]) = &self.norms else { return Ok([q, k, v]) };
        let by_head = |norm: &Norm, x: &Var| {
            let shape = x.value().shape().to_vec();
            let heads = x.reshape(&[x.value().len() / self.head_width, self.head_width])?;
            norm.apply(context.tape, &heads, context.activations)?.reshape(&shape)
        };
        Ok([by_head(q_norm, &q)?, by_head(k_norm, &k)?, v])
    }

    pub(crate) fn projections(&self) -> impl Iterator<Item = &Projection> {
        self.inputs.iter().chain([&self.output])
    }

    pub(crate) fn projections_mut(&mut self) -> impl Iterator<Item = &mut Projection> {
        self.inputs.iter_mut().chain([&mut self.output])
    }

    /// Of its norms.
    pub(crate) fn norm_params(&self) -> impl Iterator<Item = &Param> {
        self.norms.iter().flatten().flat_map(Norm::params)
    }
}

/// Attention of queries to keys and values: of whole windows, or of new tokens and those that caches hold, which know it as `layer`.
/// Queries and keys are turned by position, if there is a rotation; of `shape` the heads, the mask and the scores count.
pub(crate) fn attend(
    context: &Context,
    rotation: Option<&Rotation>,
    layer: &str,
    [q, k, v]: [Var; 3],
    shape: AttentionShape,
) -> Result<Var, AutogradError> {
    match context.spans {
        [] => attend_window(context.length, rotation, [q, k, v], shape),
        [span] => attend_span(span, rotation, layer, [q, k, v], shape),
        spans => {
            // Sequences of their own lengths share the projections, and nothing else.
            let o = Tensor::empty(q.value().device(), q.value().shape())?;
            let mut first = 0;
            for span in spans {
                let part = |x: &Var| Ok::<_, AutogradError>(Var::constant(rows(x.value(), first, span.tokens)?));
                let parts = [part(&q)?, part(&k)?, part(&v)?];
                copy_rows(attend_span(span, rotation, layer, parts, shape)?.value(), &o, first)?;
                first += span.tokens;
            }
            Ok(Var::constant(o))
        }
    }
}

/// Over windows of `length` tokens that hold all their keys.
fn attend_window(
    length: usize,
    rotation: Option<&Rotation>,
    [mut q, mut k, v]: [Var; 3],
    shape: AttentionShape,
) -> Result<Var, AutogradError> {
    if let Some(rotation) = rotation {
        (q, k) = (rotary(&q, rotation, length)?, rotary(&k, rotation, length)?);
    }
    attention(&q, &k, &v, AttentionShape { length, ..shape })
}

/// Over the new tokens of one sequence and those that its cache holds.
fn attend_span(
    span: &Span,
    rotation: Option<&Rotation>,
    layer: &str,
    [mut q, mut k, v]: [Var; 3],
    shape: AttentionShape,
) -> Result<Var, AutogradError> {
    let past = span.cache.past();
    if let Some(rotation) = rotation {
        let rotation = rotation.starting_at(past);
        (q, k) = (rotary(&q, &rotation, span.tokens)?, rotary(&k, &rotation, span.tokens)?);
    }
    let [k, v] = span.cache.extend(layer, [k.value(), v.value()])?;
    let shape = AttentionShape { length: span.tokens, past, ..shape };
    attention(&q, &Var::constant(k), &Var::constant(v), shape)
}

/// A copy of rows `first` and on, `count` of them.
pub(crate) fn rows(x: &Tensor, first: usize, count: usize) -> Result<Tensor, mode_tensor::TensorError> {
    let part = Tensor::empty(x.device(), &[count, x.width()])?;
    mode_tensor::copy_block(x, first, &part, 0, count)?;
    Ok(part)
}
