// a of a product by its strides, four elements at a time: neighbours in k or in m, whichever are neighbours in memory.
// The constants say how it lies, and the other ways are compiled away. Outside of the product there are zeros.

alias StoredA = vec4f;                                           // as the buffer has four of them: vec4f or vec4<f16>
const A_ALONG_K: u32 = 1u;                                       // 1: four terms of a line, 0: one term of four lines
const A_FOURS: u32 = 0u;                                         // 1: the four are one vec4 of the buffer

// From line `line` and term `k` on, of a product whose a begins at `base` and has terms up to `end`.
fn four_of_a(base: u32, line: u32, k: u32, end: u32) -> vec4f {
    var four = vec4f();
    if A_FOURS == 1u {
        if line < params.m && k < end {
            four = vec4f(a[(base + line * params.a_row + k * params.a_column) / 4u]);
        }
        return four;
    }
    for (var j = 0u; j < 4u; j++) {
        let row = line + j * (1u - A_ALONG_K);
        let column = k + j * A_ALONG_K;
        if row < params.m && column < end {
            let i = base + row * params.a_row + column * params.a_column;
            four[j] = f32(a[i / 4u][i % 4u]);
        }
    }
    return four;
}
