//! One decoder layer: h = x + attention(norm x), y = h + feed_forward(norm h); in some families what is added is normed too.
//!
//! All streams `[tokens, width]`. Backbone and experts are made of the same layers.

use super::attention::Attention;
use super::bottleneck::Bottleneck;
use super::config::Config;
use super::context::Context;
use super::feed_forward::FeedForward;
use super::init::{Start, stream_start};
use super::lora::Lora;
use super::norm::Norm;
use super::projection::Projection;
use super::weights::Maker;
use crate::Error;
use mode_autograd::{Added, AutogradError, Param, Tape, Var, add_at, recompute};
use mode_tensor::Tensor;

/// A decoder layer. Clones are the same parameters.
#[derive(Clone)]
pub struct Layer {
    input_norm: Norm,
    pub(crate) attention: Attention,
    attention_norm: Option<Norm>,
    feed_norm: Norm,
    pub(crate) feed_forward: FeedForward,
    feed_out_norm: Option<Norm>,
    /// After the attention and after the feed-forward.
    pub(crate) bottlenecks: Option<[Bottleneck; 2]>,
}

/// One of a layer's two sums: y = x + f(norm x), or y = x + norm f(norm x).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Half {
    /// f is the attention.
    Attention,
    /// f is the feed-forward.
    FeedForward,
}

impl Half {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Attention, Self::FeedForward];
}

impl Layer {
    /// A layer whose parameters are named after `at`, with the window and the angles of the decoder's layer number `layer`;
    /// `output` is how the matrices that write to the stream start.
    pub(crate) fn new(
        config: &Config,
        maker: &mut Maker,
        at: &str,
        layer: usize,
        output: Start,
    ) -> Result<Self, Error> {
        let names = &config.family.names;
        // What is added is silent if it starts at zero; where a norm follows, which makes any size one, the norm's factor is.
        let silent = config.out_norms && output == Start::Constant(0.0);
        let (output, added) = if silent { (stream_start(config), 0.0) } else { (output, 1.0) };
        let attention = Attention::new(config, maker, at, layer, output)?;
        let feed_forward = FeedForward::new(config, maker, at, output)?;
        let mut norm = |name: &str, factor: f32| Norm::new(config, maker, &format!("{at}{name}"), config.width, factor);
        Ok(Self {
            attention,
            feed_forward,
            input_norm: norm(names.input_norm, 1.0)?,
            feed_norm: norm(names.feed_norm, 1.0)?,
            attention_norm: if config.out_norms { Some(norm(names.attention_norm, added)?) } else { None },
            bottlenecks: None,
            feed_out_norm: if config.out_norms { Some(norm(names.feed_out_norm, added)?) } else { None },
        })
    }

    /// The layer's output; its last sum is written to `out` if one is given.
    pub(crate) fn forward(&self, context: &Context, x: &Var, out: Option<&Tensor>) -> Result<Var, Error> {
        if !context.recompute || !context.spans.is_empty() {
            return Ok(self.compute(context, x, out)?);
        }
        let Context { length, activations, .. } = *context;
        let (layer, rotations) = (self.clone(), context.rotations.to_vec());
        let params = self.params().chain(self.adapter_params()).filter(|param| param.is_trained()).cloned().collect();
        Ok(recompute(context.tape, x, params, out, move |tape: &Tape, x: &Var, out: Option<&Tensor>| {
            let rotations = &rotations;
            layer.compute(&Context { tape, rotations, length, activations, recompute: false, spans: &[] }, x, out)
        })?)
    }

    fn compute(&self, context: &Context, x: &Var, out: Option<&Tensor>) -> Result<Var, AutogradError> {
        let h = self.half(Half::Attention, context, x, None)?;
        self.half(Half::FeedForward, context, &h, out)
    }

