//! Greedy generation. Keys and values of the tokens so far are kept, so each new token computes itself alone.

use crate::Error;
use crate::model::{Cache, Model};
use mode_tensor::Ids;

/// What was generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The new ids, in order.
    pub ids: Vec<u32>,
    /// The five likeliest first tokens with their log-probabilities, best first.
    pub top: Vec<(u32, f64)>,
}

/// The `count` likeliest successors of `prompt`, one after the other; ends early only at one of `stop`.
///
/// # Errors
/// An empty prompt, an id out of range, more tokens than the model has positions, or logits that are no numbers.
pub fn generate(model: &Model, prompt: &[u32], count: usize, stop: &[u32]) -> Result<Generated, Error> {
    if prompt.is_empty() {
        return Err(Error::Setting("the prompt is empty; give at least one token".into()));
    }
    // The last of the new tokens is only predicted.
    model.fits(prompt.len().saturating_add(count.saturating_sub(1))).map_err(|error| {
        Error::Setting(format!("{error}: {} of the prompt and {count} new ones; lower --max-new", prompt.len()))
    })?;
    let mut ids = prompt.to_vec();
    let mut top = Vec::new();
    let cache = Cache::new(prompt.len() + count);
    Ids::new(model.backbone.device(), prompt)?.check_range(model.backbone.config.vocabulary)?;
    for _ in 0..count {
        let new = &ids[cache.past()..];
        let output = model.forward_cached(&Ids::new(model.backbone.device(), new)?, &cache)?;
        let logits = model.logits_after(&output, new.len() - 1)?;
        if let Some(logit) = logits.iter().find(|logit| !logit.is_finite()) {
            return Err(Error::NotNumbers(format!("a logit is {logit}")));
        }
        if top.is_empty() {
            top = likeliest(&logits, 5);
        }
        let Some(&(next, _)) = likeliest(&logits, 1).first() else { break };
        ids.push(next);
        if stop.contains(&next) {
            break;
        }
    }
    Ok(Generated { ids: ids.split_off(prompt.len()), top })
}

/// The `count` greatest logits as ids and log-probabilities; the lower id first among equals.
fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f64)> {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&z| f64::from(z - greatest).exp()).sum();
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
    order.truncate(count);
    order.into_iter().map(|id| (id, f64::from(logits[id as usize] - greatest) - total.ln())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeliest_are_log_probabilities() {
        let top = likeliest(&[0.0, 3f32.ln(), 0.0], 2);
        assert_eq!((top[0].0, top[1].0), (1, 0));
        approx::assert_relative_eq!(top[0].1, 0.6f64.ln(), epsilon = 1e-6);
    }
}
