//! The whole model: a backbone, and beside its blocks no experts, one (stage 1) or several (stage 2).

use super::attention::rows;
use super::backbone::Backbone;
use super::cache::{Cache, Span};
use super::context::Context;
use super::expert::{Expert, check_blocks};
use super::gate::Gate;
use super::gating::Gating;
use super::init::Random;
use super::layer::Layer;
use super::remote::{ask, branches};
use super::sets::{Group, StageOneGates};
use super::switch::Base;
use crate::Error;
use mode_autograd::{
    Added, AutogradError, Loss, Param, Tape, Var, add, embedding, linear, linear_cross_entropy, linear_to, scale,
};
use mode_tensor::{Activation, Dtype, Ids, Tensor, copy_block, copy_rows};

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
    /// Whether passes that are recorded, as training's are, store as f16 what lies between the stream's norms and what is added to
    /// it. The stream itself, merges, the final norm and what follows it are f32.
    pub mixed: bool,
    /// The gates that stage 1 left beside each expert, if the model's were composed of them as it was opened.
    pub(crate) stage_one: Option<StageOneGates>,
    /// Where the backbone came from, if from a folder.
    pub(crate) base: Option<Base>,
}

/// Which parameters are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trained {
    /// None.
    Nothing,
    /// The whole backbone: pre-training and full fine-tuning.
    Backbone,
    /// LoRAs' factors and bottleneck adapters.
    Adapter,
    /// Experts and gates.
    Experts,
    /// Gates alone.
    Gates,
    /// Backbone, experts and gates: what the method never does, so that it can be seen what freezing is for.
    Everything,
}

/// What a forward pass gives.
pub struct Output {
    /// The stream after the final norm `[tokens, width]`.
    pub hidden: Var,
    /// Each block's merge weights `[tokens, experts + 1]`; none without experts, or where several sets of them answer.
    pub gates: Vec<Tensor>,
}

impl Model {
    /// A plain model.
    pub fn plain(backbone: Backbone) -> Self {
        Self {
            backbone,
            experts: Vec::new(),
            gates: Vec::new(),
            recompute: false,
            mixed: false,
            stage_one: None,
            base: None,
        }
    }

    /// A backbone with experts beside it and a gate for each block.
    ///
    /// # Errors
    /// No experts, experts of other blocks than the first's or with parameters of the same names, or gates that are not
    /// one of experts + 1 ways a block.
    pub fn with_experts(backbone: Backbone, experts: Vec<Expert>, gates: Vec<Gate>) -> Result<Self, Error> {
        if experts.is_empty() {
            return Err(Error::Setting("there is no expert; compose one or more".into()));
        }
        let mut model = Self::plain(backbone);
        model.set_experts(experts, gates)?;
        Ok(model)
    }

    /// Puts experts and gates in place of those that are there; none of both for a plain model.
    pub(crate) fn set_experts(&mut self, experts: Vec<Expert>, gates: Vec<Gate>) -> Result<(), Error> {
        let misfit = |what: String| Err(Error::Setting(what));
        let (blocks, layers) = experts.first().map_or((0, 0), |e| (e.info.blocks, e.info.layers_per_block));
        if !experts.is_empty() {
            check_blocks(&self.backbone.config, blocks, layers).map_err(Error::Setting)?;
        }
        for expert in &experts {
            if (expert.info.blocks, expert.info.layers_per_block) != (blocks, layers) {
                let (name, first) = (&expert.info.name, &experts[0].info.name);
                return misfit(format!("expert {name} has other blocks or layers a block than {first}"));
            }
        }
        // Caches and checkpoints know parameters by their names.
        let names = |expert: &Expert| expert.params().next().map(|param| param.name().to_string());
        if (1..experts.len()).any(|i| experts[..i].iter().any(|other| names(other) == names(&experts[i]))) {
            return misfit("two experts' parameters have the same names; open them with open_with_experts".into());
        }
        let gate = [experts.len() + 1, self.backbone.config.width];
        if gates.len() != blocks || gates.iter().any(|g| g.weight.value().shape() != gate) {
            return misfit(format!("{blocks} gates of shape {gate:?} are wanted, one a block"));
        }
        (self.experts, self.gates, self.stage_one) = (experts, gates, None);
        Ok(())
    }

