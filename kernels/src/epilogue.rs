//! What may become of a product on its way out, while it is in a register or a cache: y = f(product + bias + residual).
//!
//! product, residual, y `[rows, columns]`, bias `[columns]`, f an [`Activation`]; each only if it is wanted. Apart, a bias or an
//! activation moves 2 units and a residual 3; here a residual moves 1 and the others none.

use crate::activation::with_functions;
use crate::add::sums;
use crate::simd::simd;
use crate::strips::Strip;
use crate::{Activation, Dtype, View};

/// What a launch adds to its product, and the activation that follows.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[columns]`.
    pub bias: Option<&'a View>,
    /// Like the result, and stored like it.
    pub residual: Option<&'a View>,
    /// Of the sum.
    pub activation: Option<Activation>,
}

impl<'a> Epilogue<'a> {
    /// Its number in launches: which parts there are.
    pub(crate) fn code(&self) -> u32 {
        let activation = self.activation.map_or(0, |activation| 1 + activation as u32);
        u32::from(self.bias.is_some()) | u32::from(self.residual.is_some()) << 1 | activation << 2
    }

    /// The bindings of bias and residual; one that is not there is `other`, which the launch reads anyway.
    pub(crate) fn views(&self, other: &'a View) -> [&'a View; 2] {
        [self.bias.unwrap_or(other), self.residual.unwrap_or(other)]
    }
}

/// The constants of shaders with `shared/epilogue.wgsl`, by the number in a launch.
pub(crate) fn constants(code: u32) -> [(&'static str, u32); 4] {
    let activation = code >> 2;
    [
        ("BIAS", code & 1),
        ("RESIDUAL", code >> 1 & 1),
        ("ACTIVATED", activation.min(1)),
        ("ACTIVATION", activation.saturating_sub(1)),
    ]
}

/// True of a launch with a bias, part 0, or a residual, part 1.
pub(crate) fn has(code: u32, part: usize) -> bool {
    code >> part & 1 != 0
}

/// How part 0, the bias, or 1, the residual, is stored, by the codes of what the launch reads anyway and of its result.
pub(crate) fn dtype(code: u32, part: usize, [other, result]: [u32; 2]) -> Dtype {
    match (has(code, part), part) {
        (false, _) => Dtype::activation(other),
        (true, 0) => Dtype::F32,
        (true, _) => Dtype::activation(result),
    }
}

/// Bytes that are read, of a result `[rows, columns]` with so many an element.
pub(crate) fn bytes(code: u32, [rows, columns]: [f64; 2], element: f64) -> f64 {
    let [bias, residual] = [0, 1].map(|part| if has(code, part) { 1.0 } else { 0.0 });
    columns * (4.0 * bias + element * rows * residual)
}

/// An epilogue in main memory.
#[derive(Clone, Copy)]
pub(crate) struct Ending<'a, T> {
    bias: Option<&'a [T]>,
    residual: Option<&'a [T]>,
    activation: Option<Activation>,
    columns: usize,
}

impl<'a, T: Copy> Ending<'a, T> {
    /// The one of a launch's number and bindings, of results with `columns` columns.
    pub(crate) fn new(code: u32, bias: &'a [T], residual: &'a [T], columns: usize) -> Self {
        let activation = (code >> 2).checked_sub(1).and_then(|i| Activation::ALL.get(i as usize).copied());
        let [bias, residual] = [(bias, 0), (residual, 1)].map(|(of, part)| has(code, part).then_some(of));
        Self { bias, residual, activation, columns }
    }

    /// What is added, without what follows.
    pub(crate) fn sums(self) -> Self {
        Self { activation: None, ..self }
    }

    /// What follows alone.
    pub(crate) fn last(self) -> Self {
        Self { bias: None, residual: None, ..self }
    }

    /// True if something is added.
    pub(crate) fn adds(&self) -> bool {
        self.bias.is_some() || self.residual.is_some()
    }
}

impl Ending<'_, f64> {
    /// y of one product.
    pub(crate) fn of(&self, product: f64, at: usize) -> f64 {
        let bias = self.bias.map_or(0.0, |bias| bias[at % self.columns]);
        let sum = product + bias + self.residual.map_or(0.0, |residual| residual[at]);
        self.activation.map_or(sum, |activation| activation.value(sum))
    }
}

impl Ending<'_, f32> {
    /// Puts what is added into a part of the result, which begins at a row and a column, for a product to be added to; with
    /// `keep` on top of what is there.
    pub(crate) fn begin(&self, part: &mut Strip, [row, column]: [usize; 2], keep: bool) {
        let (_, [rows, columns, _]) = part.parts();
        for i in 0..rows {
            let y = part.row(i);
            let bias = self.bias.map(|bias| &bias[column..][..columns]);
            let residual = self.residual.map(|residual| &residual[(row + i) * self.columns + column..][..columns]);
            match (bias, residual) {
                _ if keep => [bias, residual].into_iter().flatten().for_each(|x| add(y, x)),
                (Some(bias), Some(residual)) => sums(y, residual, bias),
                (Some(x), None) | (None, Some(x)) => y.copy_from_slice(x),
                (None, None) => y.fill(0.0),
            }
        }
    }

    /// Puts a part of the result through the activation.
    pub(crate) fn end(&self, part: &mut Strip) {
        let Some(activation) = self.activation else { return };
        let (_, [rows, _, _]) = part.parts();
        with_functions!(activation, |f, _| (0..rows).for_each(|i| apply(part.row(i), &f)));
    }

    /// The same all at once to a row of the result, from column 0 on.
    pub(crate) fn finish(&self, y: &mut [f32], row: usize) {
        let mut part = Strip::new(y, self.columns, self.columns);
        self.begin(&mut part, [row, 0], true);
        self.end(&mut part);
    }
}

simd! {
    fn add(y: &mut [f32], x: &[f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
    }

    fn apply<F: Fn(f32) -> f32>(y: &mut [f32], f: &F) {
        y.iter_mut().for_each(|y| *y = f(*y));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let code = Epilogue { activation: Some(Activation::Relu), ..Epilogue::default() }.code() | 3;
        let ending = Ending::new(code, &[1.0, 2.0], &[10.0, 20.0, -30.0, 40.0], 2);
        assert_eq!([0, 1, 2, 3].map(|at| ending.of(5.0, at)), [16.0, 27.0, 0.0, 47.0]);
        assert_eq!(constants(code), [("BIAS", 1), ("RESIDUAL", 1), ("ACTIVATED", 1), ("ACTIVATION", 3)]);
        assert_eq!(constants(0), [("BIAS", 0), ("RESIDUAL", 0), ("ACTIVATED", 0), ("ACTIVATION", 0)]);
    }
}
