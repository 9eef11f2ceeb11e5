//! Products of matrices: `[.., m, k] x [k, n]`, with either operand transposed where it stands.

use crate::{Activation, Target, Tensor, TensorError};
use mode_kernels::matmul::{self as kernel, Params, Precision};
use mode_kernels::{Dtype, Epilogue};

/// The two operands and how they are read, and what becomes of their product.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// `[m, k]`, or `[k, m]` if transposed; leading dims are rows.
    pub a: &'a Tensor,
    /// Read a's columns as rows.
    pub transpose_a: bool,
    /// `[k, n]`, or `[n, k]` if transposed.
    pub b: &'a Tensor,
    /// Read b's columns as rows.
    pub transpose_b: bool,
    /// Factor of the product.
    pub alpha: f32,
    /// Whether the operands may be rounded on the way.
    pub precision: Precision,
    /// Added to each row `[n]`.
    pub bias: Option<&'a Tensor>,
    /// Added, of the product's size.
    pub residual: Option<&'a Tensor>,
    /// Of the sum of all that.
    pub activation: Option<Activation>,
    /// How a fresh result is stored.
    pub dtype: Dtype,
}

impl<'a> Product<'a> {
    /// a b.
    pub fn new(a: &'a Tensor, b: &'a Tensor) -> Self {
        Self {
            a,
            transpose_a: false,
            b,
            transpose_b: false,
            alpha: 1.0,
            precision: Precision::F32,
            bias: None,
            residual: None,
            activation: None,
            dtype: Dtype::F32,
        }
    }

    /// a^T in place of a.
    pub fn transpose_a(self) -> Self {
        Self { transpose_a: true, ..self }
    }

    /// b^T in place of b.
    pub fn transpose_b(self) -> Self {
        Self { transpose_b: true, ..self }
    }

    /// The product times `alpha`.
    pub fn alpha(self, alpha: f32) -> Self {
        Self { alpha, ..self }
    }

    /// Operands that are rounded to f16, where a GPU multiplies those faster, and in main memory: what is past 65,504 in them
    /// becomes infinite.
    pub fn half(self) -> Self {
        Self { precision: Precision::Half, ..self }
    }

    /// A product among activations stored as `dtype`, as a fresh result is too; if that is f16 the operands are
    /// [rounded](Product::half).
    pub fn among(self, dtype: Dtype) -> Self {
        let product = if dtype == Dtype::F16 { self.half() } else { self };
        Self { dtype, ..product }
    }

    /// Plus `bias` on each row.
    pub fn bias(self, bias: &'a Tensor) -> Self {
        Self { bias: Some(bias), ..self }
    }

    /// Plus `residual`.
    pub fn residual(self, residual: &'a Tensor) -> Self {
        Self { residual: Some(residual), ..self }
    }

    /// And what an activation makes of it.
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation: Some(activation), ..self }
    }

    /// m, n, k.
    fn sizes(&self) -> Result<[usize; 3], TensorError> {
        let swap = |t: &Tensor, swapped| if swapped { (t.width(), t.rows()) } else { (t.rows(), t.width()) };
        let ((m, k), (inner, n)) = (swap(self.a, self.transpose_a), swap(self.b, self.transpose_b));
        let misfit = |what| Err(TensorError::shape("matmul", what, self.a.shape(), self.b.shape()));
        if k != inner {
            return misfit("the inner dims of the product differ");
        }
        // A weight's gradient dy^T x sums over all leading dims; elsewhere they would be a batch, which this is not.
        if self.b.shape().len() > 2 && !self.transpose_a {
            return misfit("b has leading dims, which only a product with a transposed a sums over");
        }
        if let Some(bias) = self.bias.filter(|bias| bias.shape() != [n]) {
            return Err(TensorError::shape("matmul", "the bias is not as wide as the product", &[m, n], bias.shape()));
        }
        if let Some(residual) = self.residual.filter(|residual| residual.len() != m * n || residual.width() != n) {
            return Err(TensorError::shape("matmul", "the residual is no such product", &[m, n], residual.shape()));
        }
        Ok([m, n, k])
    }
}

/// The product, `[.., m, n]` with a's leading dims (`[m, n]` where a is transposed).
///
/// # Errors
/// Inner dims that differ.
pub fn matmul(product: Product) -> Result<Tensor, TensorError> {
    matmul_into(product, Target::New)
}

/// The product, put where `into` says.
///
/// # Errors
/// Inner dims that differ, or a target of another size.
pub fn matmul_into(product: Product, into: Target) -> Result<Tensor, TensorError> {
    let [m, n, k] = product.sizes()?;
    let device = product.a.device();
    let mut shape = if product.transpose_a { vec![m, n] } else { product.a.shape().to_vec() };
    if let Some(last) = shape.last_mut() {
        *last = n;
    }
    let (c, accumulate) = into.place(device, product.dtype, &shape)?;
    if c.len() != m * n {
        return Err(TensorError::shape("matmul", "the product does not fit its target", &[m, n], c.shape()));
    }
    let params = Params {
        alpha: product.alpha,
        accumulate: accumulate.into(),
        precision: product.precision.code(),
        ..Params::new(1, m, n, k, product.transpose_a, product.transpose_b)
    };
    let epilogue = Epilogue {
        bias: product.bias.map(Tensor::view),
        residual: product.residual.map(Tensor::view),
        activation: product.activation,
    };
    kernel::matmul(device, params, [product.a.view(), product.b.view()], &epilogue, c.view())?;
    Ok(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn linear_layer_and_its_gradients() {
        let device = Device::cpu();
        let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(&device, values, shape).expect("fits");
        let x = tensor(&[1.0, 2.0, 3.0, 4.0], &[2, 2]);
        let w = tensor(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], &[3, 2]);
        let y = matmul(Product::new(&x, &w).transpose_b()).expect("fits");
        assert_eq!((y.shape(), y.to_vec().expect("readable")), (&[2, 3][..], vec![1.0, 2.0, 3.0, 3.0, 4.0, 7.0]));
        let (bias, residual) = (tensor(&[10.0, 20.0, 30.0], &[3]), tensor(&[0.5; 6], &[2, 3]));
        let all = Product::new(&x, &w).transpose_b().bias(&bias).residual(&residual);
        assert_eq!(matmul(all).and_then(|y| y.to_vec()).expect("fits"), [11.5, 22.5, 33.5, 13.5, 24.5, 37.5]);
        let bent = matmul(all.alpha(-8.0).activation(Activation::Relu)).and_then(|y| y.to_vec());
        assert_eq!(bent.expect("fits"), [2.5, 4.5, 6.5, 0.0, 0.0, 0.0]);
        assert!(matmul(all.bias(&x)).is_err() && matmul(all.residual(&x)).is_err());
        let dw = matmul(Product::new(&y, &x).transpose_a()).expect("fits");
        assert_eq!(dw.shape(), [3, 2]);
        let error = matmul(Product::new(&x, &w)).expect_err("2 is not 3").to_string();
        assert_eq!(error, "matmul: the inner dims of the product differ: [2, 2] and [3, 2]");
    }
}