    /// The kind of its gates.
    pub fn gating(&self) -> Gating {
        self.gates.first().map(Gate::gating).unwrap_or_default()
    }

    /// Makes its gates ones of another kind, whose own parameters are new.
    ///
    /// # Errors
    /// A kind that gates of so many branches can't be.
    pub fn set_gating(&mut self, gating: Gating, random: &mut Random) -> Result<(), Error> {
        gating.check(self.experts.len() + 1).map_err(Error::Setting)?;
        let gates = std::mem::take(&mut self.gates).into_iter().enumerate();
        self.gates = gates.map(|(i, gate)| gate.with_gating(gating, i, random)).collect::<Result<_, _>>()?;
        // What stage 1 left are token gates: of those that are left, rows stay as they are.
        self.stage_one = None;
        Ok(())
    }

    /// The stream `[tokens, width]` of `ids`, windows of `length` one after the other.
    ///
    /// # Errors
    /// An id out of range, or more positions than the model has.
    pub fn forward(&self, tape: &Tape, ids: &Ids, length: usize) -> Result<Output, Error> {
        self.fits(length)?;
        let (rotations, recompute) = (&self.backbone.rotations, self.recompute);
        let activations = if self.mixed && !tape.is_frozen() { Dtype::F16 } else { Dtype::F32 };
        let context = Context { tape, rotations, length, activations, recompute, spans: &[] };
        self.pass(&context, ids, &[self.everyone(&[])])
    }

    /// The stream `[tokens, width]` of `ids`, which follow the tokens that `cache` holds, and are put there.
    ///
    /// # Errors
    /// An id out of range, or more positions than the model or the cache has.
    pub fn forward_cached(&self, ids: &Ids, cache: &Cache) -> Result<Output, Error> {
        self.forward_spans(ids, &[self.everyone(&[Span { cache, tokens: ids.len() }])])
    }

    /// The stream `[tokens, width]` of several sequences' new tokens, one sequence after the other; each follows the tokens that
    /// its cache holds. The backbone's matrices are read once for all, an expert's once for each group.
    ///
    /// # Errors
    /// An id out of range, more positions than the model or a cache has, or another number of ids than the spans have tokens.
    pub fn forward_spans(&self, ids: &Ids, groups: &[Group]) -> Result<Output, Error> {
        let spans: Vec<Span> = groups.iter().flat_map(|group| group.spans.iter().copied()).collect();
        for Span { cache, tokens } in &spans {
            self.fits(cache.past() + tokens)?;
            if cache.past() + tokens > cache.capacity() {
                let what = format!("the cache is full with {} tokens; make it for more", cache.capacity());
                return Err(Error::Setting(what));
            }
        }
        let tokens: usize = spans.iter().map(|span| span.tokens).sum();
        if tokens != ids.len() {
            return Err(Error::Setting(format!("{} ids for spans of {tokens} tokens", ids.len())));
        }
        let (tape, rotations, activations) = (Tape::frozen(), &self.backbone.rotations, Dtype::F32);
        let context = Context { tape: &tape, rotations, length: tokens, activations, recompute: false, spans: &spans };
        let output = self.pass(&context, ids, groups)?;
        spans.iter().for_each(|span| span.cache.advance(span.tokens));
        Ok(output)
    }

