//! Where parameters come from: a file, an initialisation, or a rule.

use super::family::Names;
use super::init::{Random, Start};
use crate::{Error, files};
use mode_autograd::Param;
use mode_kernels::KernelError;
use mode_tensor::{Device, SafeTensors, Tensor, TensorError, write_safetensors};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::path::Path;

/// A file's tensors, or several files', under the names and in the shapes that the model's family has for them.
pub(crate) trait Source {
    /// Sorted.
    fn names(&self) -> Vec<&str>;
    /// Of a tensor that is there.
    fn shape(&self, name: &str) -> Result<Vec<usize>, Error>;
    /// The elements as f32.
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error>;
    /// On a device, as stored if the device computes with that.
    fn load(&self, device: &Device, name: &str, shape: &[usize]) -> Result<Tensor, Error>;
    /// A matrix that is stored the other way round; `shape` is the model's.
    fn load_transposed(&self, device: &Device, name: &str, shape: &[usize]) -> Result<Tensor, Error>;
    /// True if two tensors are stored in the same shape, type and bits.
    fn same(&self, one: &str, other: &str) -> Result<bool, Error>;
}

impl Source for SafeTensors {
    fn names(&self) -> Vec<&str> {
        self.names().collect()
    }
    fn shape(&self, name: &str) -> Result<Vec<usize>, Error> {
        Ok(self.shape(name)?)
    }
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        Ok(self.read(name, shape)?)
    }
    fn load(&self, device: &Device, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        Ok(self.load(device, name, shape)?)
    }
    fn load_transposed(&self, device: &Device, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        Ok(self.load_transposed(device, name, shape)?)
    }
    fn same(&self, one: &str, other: &str) -> Result<bool, Error> {
        Ok(self.same(one, other)?)
    }
}

/// Gives each parameter its first values.
pub(crate) enum Weights<'a> {
    /// From a file, by the name that it has there.
    File { tensors: &'a dyn Source, file_name: &'a dyn Fn(&str) -> String, names: &'a Names },
    /// At random.
    Random(&'a mut Random),
    /// By a rule: the values of the parameter of this name and shape.
    Rule(&'a Rule),
    /// What another model's parameter of this name and a part's shape is cut to.
    Cut(&'a Cutting<'a>),
    /// None: only names and shapes are noted, as a file would have them.
    Listed(&'a mut Vec<(String, Vec<usize>)>, &'a Names),
}

/// A parameter's values by its name and its shape.
pub type Rule = dyn Fn(&str, &[usize]) -> Vec<f32>;

/// What a whole parameter of this name is cut to for a part of this shape.
pub(crate) type Cutting<'a> = dyn Fn(&str, &[usize]) -> Result<Tensor, Error> + 'a;

/// Makes parameters one after the other.
pub(crate) struct Maker<'a> {
    pub(crate) device: &'a Device,
    pub(crate) weights: Weights<'a>,
}

impl Maker<'_> {
    /// The parameter `name` of `shape`.
    pub(crate) fn param(&mut self, name: &str, shape: &[usize], start: Start) -> Result<Param, Error> {
        let device = self.device;
        let values = match &mut self.weights {
            Weights::File { tensors, file_name, names } => {
                let file = file_name(name);
                // Matrices stay as they are stored; an optimizer that trains them widens them. Vectors are small.
                let tensor = if names.is_transposed(name) {
                    tensors.load_transposed(device, &file, shape)
                } else if shape.len() > 1 {
                    tensors.load(device, &file, shape)
                } else {
                    tensors.read(&file, shape).and_then(|values| Ok(Tensor::from_slice(device, &values, shape)?))
                };
                return Ok(Param::new(name, tensor.map_err(|error| too_large(error, name, shape))?));
            }
            Weights::Listed(list, names) => {
                let mut stored = shape.to_vec();
                if names.is_transposed(name) {
                    stored.reverse();
                }
                list.push((name.into(), stored));
                return Ok(Param::new(name, Tensor::empty(device, shape)?));
            }
            // Nobody will read what a device that keeps nothing was given.
            Weights::Random(_) | Weights::Rule(_) if device.is_dry() => {
                return Ok(Param::new(name, Tensor::empty(device, shape)?));
            }
            Weights::Cut(cut) => return Ok(Param::new(name, cut(name, shape)?)),
            Weights::Random(random) => random.values(shape.iter().product(), start),
            Weights::Rule(rule) => rule(name, shape),
        };
        let tensor = Tensor::from_slice(device, &values, shape).map_err(|error| too_large(error.into(), name, shape));
        Ok(Param::new(name, tensor?))
    }
}

