//! Trained parameters and their moments, whole in main memory and in shards on devices: from one to the other and back.

use super::batch::ParamState;
use super::shard::Cut;
use crate::Error;
use crate::mesh::plan::{Axis, Layout, Problem};
use crate::model::Model;
use mode_autograd::AdamW;
use std::collections::HashMap;

/// How a layout cuts what a problem trains.
pub(in crate::mesh) struct Sharding {
    pub(in crate::mesh) layout: Layout,
    pub(in crate::mesh) problem: Problem,
    /// By name, the mesh of each parameter of an expert; what is no expert's is the backbone's.
    homes: HashMap<String, usize>,
}

impl Sharding {
    /// Those of a model.
    pub(in crate::mesh) fn new(model: &Model, layout: &Layout, problem: &Problem) -> Self {
        let homes = model.experts.iter().zip(&layout.experts);
        let homes = homes.flat_map(|(expert, &mesh)| expert.params().map(move |param| (param.name().into(), mesh)));
        Self { layout: layout.clone(), problem: problem.clone(), homes: homes.collect() }
    }

    /// Which rows and columns of a whole parameter a device's shard of it has.
    ///
    /// # Errors
    /// A parameter of another mesh, or a shard that can't be one of it.
    fn cut(&self, device: usize, name: &str, whole: &[usize], state: &ParamState) -> Result<Cut, Error> {
        // Whoever has an expert has no say in gates, in other experts, or in who sees them.
        if self.homes.get(name).copied().unwrap_or(0) != self.layout.mesh_index(device) {
            return Err(self.wrong(device, &format!("has sent {name}, which is another mesh's to train")));
        }
        let mesh = self.layout.mesh_of(device);
        let cut = |shard| {
            Cut::new(&self.problem.config, name, whole, shard, mesh.tensor, mesh.position(device, Axis::Tensor))
        };
        let fits =
            state.shape.len() == whole.len() && state.shape.iter().zip(whole).all(|(shard, whole)| shard <= whole);
        let cut = fits.then(|| cut(&state.shape)).filter(|cut| cut.len() == state.value.len());
        cut.ok_or_else(|| self.wrong(device, &format!("has sent another {name} than its own")))
    }

    fn wrong(&self, device: usize, what: &str) -> Error {
        Error::Peer { device: self.layout.device_name(device), what: what.into() }
    }

    /// Brings what devices gave to `optimizer`, whose parameters are whole.
    ///
    /// # Errors
    /// A parameter of which they have not given all.
    pub(in crate::mesh) fn collect(
        &self,
        given: Vec<(usize, Vec<ParamState>)>,
        optimizer: &AdamW,
    ) -> Result<(), Error> {
        let mut shards: HashMap<String, Vec<(usize, ParamState)>> = HashMap::new();
        for (device, states) in given {
            states.into_iter().for_each(|state| shards.entry(state.name.clone()).or_default().push((device, state)));
        }
        for (param, m, v) in optimizer.states() {
            let value = param.value();
            let mut whole = [vec![0.0; value.len()], vec![0.0; value.len()], vec![0.0; value.len()]];
            let mut covered = vec![false; value.len()];
            for (device, state) in shards.remove(param.name()).unwrap_or_default() {
                let cut = self.cut(device, param.name(), value.shape(), &state)?;
                for (whole, shard) in whole.iter_mut().zip([&state.value, &state.m, &state.v]) {
                    cut.put(shard, whole);
                }
                cut.spans().flatten().for_each(|element| covered[element] = true);
            }
            if covered.contains(&false) {
                return Err(Error::Peer {
                    device: "a device".into(),
                    what: format!("has not given all of {}", param.name()),
                });
            }
            for (tensor, whole) in [&value, m, v].into_iter().zip(&whole) {
                tensor.write(whole)?;
            }
        }
        Ok(())
    }

    /// Fills what devices gave with their shards of `optimizer`'s parameters and moments.
    ///
    /// # Errors
    /// A device that has another parameter than `optimizer`.
    pub(in crate::mesh) fn fill(&self, given: &mut [(usize, Vec<ParamState>)], optimizer: &AdamW) -> Result<(), Error> {
        let whole: HashMap<String, _> =
            optimizer.states().map(|(param, m, v)| (param.name().into(), (param, m, v))).collect();
        for (device, states) in given {
            for state in states {
                let Some((param, m, v)) = whole.get(&state.name) else {
                    return Err(
                        self.wrong(*device, &format!("trains {}, which this process does not know", state.name))
                    );
                };
                let cut = self.cut(*device, &state.name, param.value().shape(), state)?;
                state.value = cut.slice(&param.value().to_vec()?);
                state.m = cut.slice(&m.to_vec()?);
                state.v = cut.slice(&v.to_vec()?);
            }
        }
        Ok(())
    }
}