    /// Tokens of the longest window: the configuration's positions, as far as there are rotary angles for them.
    pub fn positions(&self) -> usize {
        self.backbone.config.positions_with(&self.backbone.rotations)
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

    fn pass(&self, context: &Context, ids: &Ids, groups: &[Group]) -> Result<Output, Error> {
        let backbone = &self.backbone;
        let mut x = self.embed(context, ids)?;
        let mut gates = Vec::new();
        let blocks = self.gates.len().max(1);
        for (i, layers) in backbone.layers.chunks(backbone.config.layers / blocks).enumerate() {
            x = match groups {
                [group] => self.block(context, i, layers, &x, group, &mut gates)?,
                groups => self.grouped_block(context, i, layers, &x, groups)?,
            };
        }
        backbone.device().at(|| "the final norm".into());
        Ok(Output { hidden: backbone.norm.apply(context.tape, &x, Dtype::F32)?, gates })
    }

    /// Embeddings, by the family's factor, and learned positions where there are.
    fn embed(&self, context: &Context, ids: &Ids) -> Result<Var, AutogradError> {
        let (backbone, tape) = (&self.backbone, context.tape);
        backbone.device().at(|| "the embedding".into());
        let mut x = embedding(ids, &tape.param(&backbone.embedding), backbone.config.padding)?;
        if let Some(lora) = &backbone.embedding_lora {
            x = lora.add_rows(context, ids, &x)?;
        }
        if backbone.config.embedding_factor != 1.0 {
            x = scale(&x, backbone.config.embedding_factor as f32)?;
        }
        let Some(table) = &backbone.positions else { return Ok(x) };
        let positions: Vec<u32> = match context.spans {
            [] => (0..ids.len()).map(|i| (i % context.length) as u32).collect(),
            spans => spans.iter().flat_map(|span| (0..span.tokens).map(|i| (span.cache.past() + i) as u32)).collect(),
        };
        let positions = Ids::new(backbone.device(), &positions)?;
        add(&x, &embedding(&positions, &tape.param(table), None)?)
    }

    /// Block i: all branches read x, and the gate merges them.
    fn block(
        &self,
        context: &Context,
        i: usize,
        backbone: &[Layer],
        x: &Var,
        group: &Group,
        gates: &mut Vec<Tensor>,
    ) -> Result<Var, Error> {
        if group.experts.is_empty() {
            return stack(context, backbone, x, None);
        }
        let slots = Tensor::slots(x.value().device(), group.experts.len() + 1, x.value().shape())?;
        ask(context, i, x, &group.experts)?;
        let mut all = vec![stack(context, backbone, x, Some(&slots[0]))?];
        all.extend(branches(context, i, x, &group.experts, &slots[1..])?);
        x.value().device().at(|| format!("the gate of block {i}"));
        let gated = group.gates[i].merge(context, x, &all)?;
        gates.push(gated.p);
        Ok(gated.y)
    }

    /// Block i where groups of sequences have experts of their own: the backbone's layers once over all rows, then each group's
    /// experts and gate over its rows. Owners are asked for all groups before that.
    fn grouped_block(
        &self,
        context: &Context,
        i: usize,
        backbone: &[Layer],
        x: &Var,
        groups: &[Group],
    ) -> Result<Var, Error> {
        let mut read = Vec::new();
        let mut first = 0;
        for group in groups {
            let count: usize = group.spans.iter().map(|span| span.tokens).sum();
            let (context, x) = (Context { spans: group.spans, ..*context }, rows(x.value(), first, count)?);
            let x = Var::constant(x);
            ask(&context, i, &x, &group.experts)?;
            read.push((context, first, x));
            first += count;
        }
        let f = stack(context, backbone, x, None)?;
        let y = Tensor::empty(x.value().device(), x.value().shape())?;
        for (group, (context, first, x)) in groups.iter().zip(read) {
            let count = x.value().rows();
            if group.experts.is_empty() {
                copy_block(f.value(), first, &y, first, count)?;
                continue;
            }
            let slots = Tensor::slots(y.device(), group.experts.len() + 1, x.value().shape())?;
            copy_block(f.value(), first, &slots[0], 0, count)?;
            let mut all = vec![Var::constant(slots[0].clone())];
            all.extend(branches(&context, i, &x, &group.experts, &slots[1..])?);
            copy_rows(group.gates[i].merge(&context, &x, &all)?.y.value(), &y, first)?;
        }
        Ok(Var::constant(y))
    }

    /// Logits `[tokens, vocabulary]` of a stream.
    ///
    /// # Errors
    /// What the device reports.
    pub fn logits(&self, tape: &Tape, hidden: &Var) -> Result<Var, Error> {
        let head = self.head(tape);
        Ok(match self.backbone.config.logit_cap {
            None => linear(hidden, &head)?,
            Some(cap) => {
                let share = Added { alpha: (1.0 / cap) as f32, activation: Some(Activation::Tanh), ..Added::default() };
                scale(&linear_to(hidden, &head, share)?, cap as f32)?
            }
        })
    }

    /// The loss of a stream `[tokens, width]` against the tokens that follow, `[tokens]`, yet to be computed.
    pub fn loss(&self, tape: &Tape, hidden: &Var, targets: &Ids) -> Loss {
        let cap = self.backbone.config.logit_cap.map(|cap| cap as f32);
        linear_cross_entropy(hidden, &self.head(tape), targets, cap)
    }

    /// The matrix of the logits `[vocabulary, width]`.
    fn head(&self, tape: &Tape) -> Var {
        self.backbone.device().at(|| "the head".into());
        tape.param(self.backbone.head.as_ref().unwrap_or(&self.backbone.embedding))
    }

    /// The logits of some tokens' successors `[tokens.len(), vocabulary]`, in main memory.
    ///
    /// # Errors
    /// What the device reports.
    pub fn logits_after(&self, output: &Output, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        let rows = Ids::new(self.backbone.device(), tokens)?;
        let last = mode_tensor::embedding(&rows, output.hidden.value())?;
        Ok(self.logits(&Tape::frozen(), &Var::constant(last))?.value().to_vec()?)
    }

    /// All parameters: the backbone's, its adapters', the experts', the gates'; but those of experts whose weights are in other processes.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        let adapters = self.backbone.adapter_params();
        let experts = self.experts.iter().filter(|expert| !expert.is_remote()).flat_map(Expert::params);
        self.backbone.params().chain(adapters).chain(experts).chain(self.gates.iter().flat_map(Gate::params))
    }

