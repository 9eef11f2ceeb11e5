//! The whole model: a backbone, and beside its blocks no experts, one (stage 1) or several (stage 2).

use super::backbone::Backbone;
use super::config::Config;
use super::expert::Expert;
use super::gate::Gate;
use super::layer::{Layer, Stream};
use crate::Error;
use mode_autograd::{Param, Tape, Var, embedding, gate_merge, linear, rms_norm};
use mode_tensor::{Ids, Tensor};

/// A backbone with N experts.
pub struct Model {
    /// The pre-trained decoder.
    pub backbone: Backbone,
    /// The experts, in gate order.
    pub experts: Vec<Expert>,
    /// One gate a block, if there are experts.
    pub gates: Vec<Gate>,
}

/// Which parameters are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trained {
    /// None.
    Nothing,
    /// The whole backbone: pre-training and full fine-tuning.
    Backbone,
    /// The factors of the LoRAs.
    Lora,
    /// Experts and gates.
    Experts,
    /// Gates alone.
    Gates,
}

/// What a forward pass gives.
pub struct Output {
    /// The stream after the final norm `[tokens, width]`.
    pub hidden: Var,
    /// Each block's merge weights `[tokens, experts + 1]`.
    pub gates: Vec<Tensor>,
}

/// An error unless m blocks of l layers an expert fit a decoder.
pub(crate) fn check_blocks(config: &Config, blocks: usize, layers_per_block: usize) -> Result<(), String> {
    if blocks == 0 || !config.layers.is_multiple_of(blocks) {
        let fits: Vec<String> =
            (1..=config.layers).filter(|m| config.layers.is_multiple_of(*m)).map(|m| m.to_string()).collect();
        let fits = fits.join(", ");
        return Err(format!("{blocks} blocks do not divide the model's {} layers; {fits} would", config.layers));
    }
    if layers_per_block == 0 || layers_per_block > 1_000 {
        return Err(format!("an expert of {layers_per_block} layers a block; 1 to 1,000 are possible"));
    }
    Ok(())
}

impl Model {
    /// A plain model.
    pub fn plain(backbone: Backbone) -> Self {
        Self { backbone, experts: Vec::new(), gates: Vec::new() }
    }

    /// The stream `[tokens, width]` of `ids`, windows of `length` one after the other.
    ///
    /// # Errors
    /// An id out of range, or more positions than the model has.
    pub fn forward(&self, tape: &Tape, ids: &Ids, length: usize) -> Result<Output, Error> {
        let backbone = &self.backbone;
        let positions = backbone.config.positions.min(backbone.rotation.length());
        if length > positions {
            let what = format!("a window of {length} tokens is longer than the model's {positions} positions; cut it");
            return Err(Error::Setting(what));
        }
        let stream = Stream { tape, rotation: &backbone.rotation, length };
        let mut x = embedding(ids, &tape.param(&backbone.embedding))?;
        let mut gates = Vec::new();
        if self.experts.is_empty() {
            for layer in &backbone.layers {
                x = layer.forward(&stream, &x, None)?;
            }
        } else {
            let per_block = backbone.config.layers / self.gates.len();
            for (i, layers) in backbone.layers.chunks(per_block).enumerate() {
                x = self.block(&stream, i, layers, &x, &mut gates)?;
            }
        }
        let hidden = rms_norm(&x, &tape.param(&backbone.norm), backbone.config.epsilon as f32)?;
        Ok(Output { hidden, gates })
    }

    /// Block i: all branches read x, and the gate merges them.
    fn block(
        &self,
        stream: &Stream,
        i: usize,
        backbone: &[Layer],
        x: &Var,
        gates: &mut Vec<Tensor>,
    ) -> Result<Var, Error> {
        let slots = Tensor::slots(x.value().device(), self.experts.len() + 1, x.value().shape())?;
        let stacks = std::iter::once(backbone).chain(self.experts.iter().map(|expert| expert.blocks[i].as_slice()));
        let branches =
            stacks.zip(&slots).map(|(layers, slot)| stack(stream, layers, x, slot)).collect::<Result<Vec<_>, _>>()?;
        let gate = &self.gates[i];
        let (weight, bias) = (stream.tape.param(&gate.weight), stream.tape.param(&gate.bias));
        let gated = gate_merge(x, &weight, &bias, &branches.iter().collect::<Vec<_>>())?;
        gates.push(gated.p);
        Ok(gated.y)
    }

    /// Logits `[tokens, vocabulary]` of a stream.
    ///
    /// # Errors
    /// What the device reports.
    pub fn logits(&self, tape: &Tape, hidden: &Var) -> Result<Var, Error> {
        let head = self.backbone.head.as_ref().unwrap_or(&self.backbone.embedding);
        Ok(linear(hidden, &tape.param(head))?)
    }

    /// The logits of one token's successor `[vocabulary]`, in main memory.
    ///
    /// # Errors
    /// What the device reports.
    pub fn logits_after(&self, output: &Output, token: usize) -> Result<Vec<f32>, Error> {
        let row = Ids::new(self.backbone.device(), &[token as u32])?;
        let last = mode_tensor::embedding(&row, output.hidden.value())?;
        Ok(self.logits(&Tape::new(), &Var::constant(last))?.value().to_vec()?)
    }

    /// All parameters: the backbone's, its LoRAs', the experts', the gates'.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        let lora = self.backbone.layers.iter().flat_map(Layer::lora_params);
        let experts = self.experts.iter().flat_map(Expert::params);
        self.backbone.params().chain(lora).chain(experts).chain(self.gates.iter().flat_map(Gate::params))
    }

    /// True if there are LoRAs beside the backbone's projections.
    pub fn has_lora(&self) -> bool {
        self.backbone.layers.iter().any(|layer| layer.lora_params().next().is_some())
    }

    /// Trains the parameters that `trained` names, and freezes all others.
    pub fn set_trained(&self, trained: Trained) {
        for param in self.params() {
            param.set_trained(false);
        }
        let train = |param: &Param| param.set_trained(true);
        match trained {
            Trained::Nothing => {}
            Trained::Backbone => self.backbone.params().for_each(train),
            Trained::Lora => self.backbone.layers.iter().flat_map(Layer::lora_params).for_each(train),
            Trained::Gates => self.gates.iter().flat_map(Gate::params).for_each(train),
            Trained::Experts => {
                self.experts.iter().flat_map(Expert::params).for_each(train);
                self.gates.iter().flat_map(Gate::params).for_each(train);
            }
        }
    }
}

/// Layers one after the other; the last writes to `slot`.
fn stack(stream: &Stream, layers: &[Layer], x: &Var, slot: &Tensor) -> Result<Var, Error> {
    let mut y = x.clone();
    for (i, layer) in layers.iter().enumerate() {
        y = layer.forward(stream, &y, (i + 1 == layers.len()).then_some(slot))?;
    }
    Ok(y)
}
