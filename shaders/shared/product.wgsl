// Where an element of a product goes: scaled, added to what is there if that is to stay, finished by shared/epilogue.wgsl. Nowhere, if it is
// outside of c [batch, m, n].

fn put(product: u32, row: u32, column: u32, sum: f32) {
    if row < params.m && column < params.n {
        let at = (product * params.m + row) * params.n + column;
        var value = params.alpha * sum;
        if params.accumulate != 0u {
            value += f32(c[at]);
        }
        c[at] = StoredC(finished(value, at, column));
    }
}
