//! What a run trains and what it leaves alone: counts, and a hash that shows that frozen means frozen.

use crate::Error;
use crate::model::{Expert, Model, Trained, sha256_of};

/// Number of elements of the parameters that are trained, or of those that are not, those of experts in other processes among them.
pub(crate) fn count(model: &Model, trained: bool) -> u64 {
    let remote = model.experts.iter().filter(|expert| expert.is_remote()).flat_map(Expert::params);
    let all = model.params().chain(remote).filter(|param| param.is_trained() == trained);
    all.map(|param| param.value().len() as u64).sum()
}

/// What is trained and what is frozen, in words.
pub(crate) fn words(model: &Model, trained: Trained) -> (String, String) {
    let (experts, gates) = match model.experts.as_slice() {
        [one] => (format!("expert {}", one.info.name), "its gates"),
        many => (format!("{} experts", many.len()), "the gates"),
    };
    let (trained, frozen) = match trained {
        Trained::Nothing => ("nothing".into(), "all weights".into()),
        Trained::Backbone => ("all weights".into(), String::new()),
        Trained::Adapter => ("an adapter".into(), "the base model".into()),
        Trained::Experts => (format!("{experts} and {gates}"), "the base model".into()),
        Trained::Gates => (gates.to_string(), format!("the base model and {experts}")),
        Trained::Everything => (format!("the base model, {experts} and {gates}"), String::new()),
    };
    (trained, frozen)
}

/// Hex SHA-256 of the bits of all frozen parameters, in order; empty if there are none.
pub(crate) fn hash(model: &Model) -> Result<String, Error> {
    sha256_of(model.params().filter(|param| !param.is_trained()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_notices_one_changed_bit() -> Result<(), Error> {
        let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny-random-llama"));
        let model = crate::model::open(folder, &mode_tensor::Device::cpu())?;
        let before = hash(&model)?;
        assert_eq!(hash(&model)?, before);
        let Some(param) = model.params().nth(3) else { return Ok(()) };
        let mut values = param.value().to_vec()?;
        values[7] = f32::from_bits(values[7].to_bits() ^ 1);
        param.value().write(&values)?;
        assert_ne!(hash(&model)?, before);
        model.set_trained(Trained::Backbone);
        assert!(hash(&model)?.is_empty(), "nothing is frozen");
        Ok(())
    }
}
