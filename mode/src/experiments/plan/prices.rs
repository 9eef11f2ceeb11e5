//! What runs take: their steps times what one takes (`train/dry_step.rs`), which hangs on the model's shape and the method alone and is
//! looked at once for each.

use super::base::Base;
use super::settings::Settings;
use crate::Error;
use crate::model::{Backbone, Random};
use crate::train::{DryStep, ExpertSettings, Recipe, dry_step};
use mode_tensor::Device;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Steps of each shape that was asked for.
#[derive(Default)]
pub(crate) struct Prices(Mutex<HashMap<String, DryStep>>);

impl Prices {
    /// What a step of a recipe takes, whose models are made by the recipes it `needs`.
    ///
    /// # Errors
    /// Sizes that do not fit each other, or a given base that can't be read.
    pub fn of(
        &self,
        (settings, base): (&Settings, &Base),
        recipe: &Recipe,
        needs: &[&Recipe],
    ) -> Result<DryStep, Error> {
        let all = || std::iter::once(&recipe).chain(needs);
        let experts: Vec<&ExpertSettings> = all().filter_map(|recipe| recipe.expert.as_ref()).collect();
        let shape = all().find_map(|recipe| recipe.model.as_ref());
        let Recipe { method, lora, bottleneck, .. } = recipe;
        let trained = recipe.compose.as_ref().map(|compose| (compose.train, compose.gating));
        let beside: Vec<[usize; 2]> = experts.iter().map(|expert| [expert.blocks, expert.layers_per_block]).collect();
        let key = format!("{:?}", (method, shape, lora, bottleneck, trained, beside));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(step) = known.get(&key) {
            return Ok(*step);
        }
        let backbone = |device: &Device| match (shape, base) {
            (None, Base::Given(given)) => given.backbone(device),
            (shape, _) => {
                let shape = shape.ok_or_else(|| Error::Setting("a recipe has no base".into()))?;
                Backbone::random(shape.config(settings.vocabulary, None), device, &mut Random::new(0))
            }
        };
        let step = dry_step(recipe, backbone, &experts)?;
        known.insert(key, step);
        Ok(step)
    }
}
