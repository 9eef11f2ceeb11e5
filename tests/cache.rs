//! Keys and values kept from token to token give what computing the whole prefix again gives.

use mode::model::{Cache, Model, open};
use mode_autograd::Tape;
use mode_tensor::Ids;

mod common;
use common::{data, devices};

/// Logits after the last of `ids`, computed at once.
fn whole(model: &Model, ids: &[u32]) -> Vec<f32> {
    let ids_there = Ids::new(model.backbone.device(), ids).expect("memory");
    let output = model.forward(&Tape::frozen(), &ids_there, ids.len()).expect("a forward pass");
    model.logits_after(&output, &[ids.len() as u32 - 1]).expect("logits")
}

#[test]
fn a_prefix_in_pieces_is_the_prefix() {
    let ids: Vec<u32> = (0..23).map(|i| i * i * 7 % 50).collect();
    for device in devices() {
        // A plain model, and one of two experts with layers of their own.
        for folder in ["tiny-random-llama", "tiny-random-mode/composed"] {
            let model = open(&data(folder), &device).expect("a model");
            let cache = Cache::new(ids.len());
            for piece in [5, 1, 1, 9, 1, 6] {
                let (past, end) = (cache.past(), cache.past() + piece);
                let new = Ids::new(&device, &ids[past..end]).expect("memory");
                let output = model.forward_cached(&new, &cache).expect("a forward pass");
                let logits = model.logits_after(&output, &[piece as u32 - 1]).expect("logits");
                for (got, want) in logits.iter().zip(whole(&model, &ids[..end])) {
                    assert!((got - want).abs() < 1e-5, "{folder} on {} at {end}: {got} and {want}", device.name());
                }
            }
            let new = Ids::new(&device, &[1]).expect("memory");
            let error = model.forward_cached(&new, &cache).err().expect("a full cache").to_string();
            assert!(error.contains("the cache is full"), "{error}");
        }
    }
}