    fn half(&self, half: Half, context: &Context, x: &Var, out: Option<&Tensor>) -> Result<Var, AutogradError> {
        let normed = self.normed(half, context, x)?;
        if let Some([attention, feed_forward]) = &self.bottlenecks {
            let bottleneck = if half == Half::Attention { attention } else { feed_forward };
            let mut f = self.inner(half, context, &normed, Added::default())?;
            if let Some(norm) = self.out_norm(half) {
                f = norm.apply(context.tape, &f, context.activations)?;
            }
            return bottleneck.add_to(context, x, &f, out);
        }
        match self.out_norm(half) {
            None => self.inner(half, context, &normed, Added { residual: Some(x), out, ..Added::default() }),
            Some(_) => self.joined(half, context, x, &self.inner(half, context, &normed, Added::default())?, out),
        }
    }

    /// What a half's f reads: the stream, normed.
    pub(crate) fn normed(&self, half: Half, context: &Context, x: &Var) -> Result<Var, AutogradError> {
        let name = self.name();
        x.value().device().at(|| name.rsplitn(3, '.').nth(2).unwrap_or(name).into());
        self.norm(half).apply(context.tape, x, context.activations)
    }

    /// A half's f, of which a device that has some of its heads, or of its hidden elements, computes its share of a sum; and what is
    /// `added` to it.
    pub(crate) fn inner(
        &self,
        half: Half,
        context: &Context,
        normed: &Var,
        added: Added,
    ) -> Result<Var, AutogradError> {
        match half {
            Half::Attention => self.attention.forward(context, self.name(), normed, added),
            Half::FeedForward => self.feed_forward.forward(context, normed, added),
        }
    }

    /// A half's result, x + norm f or x + f, where that was not added on the way.
    pub(crate) fn joined(
        &self,
        half: Half,
        context: &Context,
        x: &Var,
        f: &Var,
        out: Option<&Tensor>,
    ) -> Result<Var, AutogradError> {
        match self.out_norm(half) {
            None => add_at(x, f, out),
            Some(norm) => add_at(x, &norm.apply(context.tape, f, context.activations)?, out),
        }
    }

    /// The norm of what a half reads.
    pub(crate) fn norm(&self, half: Half) -> &Norm {
        if half == Half::Attention { &self.input_norm } else { &self.feed_norm }
    }

    /// The norm of what a half adds to the stream, where the family has one.
    pub(crate) fn out_norm(&self, half: Half) -> Option<&Norm> {
        if half == Half::Attention { self.attention_norm.as_ref() } else { self.feed_out_norm.as_ref() }
    }

    /// Its first norm's, which caches know it by; the layer's own is what stands before it.
    fn name(&self) -> &str {
        self.input_norm.weight.name()
    }

    /// Its projections: the attention's, then the feed-forward's.
    pub(crate) fn projections(&self) -> impl Iterator<Item = &Projection> {
        self.attention.projections().chain(self.feed_forward.projections())
    }

    pub(crate) fn projections_mut(&mut self) -> impl Iterator<Item = &mut Projection> {
        self.attention.projections_mut().chain(self.feed_forward.projections_mut())
    }

    /// Those of its bottleneck adapters.
    pub(crate) fn bottleneck_params(&self) -> impl Iterator<Item = &Param> {
        self.bottlenecks.iter().flatten().flat_map(Bottleneck::params)
    }

    /// Those of its LoRAs and bottlenecks.
    pub(crate) fn adapter_params(&self) -> impl Iterator<Item = &Param> {
        self.lora_params().chain(self.bottleneck_params())
    }

    /// All its parameters but an adapter's.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        let norms = [&self.input_norm, &self.feed_norm].into_iter();
        let norms = norms.chain(&self.attention_norm).chain(&self.feed_out_norm).flat_map(Norm::params);
        self.projections().flat_map(Projection::params).chain(norms).chain(self.attention.norm_params())
    }

    /// The parameters of its LoRAs.
    pub fn lora_params(&self) -> impl Iterator<Item = &Param> {
        self.projections().filter_map(|projection| projection.lora.as_ref()).flat_map(Lora::params)
    }

    /// Copies another layer's values.
    pub(crate) fn copy_from(&self, other: &Layer) -> Result<(), Error> {
        for (to, from) in self.params().zip(other.params()) {
            mode_tensor::copy(&from.value(), &to.value())?;
        }
        Ok(())
    }
}
