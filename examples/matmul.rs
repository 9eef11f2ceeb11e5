//! A product of matrices, on the CPU and on a GPU if there is one: `cargo run --release --example matmul`

use mode_tensor::{Device, Product, Tensor, TensorError, matmul};

/// C = A B with A `[2, 3]`, B `[3, 2]`.
pub fn main() -> Result<(), TensorError> {
    for device in [Some(Device::cpu()), Device::choose(Some("gpu")).ok()].into_iter().flatten() {
        let a = Tensor::from_slice(&device, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
        let b = Tensor::from_slice(&device, &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], &[3, 2])?;
        let c = matmul(Product::new(&a, &b))?;
        println!("{}: {:?} = {:?}", device.name(), c, c.to_vec()?);
        assert_eq!(c.to_vec()?, [4.0, 5.0, 10.0, 11.0]);
    }
    Ok(())
}
