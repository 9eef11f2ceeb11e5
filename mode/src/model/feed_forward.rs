//! The feed-forward part of a layer: y = down(f(gate x) * up x), or down(f(up x)) where the family has no gate.
//!
//! x, y `[tokens, width]`; between them `[tokens, hidden]`.

use super::config::Config;
use super::context::Context;
use super::init::Start;
use super::projection::Projection;
use super::weights::Maker;
use crate::Error;
use mode_autograd::{Added, AutogradError, Var, glu};
use mode_tensor::Activation;

/// The feed-forward of a layer. Clones are the same parameters.
#[derive(Clone)]
pub struct FeedForward {
    /// `[hidden, width]`.
    pub gate: Option<Projection>,
    /// `[hidden, width]`.
    pub up: Projection,
    /// `[width, hidden]`.
    pub down: Projection,
    activation: Activation,
}

impl FeedForward {
    /// Projections named after `at`; `output` is how the one that writes to the stream starts.
    pub(crate) fn new(config: &Config, maker: &mut Maker, at: &str, output: Start) -> Result<Self, Error> {
        let (d, f, names) = (config.width, config.hidden, &config.family.names);
        let mut projection = |name: &str, shape, start| {
            Projection::new(maker, &format!("{at}{name}"), shape, start, config.biases.feed_forward)
        };
        let input = Start::Normal((d as f64).powf(-0.5));
        Ok(Self {
            gate: if config.gated() { Some(projection(names.gate, [f, d], input)?) } else { None },
            up: projection(names.up, [f, d], input)?,
            down: projection(names.down, [d, f], output)?,
            activation: config.activation,
        })
    }

    /// y of the normed stream x, and what is `added` to it.
    pub(crate) fn forward(&self, context: &Context, x: &Var, added: Added) -> Result<Var, AutogradError> {
        let h = match &self.gate {
            Some(gate) => glu(self.activation, &gate.apply(context, x)?, &self.up.apply(context, x)?)?,
            None => self.up.apply_to(context, x, Added { activation: Some(self.activation), ..Added::default() })?,
        };
        self.down.apply_to(context, &h, added)
    }

    pub(crate) fn projections(&self) -> impl Iterator<Item = &Projection> {
        self.gate.iter().chain([&self.up, &self.down])
    }

    pub(crate) fn projections_mut(&mut self) -> impl Iterator<Item = &mut Projection> {
        self.gate.iter_mut().chain([&mut self.up, &mut self.down])
    }
}