/// Says which tensor it was that a device did not take.
fn too_large(error: Error, name: &str, shape: &[usize]) -> Error {
    match error {
        Error::Tensor(TensorError::Kernel(KernelError::Memory { .. } | KernelError::Limit { .. })) => {
            Error::Setting(format!("{name} {shape:?}: {error}"))
        }
        other => other,
    }
}

/// Tensors named in a message at the most.
const NAMED: usize = 4;

/// An error that lists the tensors that a file lacks, those whose shape is another, and those that have no place, which would
/// silently not count. `asking` names what wants them, `wanted` are names and shapes as the file has them; `harmless` tells which
/// others carry nothing.
pub(crate) fn check(
    tensors: &dyn Source,
    path: &Path,
    asking: &str,
    wanted: &[(String, Vec<usize>)],
    harmless: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    let found: HashSet<&str> = tensors.names().into_iter().collect();
    for (name, shape) in wanted {
        if !found.contains(name.as_str()) {
            missing.push(name.clone());
            continue;
        }
        let stored = tensors.shape(name)?;
        if stored != *shape {
            misshapen.push(format!("{name} {stored:?} for {shape:?}"));
        }
    }
    let known: HashSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    let surplus =
        tensors.names().into_iter().filter(|name| !known.contains(name) && !harmless(name)).map(String::from).collect();
    let mut wrong = Vec::new();
    for (list, what) in [(missing, "missing"), (misshapen, "of another shape"), (surplus, "without a place")] {
        if !list.is_empty() {
            wrong.push(format!("{} {what} ({})", counted(list.len()), some_of(&list)));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let what = format!("does not fit {asking}: {}; take all of them from one source", wrong.join(", "));
    Err(Error::content(path, what))
}

fn counted(count: usize) -> String {
    if count == 1 { "1 tensor is".into() } else { format!("{count} tensors are") }
}

fn some_of(list: &[String]) -> String {
    let named = list[..list.len().min(NAMED)].join(", ");
    if list.len() > NAMED { format!("{named} and {} more", list.len() - NAMED) } else { named }
}

/// Writes parameters to a file as their family stores them, named by `name` from the parameter's own.
pub(crate) fn write<'a>(
    path: &Path,
    params: impl IntoIterator<Item = &'a Param>,
    name: impl Fn(&str) -> String,
    names: &Names,
) -> Result<(), Error> {
    let tensors = params.into_iter().map(|param| (name(param.name()), param.value())).collect();
    let transposed = |name: &str| names.is_transposed(name);
    files::replace(path, |partial| Ok(write_safetensors(partial, &tensors, transposed, &[])?))
}

/// Hex SHA-256 of parameters' names and bits, in order; empty if there are none.
pub(crate) fn sha256_of<'a>(params: impl Iterator<Item = &'a Param>) -> Result<String, Error> {
    let params: Vec<&Param> = params.collect();
    if params.is_empty() {
        return Ok(String::new());
    }
    let mut hasher = Sha256::new();
    for param in params {
        hasher.update(param.name().as_bytes());
        for value in param.value().to_vec()? {
            hasher.update(value.to_le_bytes());
        }
    }
    Ok(files::hex(&hasher.finalize()))
}
