//! Kernels on the CPU: `cargo bench --bench kernels`. The gate merge is timed fused and as a chain of separate kernels.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mode_kernels::fill_hash::fill;
use mode_tensor::{AttentionShape, Device, Product, Tensor, TensorError, attention, gate_merge, matmul, scale};
use std::hint::black_box;

fn tensor(device: &Device, seed: u32, shape: &[usize]) -> Result<Tensor, TensorError> {
    Tensor::from_slice(device, &fill(seed, shape.iter().product(), 0.5), shape)
}

fn products(c: &mut Criterion) -> Result<(), TensorError> {
    let device = Device::cpu();
    let mut group = c.benchmark_group("matmul f32");
    for size in [128, 512, 1024] {
        let (a, b) = (tensor(&device, 1, &[size, size])?, tensor(&device, 2, &[size, size])?);
        group.throughput(Throughput::Elements(2 * (size * size * size) as u64));
        group.bench_function(format!("{size}"), |bench| bench.iter(|| black_box(matmul(Product::new(&a, &b)))));
    }
    group.finish();
    Ok(())
}

fn attentions(c: &mut Criterion) -> Result<(), TensorError> {
    let device = Device::cpu();
    let [q, k, v] =
        [tensor(&device, 1, &[1024, 256])?, tensor(&device, 2, &[1024, 256])?, tensor(&device, 3, &[1024, 256])?];
    let shape = AttentionShape::new(256, 4, 4);
    c.bench_function("attention 4 x 256 tokens, 4 heads of 64", |bench| {
        bench.iter(|| black_box(attention(&q, &k, &v, shape)));
    });
    Ok(())
}

fn merges(c: &mut Criterion) -> Result<(), TensorError> {
    let device = Device::cpu();
    let (tokens, width, branches) = (4_096, 512, 3);
    let (x, w) = (tensor(&device, 1, &[tokens, width])?, tensor(&device, 2, &[branches, width])?);
    let b = tensor(&device, 3, &[branches])?;
    let f = Tensor::slots(&device, branches, &[tokens, width])?;
    for slot in &f {
        slot.write(&fill(4, tokens * width, 1.0))?;
    }
    let mut group = c.benchmark_group("gate merge 4096 x 512, 3 branches");
    group.throughput(Throughput::Bytes((4 * (branches + 2) * tokens * width) as u64));
    group.bench_function("fused", |bench| bench.iter(|| black_box(gate_merge(&x, &w, &b, &[&f[0], &f[1], &f[2]]))));
    // The traffic of the unfused chain: a gate, then a scale and a sum a branch (the weights themselves do not matter).
    group.bench_function("unfused", |bench| {
        bench.iter(|| {
            let gate = matmul(Product::new(&x, &w).transpose_b())?;
            let mut y = scale(&f[0], 0.3)?;
            for branch in &f[1..] {
                y = mode_tensor::add(&y, &scale(branch, 0.3)?, None)?;
            }
            Ok::<_, TensorError>(black_box((gate, y)))
        });
    });
    group.finish();
    Ok(())
}

fn all(c: &mut Criterion) {
    let done = products(c).and_then(|()| attentions(c)).and_then(|()| merges(c));
    if let Err(error) = done {
        eprintln!("error: {error}");
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
