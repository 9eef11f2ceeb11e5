//! Where parameters come from: a file, an initialisation, or a rule.

use super::init::{Random, Start};
use crate::{Error, files};
use mode_autograd::Param;
use mode_tensor::{Device, SafeTensors, Tensor, write_safetensors};
use std::collections::HashSet;
use std::path::Path;

/// Gives each parameter its first values.
pub(crate) enum Weights<'a> {
    /// From a file, whose names carry `prefix` where ours carry nothing.
    File { tensors: &'a SafeTensors, prefix: &'a str },
    /// At random.
    Random(&'a mut Random),
    /// By a rule: the values of the parameter of this name and shape.
    Rule(&'a Rule),
}

/// A parameter's values by its name and its shape.
pub type Rule = dyn Fn(&str, &[usize]) -> Vec<f32>;

/// Makes parameters one after the other.
pub(crate) struct Maker<'a> {
    pub(crate) device: &'a Device,
    pub(crate) weights: Weights<'a>,
    /// Put before each parameter's name.
    pub(crate) name: String,
}

impl Maker<'_> {
    /// The parameter `name` of `shape`.
    pub(crate) fn param(&mut self, name: &str, shape: &[usize], start: Start) -> Result<Param, Error> {
        let whole = format!("{}{name}", self.name);
        let values = match &mut self.weights {
            // Matrices stay as they are stored; an optimizer that trains them widens them. Vectors are small.
            Weights::File { tensors, prefix } if shape.len() > 1 => {
                return Ok(Param::new(whole, tensors.load(self.device, &format!("{prefix}{name}"), shape)?));
            }
            Weights::File { tensors, prefix } => tensors.read(&format!("{prefix}{name}"), shape)?,
            Weights::Random(random) => random.values(shape.iter().product(), start),
            Weights::Rule(rule) => rule(&whole, shape),
        };
        Ok(Param::new(whole, Tensor::from_slice(self.device, &values, shape)?))
    }
}

/// An error if a file holds a tensor that was not read: what it says would silently not count. `params` are those that were
/// read, `file_name` their names in the file from their own; `harmless` tells which others are known to carry nothing.
pub(crate) fn refuse_unread<'a>(
    tensors: &SafeTensors,
    path: &Path,
    params: impl IntoIterator<Item = &'a Param>,
    file_name: impl Fn(&str) -> String,
    harmless: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let read: HashSet<String> = params.into_iter().map(|param| file_name(param.name())).collect();
    match tensors.names().find(|name| !read.contains(*name) && !harmless(name)) {
        None => Ok(()),
        Some(name) => {
            let what = format!("tensor '{name}' has no place in the model that the configuration beside it describes");
            Err(Error::content(path, what + "; take the two from one source"))
        }
    }
}

/// Writes parameters to a file, named by `name` from the parameter's own.
pub(crate) fn write<'a>(
    path: &Path,
    params: impl IntoIterator<Item = &'a Param>,
    name: impl Fn(&str) -> String,
) -> Result<(), Error> {
    let tensors = params.into_iter().map(|param| (name(param.name()), param.value())).collect();
    files::replace(path, |partial| Ok(write_safetensors(partial, &tensors, &[])?))
}
