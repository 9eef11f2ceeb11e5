// b of a product, as operand_a.wgsl reads a, of f32 or halves (weight.wgsl).

const B_ALONG_K: u32 = 0u;                                       // 1: four terms of a line, 0: one term of four lines
const B_FOURS: u32 = 0u;                                         // 1: the four are neighbours in one vec4 of the buffer

fn four_of_b(base: u32, line: u32, k: u32, end: u32) -> vec4f {
    var four = vec4f();
    if B_FOURS == 1u {
        if line < params.n && k < end {
            let i = base + k * params.b_row + line * params.b_column;
            if DTYPE == 0u {
                return bitcast<vec4f>(b[i / 4u]);
            }
            let eight = b[i / 8u];
            let words = select(eight.xy, eight.zw, i % 8u == 4u);
            four = vec4f(element(words.x, 0u), element(words.x, 1u), element(words.y, 0u), element(words.y, 1u));
        }
        return four;
    }
    for (var j = 0u; j < 4u; j++) {
        let column = line + j * (1u - B_ALONG_K);
        let row = k + j * B_ALONG_K;
        if column < params.n && row < end {
            let i = base + row * params.b_row + column * params.b_column;
            let at = word(i);
            four[j] = element(b[at / 4u][at % 4u], i);
        }
    }
    return four;
}