    /// The experts' names, in gate order.
    pub fn expert_names(&self) -> Vec<String> {
        self.experts.iter().map(|expert| expert.info.name.clone()).collect()
    }

    /// True if there are LoRAs beside the backbone's projections.
    pub fn has_lora(&self) -> bool {
        self.backbone.lora_params().next().is_some()
    }

    /// True if there is a LoRA or a bottleneck adapter in the backbone.
    pub fn has_adapter(&self) -> bool {
        self.backbone.adapter_params().next().is_some()
    }

    /// What sets this model apart from its base, and is trained as a rule: experts and gates, an adapter, or all of a plain one.
    pub fn adapted(&self) -> Trained {
        match (self.experts.is_empty(), self.has_adapter()) {
            (false, _) => Trained::Experts,
            (true, true) => Trained::Adapter,
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
            Trained::Adapter => self.backbone.adapter_params().for_each(train),
            Trained::Gates => self.gates.iter().flat_map(Gate::params).for_each(train),
            Trained::Experts => {
                self.experts.iter().flat_map(Expert::params).for_each(train);
                self.gates.iter().flat_map(Gate::params).for_each(train);
            }
            Trained::Everything => self.params().for_each(train),
        }
    }
}

/// Layers one after the other; the last writes to `slot`, if one is given.
pub(super) fn stack(context: &Context, layers: &[Layer], x: &Var, slot: Option<&Tensor>) -> Result<Var, Error> {
    let mut y = x.clone();
    for (i, layer) in layers.iter().enumerate() {
        y = layer.forward(context, &y, slot.filter(|_| i + 1 == layers.len()))?;
    }
    Ok(y)
}
