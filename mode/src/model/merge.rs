//! A LoRA folded into its base: W <- W + (alpha / rank) B A, after which the model is a plain one.

use super::backbone::Backbone;
use super::layer::Layer;
use crate::Error;
use mode_tensor::{Dtype, Product, Tensor, matmul};

/// Folds the LoRAs beside a backbone's projections into these, which keep the type that they are stored in; the projections
/// that changed.
///
/// # Errors
/// A sum that is no number, such as one past the end of f16, or what the device reports.
pub fn merge_lora(backbone: &mut Backbone) -> Result<usize, Error> {
    let mut merged = 0;
    for projection in backbone.layers.iter_mut().flat_map(Layer::projections_mut) {
        let Some(lora) = projection.lora.take() else { continue };
        let weight = projection.weight.value();
        let (device, shape) = (weight.device(), weight.shape());
        // An adapter may be stored as halves, of which no product is made.
        let [a, b] = [&lora.a, &lora.b].map(|factor| {
            let factor = factor.value();
            Ok::<_, Error>(Tensor::from_slice(device, &factor.to_vec()?, factor.shape())?)
        });
        let added = matmul(Product::new(&b?, &a?).alpha(lora.factor))?.to_vec()?;
        let sum: Vec<f32> = weight.to_vec()?.into_iter().zip(added).map(|(w, added)| w + added).collect();
        projection.weight.set_value(match weight.dtype() {
            Dtype::F32 => Tensor::from_slice(device, &sum, shape)?,
            halves => Tensor::from_halves(device, halves, &halves.encode(&sum), shape)?,
        })?;
        // f16 ends at 65,504.
        if let Some(value) = projection.weight.value().to_vec()?.iter().find(|value| !value.is_finite()) {
            return Err(Error::NotNumbers(format!("{} holds {value} once merged", projection.weight.name())));
        }
        merged += 1;
    }
    Ok(merged)
}
