//! A device's shard of a model: its share of heads, hidden elements and words, along the tensor axis of its mesh.
//!
//! With n devices, device i has rows i of q, k, v, gate and up `[out / n, in]` (column-parallel), columns i of o and down `[out, in / n]`
//! (row-parallel), rows i of embedding and head; all of every norm and, on the backbone's mesh, of every gate. A bias that is added to a
//! sum of terms is the first device's alone.

use crate::Error;
use crate::mesh::plan::{Axis, Branch, GradientKind, HalfLayer, Layout, Problem, share};
use crate::model::{Backbone, Config, Expert, Gate, Half, Layer, Model, Norm, rotations};
use mode_autograd::Param;
use mode_tensor::{Device, Dtype, Rotation, Tensor};
use std::collections::BTreeMap;
use std::ops::Range;

/// What one device has of a model.
pub(super) struct Shard {
    /// Its shard's shape.
    pub(super) config: Config,
    /// On the backbone's mesh.
    pub(super) backbone: Option<Backbone>,
    /// The experts of its mesh, by their numbers.
    pub(super) experts: BTreeMap<usize, Expert>,
    /// On the backbone's mesh.
    pub(super) gates: Vec<Gate>,
    pub(super) rotations: Vec<Rotation>,
    /// Where it stands along the tensor axis.
    pub(super) position: usize,
    blocks: usize,
    train_experts: bool,
    merges_whole: bool,
}

impl Shard {
    /// The shard of `model`, which may be on another device, that device number `number` of a layout has.
    pub(super) fn new(
        model: &Model,
        problem: &Problem,
        layout: &Layout,
        number: usize,
        device: &Device,
    ) -> Result<Self, Error> {
        let mesh = layout.mesh_of(number);
        let (tensor, position) = (mesh.tensor, mesh.position(number, Axis::Tensor));
        let config = problem.shard(tensor, position);
        let whole: BTreeMap<&str, &Param> = model.params().map(|param| (param.name(), param)).collect();
        let cut = |name: &str, shape: &[usize]| match whole.get(name) {
            Some(param) => {
                Cut::new(&problem.config, name, param.value().shape(), shape, tensor, position).of(param, device)
            }
            None => Err(Error::Setting(format!("the model has no parameter {name} to cut"))),
        };
        let home = mesh.first == 0;
        let experts = layout.experts_on(layout.mesh_index(number)).map(|expert| {
            let shard = model.experts[expert].shard(&config, device, &cut)?;
            Ok((expert, shard))
        });
        let experts = experts.collect::<Result<BTreeMap<_, _>, Error>>()?;
        let gates = if home { model.gates.as_slice() } else { &[] };
        let gates = gates.iter().map(|gate| {
            let copy =
                |param: &Param| Ok::<_, Error>(Param::new(param.name(), cut(param.name(), param.value().shape())?));
            Ok(Gate::of_params(copy(&gate.weight)?, copy(&gate.bias)?))
        });
        let shard = Self {
            backbone: if home { Some(Backbone::shard(config.clone(), device, &cut)?) } else { None },
            experts,
            gates: gates.collect::<Result<_, Error>>()?,
            rotations: rotations(&config, device)?,
            blocks: problem.blocks,
            config,
            position,
            train_experts: problem.train_experts,
            merges_whole: problem.merges_whole,
        };
        shard.silence()?;
        shard.set_trained(problem.is_trained(Branch::Expert(0)));
        if let Some(backbone) = shard.backbone.as_ref().filter(|_| problem.is_trained(Branch::Backbone)) {
            backbone.layers.iter().flat_map(Layer::params).for_each(|param| param.set_trained(true));
        }
        Ok(shard)
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        let experts = self.experts.values().flat_map(|expert| expert.blocks.iter().flatten());
        self.backbone.iter().flat_map(|backbone| &backbone.layers).chain(experts)
    }

    /// Biases that are added to sums.
    fn biases_of_sums(layer: &Layer) -> impl Iterator<Item = &Param> {
        [&layer.attention.output, &layer.feed_forward.down].into_iter().filter_map(|sum| sum.bias.as_ref())
    }

    /// Makes zeros of the biases that the first device adds.
    fn silence(&self) -> Result<(), Error> {
        if self.position > 0 {
            for bias in self.layers().flat_map(Self::biases_of_sums) {
                mode_tensor::fill(&bias.value(), 0.0)?;
            }
        }
        Ok(())
    }

    fn set_trained(&self, experts: bool) {
        self.gates.iter().flat_map(Gate::params).for_each(|param| param.set_trained(true));
        for layer in self.experts.values().flat_map(|expert| expert.blocks.iter().flatten()) {
            layer.params().for_each(|param| param.set_trained(experts));
            if self.position > 0 {
                Self::biases_of_sums(layer).for_each(|bias| bias.set_trained(false));
            }
        }
    }

    /// What is trained, by what its gradient is along the tensor axis.
    pub(super) fn trained(&self, kind: GradientKind) -> Vec<&Param> {
        let experts = || self.experts.values().filter(|_| self.train_experts);
        let layers = || experts().flat_map(|expert| expert.blocks.iter().flatten());
        let all: Vec<&Param> = match kind {
            GradientKind::Sharded => layers().flat_map(|layer| layer.projections().flat_map(|p| p.params())).collect(),
            GradientKind::Replicated => layers().flat_map(stream_norms).flat_map(Norm::params).collect(),
            GradientKind::Partial => layers().flat_map(|layer| layer.attention.norm_params()).collect(),
        };
        let kind_of_gates = if self.merges_whole { GradientKind::Replicated } else { GradientKind::Partial };
        let gates = self.gates.iter().flat_map(Gate::params).filter(|_| kind == kind_of_gates);
        all.into_iter().chain(gates).filter(|param| param.is_trained()).collect()
    }

