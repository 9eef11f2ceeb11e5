//! The fused gate merge against the same in separate operations: `cargo run --release --example gate_merge [DEVICE]`
//!
//! y = sum_k a_k f_k, a = softmax(x W^T + b) per token. Fused, x, the K branches and y pass through memory once: K + 2 units of
//! `[tokens, width]`. Apart, the chain of scales and sums alone reads and writes 5 K - 3.

use mode_kernels::fill_hash::fill;
use mode_tensor::{Device, Product, Tensor, TensorError, add, gate_merge, matmul, scale};
use std::time::Instant;

const TOKENS: usize = 4_096;
const WIDTH: usize = 512;
const BRANCHES: usize = 3;

/// Best of some runs, in milliseconds.
fn time(device: &Device, mut run: impl FnMut() -> Result<Tensor, TensorError>) -> Result<f64, TensorError> {
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let started = Instant::now();
        let result = run()?;
        device.synchronize()?;
        best = best.min(1e3 * started.elapsed().as_secs_f64());
        drop(result);
    }
    Ok(best)
}

/// Times both.
pub fn main() -> Result<(), TensorError> {
    let device = Device::choose(std::env::args().nth(1).as_deref().filter(|spec| !spec.starts_with('-')))?;
    let tensor = |seed, shape: &[usize]| Tensor::from_slice(&device, &fill(seed, shape.iter().product(), 0.1), shape);
    let (x, weight, bias) = (tensor(1, &[TOKENS, WIDTH])?, tensor(2, &[BRANCHES, WIDTH])?, tensor(3, &[BRANCHES])?);
    let branches = Tensor::slots(&device, BRANCHES, &[TOKENS, WIDTH])?;
    for (slot, seed) in branches.iter().zip(4..) {
        slot.write(&fill(seed, TOKENS * WIDTH, 1.0))?;
    }
    let refs: Vec<&Tensor> = branches.iter().collect();

    let fused = time(&device, || Ok(gate_merge(&x, &weight, &bias, &refs)?.y))?;
    // The same traffic, if not the same numbers: one weight a branch in place of one a token.
    let apart = time(&device, || {
        matmul(Product::new(&x, &weight).transpose_b())?;
        let mut y = scale(&branches[0], 0.3)?;
        for branch in &branches[1..] {
            y = add(&y, &scale(branch, 0.3)?, None)?;
        }
        Ok(y)
    })?;
    let bytes = 4.0 * ((BRANCHES + 2) * TOKENS * WIDTH) as f64;
    println!("{}, {TOKENS} tokens of {WIDTH}, {BRANCHES} branches", device.name());
    println!("fused {fused:.2} ms, {:.1} GB/s", bytes / fused / 1e6);
    println!("apart {apart:.2} ms, {:.1} times as long", apart / fused);
    Ok(())
}
