//! The whole model: a backbone, and beside its blocks no experts, one (stage 1) or several (stage 2).

use super::backbone::Backbone;
use super::cache::Cache;
use super::context::Context;
use super::expert::{Expert, check_blocks};
use super::gate::Gate;
use super::layer::Layer;
use crate::Error;
use mode_autograd::{Param, Tape, Var, embedding, linear, rms_norm};
use mode_tensor::{Ids, Tensor};

/// A backbone with N experts; made by [`Model::plain`] or [`Model::with_experts`], which see to it that all fit.
#[non_exhaustive]
pub struct Model {
    /// The pre-trained decoder.
    pub backbone: Backbone,
    /// The experts, in gate order.
    pub experts: Vec<Expert>,
    /// One gate a block, if there are experts.
    pub gates: Vec<Gate>,
    /// Whether the backward pass computes again what the layers would have kept for it.
    pub recompute: bool,
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

impl Model {
    /// A plain model.
    pub fn plain(backbone: Backbone) -> Self {
        Self { backbone, experts: Vec::new(), gates: Vec::new(), recompute: false }
    }

    /// A backbone with experts beside it and a gate for each block.
    ///
    /// # Errors
    /// No experts, experts of other blocks than the first's or with parameters of the same names, or gates that are not
    /// one of experts + 1 ways a block.
    pub fn with_experts(backbone: Backbone, experts: Vec<Expert>, gates: Vec<Gate>) -> Result<Self, Error> {
        let misfit = |what: String| Err(Error::Setting(what));
        let Some(first) = experts.first() else {
            return misfit("there is no expert; compose one or more".into());
        };
        check_blocks(&backbone.config, first.info.blocks, first.info.layers_per_block).map_err(Error::Setting)?;
        for expert in &experts {
            if (expert.info.blocks, expert.info.layers_per_block) != (first.info.blocks, first.info.layers_per_block) {
                let (name, first) = (&expert.info.name, &first.info.name);
                return misfit(format!("expert {name} has other blocks or layers a block than {first}"));
            }
        }
        // Caches and checkpoints know parameters by their names.
        let names = |expert: &Expert| expert.params().next().map(|param| param.name().to_string());
        if (1..experts.len()).any(|i| experts[..i].iter().any(|other| names(other) == names(&experts[i]))) {
            return misfit("two experts' parameters have the same names; open them with open_with_experts".into());
        }
        let gate = [experts.len() + 1, backbone.config.width];
        if gates.len() != first.info.blocks || gates.iter().any(|g| g.weight.value().shape() != gate) {
            return misfit(format!("{} gates of shape {gate:?} are wanted, one a block", first.info.blocks));
        }
        Ok(Self { backbone, experts, gates, recompute: false })
    }

    /// The stream `[tokens, width]` of `ids`, windows of `length` one after the other.
    ///
    /// # Errors
    /// An id out of range, or more positions than the model has.
    pub fn forward(&self, tape: &Tape, ids: &Ids, length: usize) -> Result<Output, Error> {
        self.fits(length)?;
        let rotation = &self.backbone.rotation;
        self.pass(&Context { tape, rotation, length, recompute: self.recompute, cache: None }, ids)
    }

    /// The stream `[tokens, width]` of `ids`, which follow the tokens that `cache` holds, and are put there.
    ///
    /// # Errors
    /// An id out of range, or more positions than the model or the cache has.
    pub fn forward_cached(&self, ids: &Ids, cache: &Cache) -> Result<Output, Error> {
        self.fits(cache.past() + ids.len())?;
        if cache.past() + ids.len() > cache.capacity() {
            let what = format!("the cache is full with {} tokens; make it for more", cache.capacity());
            return Err(Error::Setting(what));
        }
        let (rotation, length) = (self.backbone.rotation.starting_at(cache.past()), ids.len());
        let tape = Tape::frozen();
        let context = Context { tape: &tape, rotation: &rotation, length, recompute: false, cache: Some(cache) };
        let output = self.pass(&context, ids)?;
        cache.advance(length);
        Ok(output)
    }