    /// Hash of the bits of all that is not trained.
    pub(super) fn frozen_sha256(&self) -> Result<String, Error> {
        let trained: Vec<&Param> = GradientKind::ALL.into_iter().flat_map(|kind| self.trained(kind)).collect();
        let is_trained = |param: &Param| trained.iter().any(|other| other.name() == param.name());
        let all = self.backbone.iter().flat_map(Backbone::params).chain(self.experts.values().flat_map(Expert::params));
        crate::model::sha256_of(all.chain(self.gates.iter().flat_map(Gate::params)).filter(|param| !is_trained(param)))
    }

    /// The layer of a place.
    pub(super) fn layer(&self, place: &HalfLayer) -> Result<&Layer, Error> {
        let found = match place.branch {
            Branch::Backbone => self.backbone.as_ref().and_then(|backbone| {
                let each = backbone.layers.len() / self.blocks.max(1);
                backbone.layers.get(place.block * each + place.layer)
            }),
            Branch::Expert(expert) => {
                self.experts.get(&expert).and_then(|expert| expert.blocks.get(place.block)?.get(place.layer))
            }
        };
        found.ok_or_else(|| Error::Setting(format!("{place} is on another device")))
    }
}

/// The norms of the stream and of what is added to it.
fn stream_norms(layer: &Layer) -> impl Iterator<Item = &Norm> {
    Half::ALL.into_iter().flat_map(|half| std::iter::once(layer.norm(half)).chain(layer.out_norm(half)))
}

/// Which rows and columns of a matrix a shard has; a vector is a matrix of one column.
pub(super) struct Cut {
    rows: Vec<Range<usize>>,
    columns: Range<usize>,
    /// Columns of the whole.
    width: usize,
    shape: Vec<usize>,
}

impl Cut {
    /// That of the parameter `name` of shape `whole`, whose shard has shape `shard`: cut along the dim in which they differ.
    pub(super) fn new(
        config: &Config,
        name: &str,
        whole: &[usize],
        shard: &[usize],
        tensor: usize,
        position: usize,
    ) -> Self {
        let matrix = |shape: &[usize]| if let [rows, columns] = shape { [*rows, *columns] } else { [shape[0], 1] };
        let ([rows, width], [own_rows, own_columns]) = (matrix(whole), matrix(shard));
        let at = |first: usize, rows: usize| {
            let own = share(rows, tensor, position);
            first + own.start..first + own.end
        };
        let inputs = &config.family.names.inputs;
        let fused = inputs.len() == 1 && name.contains(inputs[0]);
        let rows = if own_rows == rows {
            std::iter::once(0..rows).collect()
        } else if fused {
            // Queries, keys and values one above the other.
            let (q, kv) = (config.heads * config.head_width, config.kv_heads * config.head_width);
            vec![at(0, q), at(q, kv), at(q + kv, kv)]
        } else {
            vec![at(0, rows)]
        };
        let columns = if own_columns == width { 0..width } else { at(0, width) };
        Self { rows, columns, width, shape: shard.to_vec() }
    }

    /// How many elements it has.
    pub(super) fn len(&self) -> usize {
        self.rows.iter().map(ExactSizeIterator::len).sum::<usize>() * self.columns.len()
    }

    /// Where its rows lie in the whole.
    pub(super) fn spans(&self) -> impl Iterator<Item = Range<usize>> {
        let rows = self.rows.iter().cloned().flatten();
        rows.map(|row| row * self.width + self.columns.start..row * self.width + self.columns.end)
    }

    /// The shard of a parameter, stored like it, on a device.
    fn of(&self, param: &Param, device: &Device) -> Result<Tensor, Error> {
        let value = param.value();
        let shard = self.slice(&value.to_vec()?);
        Ok(match value.dtype() {
            Dtype::F32 => Tensor::from_slice(device, &shard, &self.shape)?,
            halves => Tensor::from_halves(device, halves, &halves.encode(&shard), &self.shape)?,
        })
    }

    /// The shard of numbers.
    pub(super) fn slice(&self, whole: &[f32]) -> Vec<f32> {
        self.spans().flat_map(|span| whole[span].iter().copied()).collect()
    }

    /// Puts the shard where it belongs.
    pub(super) fn put(&self, shard: &[f32], whole: &mut [f32]) {
        let columns = self.columns.len();
        for (span, values) in self.spans().zip(shard.chunks(columns)) {
            whole[span].copy_from_slice(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_up_the_whole() {
        let config = Config { heads: 4, kv_heads: 2, head_width: 1, width: 3, ..Config::default() };
        let whole: Vec<f32> = (0..24).map(|i| i as f32).collect();
        for (shape, shard) in [([8, 3], [4, 3]), ([3, 8], [3, 4]), ([8, 3], [8, 3])] {
            let mut back = vec![0.0; 24];
            for position in 0..2 {
                let cut = Cut::new(&config, "x.weight", &shape, &shard, 2, position);
                let values = cut.slice(&whole);
                assert_eq!(values.len(), shard[0] * shard[1]);
                cut.put(&values, &mut back);
            }
            assert_eq!(back, whole, "{shape:?}");
        }
    }
}
