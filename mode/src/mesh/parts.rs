//! Trained parameters and their moments, whole in main memory and in parts on devices: from one to the other and back.

use super::layout::Layout;
use super::mesh::Axis;
use super::problem::Problem;
use super::rank::State;
use super::shard::Cut;
use super::team::device_name;
use crate::Error;
use crate::model::Model;
use mode_autograd::AdamW;
use std::collections::HashMap;

/// How a layout cuts what a problem trains.
pub(super) struct Parts {
    pub(super) layout: Layout,
    pub(super) problem: Problem,
    /// By name, the mesh of each parameter of an expert; what is no expert's is the backbone's.
    homes: HashMap<String, usize>,
}

impl Parts {
    /// Those of a model.
    pub(super) fn new(model: &Model, layout: &Layout, problem: &Problem) -> Self {
        let homes = model.experts.iter().zip(&layout.experts);
        let homes = homes.flat_map(|(expert, &mesh)| expert.params().map(move |param| (param.name().into(), mesh)));
        Self { layout: layout.clone(), problem: problem.clone(), homes: homes.collect() }
    }

    /// Which rows and columns of a whole parameter a device's part of it has.
    ///
    /// # Errors
    /// A parameter of another mesh, or a part that can't be one of it.
    fn cut(&self, device: usize, name: &str, whole: &[usize], state: &State) -> Result<Cut, Error> {
        // Whoever has an expert has no say in gates, in other experts, or in who sees them.
        if self.homes.get(name).copied().unwrap_or(0) != self.layout.number_of(device) {
            return Err(self.wrong(device, &format!("has sent {name}, which is another mesh's to train")));
        }
        let mesh = self.layout.mesh_of(device);
        let cut =
            |part| Cut::new(&self.problem.config, name, whole, part, mesh.tensor, mesh.position(device, Axis::Tensor));
        let fits = state.shape.len() == whole.len() && state.shape.iter().zip(whole).all(|(part, whole)| part <= whole);
        let cut = fits.then(|| cut(&state.shape)).filter(|cut| cut.len() == state.value.len());
        cut.ok_or_else(|| self.wrong(device, &format!("has sent another {name} than its own")))
    }

    fn wrong(&self, device: usize, what: &str) -> Error {
        Error::Peer { device: device_name(&self.layout, device), what: what.into() }
    }

    /// Brings what devices gave to `optimizer`, whose parameters are whole.
    ///
    /// # Errors
    /// A parameter of which they have not given all.
    pub(super) fn collect(&self, given: Vec<(usize, Vec<State>)>, optimizer: &AdamW) -> Result<(), Error> {
        let mut parts: HashMap<String, Vec<(usize, State)>> = HashMap::new();
        for (device, states) in given {
            states.into_iter().for_each(|state| parts.entry(state.name.clone()).or_default().push((device, state)));
        }
        for (param, m, v) in optimizer.states() {
            let value = param.value();
            let mut whole = [vec![0.0; value.len()], vec![0.0; value.len()], vec![0.0; value.len()]];
            let mut covered = vec![false; value.len()];
            for (device, state) in parts.remove(param.name()).unwrap_or_default() {
                let cut = self.cut(device, param.name(), value.shape(), &state)?;
                for (whole, part) in whole.iter_mut().zip([&state.value, &state.m, &state.v]) {
                    cut.put(part, whole);
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

    /// Fills what devices gave with their parts of `optimizer`'s parameters and moments.
    ///
    /// # Errors
    /// A device that has another parameter than `optimizer`.
    pub(super) fn fill(&self, given: &mut [(usize, Vec<State>)], optimizer: &AdamW) -> Result<(), Error> {
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
                state.value = cut.take(&param.value().to_vec()?);
                state.m = cut.take(&m.to_vec()?);
                state.v = cut.take(&v.to_vec()?);
            }
        }
        Ok(())
    }
}
