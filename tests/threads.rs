//! The number of threads does not change a bit of what is trained on the CPU.

use mode::model::{Backbone, Config, Model, Random, Trained};
use mode::train::one_step;
use mode_autograd::{AdamW, AdamWSettings};
use mode_kernels::fill_hash::fill;
use mode_tensor::{Device, Product, Tensor, matmul};

/// The bits of all weights after three steps of a model wide enough for every kernel to be split over threads.
fn trained_on(threads: usize) -> Vec<u32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| {
        let config = Config {
            vocabulary: 512,
            width: 128,
            hidden: 352,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_width: 32,
            positions: 256,
            tied: true,
            ..Config::default()
        };
        let backbone = Backbone::random(config, &Device::cpu(), &mut Random::new(1)).expect("a model");
        let model = Model::plain(backbone);
        model.set_trained(Trained::Backbone);
        let mut optimizer = AdamW::new(model.params(), AdamWSettings::default()).expect("parameters");
        for step in 1..=3 {
            let window =
                |row: u64| (0..151).map(|i| ((i * 31 + row * 77 + step * 13) % 509) as u32).collect::<Vec<_>>();
            let windows: Vec<Vec<u32>> = (0..7).map(window).collect();
            one_step(&model, &mut optimizer, &windows, 1, 1e-2).expect("a step");
        }
        let values = model.params().flat_map(|param| param.value().to_vec().expect("readable"));
        values.map(f32::to_bits).collect()
    })
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let one = trained_on(1);
    for threads in [2, 3, 8] {
        let differ = trained_on(threads).iter().zip(&one).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 0, "{differ} of {} weights differ between 1 and {threads} threads", one.len());
    }
}

#[test]
fn neither_do_those_of_a_large_product() {
    let (m, n, k) = (515, 1_027, 4_099);
    let product = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            let device = Device::cpu();
            let tensor = |seed, shape: &[usize]| {
                Tensor::from_slice(&device, &fill(seed, shape.iter().product(), 1.0), shape).expect("memory")
            };
            // A weight's gradient: the sum runs over the tokens.
            let product = matmul(Product::new(&tensor(1, &[k, m]), &tensor(2, &[k, n])).transpose_a());
            let values = product.expect("a product").to_vec().expect("readable");
            values.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        })
    };
    let one = product(1);
    for threads in [2, 3, 8] {
        assert!(product(threads) == one, "{threads} threads");
    }
}