    /// Tokens of the longest window: the configuration's positions, as far as there are rotary angles for them.
    pub fn positions(&self) -> usize {
        self.backbone.config.positions.min(self.backbone.rotation.length())
    }

    /// An error if a window is longer than [`Model::positions`].
    pub(crate) fn fits(&self, length: usize) -> Result<(), Error> {
        let positions = self.positions();
        if length <= positions {
            return Ok(());
        }
        let limit = match self.backbone.config.positions {
            own if own == positions => format!("the model's {positions} positions"),
            own => format!("the {positions} positions that this program goes to, of the model's {own}"),
        };
        Err(Error::Setting(format!("a window of {length} tokens is longer than {limit}; cut it")))
    }

    fn pass(&self, context: &Context, ids: &Ids) -> Result<Output, Error> {
        let (backbone, tape) = (&self.backbone, context.tape);
        self.backbone.device().at(|| "the embedding".into());
        let mut x = embedding(ids, &tape.param(&backbone.embedding))?;
        let mut gates = Vec::new();
        if self.experts.is_empty() {
            for layer in &backbone.layers {
                x = layer.forward(context, &x, None)?;
            }
        } else {
            let per_block = backbone.config.layers / self.gates.len();
            for (i, layers) in backbone.layers.chunks(per_block).enumerate() {
                x = self.block(context, i, layers, &x, &mut gates)?;
            }
        }
        self.backbone.device().at(|| "the final norm".into());
        let hidden = rms_norm(&x, &tape.param(&backbone.norm), backbone.config.epsilon as f32)?;
        Ok(Output { hidden, gates })
    }

    /// Block i: all branches read x, and the gate merges them.
    fn block(
        &self,
        context: &Context,
        i: usize,
        backbone: &[Layer],
        x: &Var,
        gates: &mut Vec<Tensor>,
    ) -> Result<Var, Error> {
        let slots = Tensor::slots(x.value().device(), self.experts.len() + 1, x.value().shape())?;
        let stacks = std::iter::once(backbone).chain(self.experts.iter().map(|expert| expert.blocks[i].as_slice()));
        let branches =
            stacks.zip(&slots).map(|(layers, slot)| stack(context, layers, x, slot)).collect::<Result<Vec<_>, _>>()?;
        x.value().device().at(|| format!("the gate of block {i}"));
        let gated = self.gates[i].merge(context, x, &branches)?;
        gates.push(gated.p);
        Ok(gated.y)
    }

    /// Logits `[tokens, vocabulary]` of a stream.
    ///
    /// # Errors
    /// What the device reports.
    pub fn logits(&self, tape: &Tape, hidden: &Var) -> Result<Var, Error> {
        self.backbone.device().at(|| "the head".into());
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
        Ok(self.logits(&Tape::frozen(), &Var::constant(last))?.value().to_vec()?)
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

    /// What sets this model apart from its base, and is trained as a rule: experts and gates, a LoRA, or all of a plain one.
    pub fn adapted(&self) -> Trained {
        match (self.experts.is_empty(), self.has_lora()) {
            (false, _) => Trained::Experts,
            (true, true) => Trained::Lora,
            (true, false) => Trained::Backbone,
        }
    }

    /// What `f` gives while the parameters that `trained` names are trained and no others; afterwards all is as before.
    pub fn while_training<T>(&self, trained: Trained, f: impl FnOnce() -> T) -> T {
        let before: Vec<bool> = self.params().map(Param::is_trained).collect();
        self.set_trained(trained);
        let result = f();
        self.params().zip(before).for_each(|(param, trained)| param.set_trained(trained));
        result
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
fn stack(context: &Context, layers: &[Layer], x: &Var, slot: &Tensor) -> Result<Var, Error> {
    let mut y = x.clone();
    for (i, layer) in layers.iter().enumerate() {
        y = layer.forward(context, &y, (i + 1 == layers.len()).then_some(slot))?;
    }
    Ok(y)
}
