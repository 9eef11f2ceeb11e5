//! One block of Modular Domain Experts, one step: `cargo run --release --example mode_block`
//!
//! A frozen backbone of two layers is one block; beside it stands an expert of one layer, and a gate merges the two.

use mode::Error;
use mode::model::{Backbone, Config, Expert, ExpertInfo, ExpertInit, Gate, Model, Random, Trained};
use mode::train::one_step;
use mode_autograd::{AdamW, AdamWSettings};
use mode_tensor::Device;

/// Builds the block and takes two steps.
pub fn main() -> Result<(), Error> {
    let device = Device::cpu();
    let config = Config {
        vocabulary: 64,
        width: 32,
        hidden: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_width: 8,
        positions: 32,
        tied: true,
        ..Config::default()
    };
    let mut random = Random::new(1);
    let backbone = Backbone::random(config, &device, &mut random)?;
    let info = ExpertInfo::new("tales", "tales", "the hash of the base would stand here", 1, 1)?;
    let expert = Expert::new(&backbone, info, ExpertInit::Copy, &mut random)?;
    let gate = Gate::with_share(&device, 0, backbone.config.width, 0.5)?;
    let model = Model::with_experts(backbone, vec![expert], vec![gate])?;
    model.set_trained(Trained::Experts);

    let trained =
        |trained| model.params().filter(|p| p.is_trained() == trained).map(|p| p.value().len()).sum::<usize>();
    println!("{} parameters trained, {} frozen", trained(true), trained(false));
    let mut optimizer = AdamW::new(model.params(), AdamWSettings::default())?;
    let windows: Vec<Vec<u32>> = (0..4).map(|row| (0..17).map(|i| (7 * i + row) % 64).collect()).collect();

    device.start_trace();
    let first = one_step(&model, &mut optimizer, &windows, 1, 1e-2)?;
    let launches = device.stop_trace();
    let products = launches.iter().filter(|(kernel, _)| *kernel == "matmul").count();
    println!("one step: {} launches, {products} of them products; loss {:.4}", launches.len(), first.loss);
    let second = one_step(&model, &mut optimizer, &windows, 1, 1e-2)?;
    println!("the next: loss {:.4}, gradient norm {:.4}", second.loss, second.gradient_norm);
    assert!(second.loss < first.loss);
    Ok(())
}
