// What becomes of a product on its way out: a bias and a residual are added, an activation follows. The constants decide, and what
// is not wanted is compiled away; its binding is then another's.

const BIAS: u32 = 0u;
const RESIDUAL: u32 = 0u;
const ACTIVATED: u32 = 0u;

// Of element `at` of the result, in column `column`.
fn finished(product: f32, at: u32, column: u32) -> f32 {
    var value = product;
    if BIAS == 1u {
        value += bias[column];
    }
    if RESIDUAL == 1u {
        value += f32(residual[at]);
    }
    if ACTIVATED == 1u {
        value = activation(value);
    }
    return value;
}
