//! A LoRA folded into its base, after which the model is a plain one: W <- W + (alpha / rank) B A of a projection, and
//! E <- E + (alpha / rank) A B^T of the embedding. The head of a tied model stays what it was, and so is a matrix of its own then.

use super::backbone::Backbone;
use super::layer::Layer;
use super::lora::Lora;
use crate::Error;
use mode_autograd::Param;
use mode_tensor::{Dtype, Product, Tensor, matmul};

/// Folds the LoRAs beside a backbone's projections and its embedding into these, which keep the type that they are stored in; how many
/// matrices changed.
///
/// # Errors
/// A sum that is no number, such as one past the end of f16, or what the device reports.
pub fn merge_lora(backbone: &mut Backbone) -> Result<usize, Error> {
    let mut merged = 0;
    for projection in backbone.layers.iter_mut().flat_map(Layer::projections_mut) {
        let Some(lora) = projection.lora.take() else { continue };
        fold(&projection.weight, &lora, |[a, b]| Product::new(b, a))?;
        merged += 1;
    }
    if let Some(lora) = backbone.embedding_lora.take() {
        if backbone.head.is_none() {
            let names = &backbone.config.family.names;
            let head = copy(&backbone.embedding)?;
            backbone.head = Some(Param::new(format!("{}.weight", names.head), head));
            backbone.config.tied = false;
        }
        fold(&backbone.embedding, &lora, |[a, b]| Product::new(a, b).transpose_b())?;
        merged += 1;
    }
    Ok(merged)
}

/// The same numbers in a tensor of its own.
fn copy(param: &Param) -> Result<Tensor, Error> {
    let value = param.value();
    stored(value.dtype(), &value.to_vec()?, &value)
}

/// Numbers as a tensor of this type, on the device and in the shape of another.
fn stored(dtype: Dtype, numbers: &[f32], like: &Tensor) -> Result<Tensor, Error> {
    let (device, shape) = (like.device(), like.shape());
    Ok(match dtype {
        Dtype::F32 => Tensor::from_slice(device, numbers, shape)?,
        halves => Tensor::from_halves(device, halves, &halves.encode(numbers), shape)?,
    })
}

/// Adds the product of a LoRA's factors to a matrix.
fn fold(weight: &Param, lora: &Lora, product: impl Fn([&Tensor; 2]) -> Product) -> Result<(), Error> {
    let value = weight.value();
    // An adapter may be stored as halves, of which no product is made.
    let [a, b] = [&lora.a, &lora.b].map(|factor| {
        let factor = factor.value();
        Ok::<_, Error>(Tensor::from_slice(value.device(), &factor.to_vec()?, factor.shape())?)
    });
    let added = matmul(product([&a?, &b?]).alpha(lora.factor))?.to_vec()?;
    let sum: Vec<f32> = value.to_vec()?.into_iter().zip(added).map(|(w, added)| w + added).collect();
    weight.set_value(stored(value.dtype(), &sum, &value)?)?;
    // f16 ends at 65,504.
    match weight.value().to_vec()?.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::NotNumbers(format!("{} holds {value} once merged", weight.name()))),
        None => Ok(()),
    }
}
