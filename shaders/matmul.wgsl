// c (+)= alpha a b, batched; a and b are read through strides, so that every transposition is the same code.
// A workgroup of 16 x 16 threads makes a 64 x 64 tile of c, each thread 4 x 4 of it, 16 columns of k at a time.

struct Params {
    batch: u32, m: u32, n: u32, k: u32,
    a_batch: u32, a_row: u32, a_column: u32,
    b_batch: u32, b_row: u32, b_column: u32,
    alpha: f32, accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;          // [batch, m, k] by strides
@group(0) @binding(2) var<storage, read> b: array<u32>;          // [batch, k, n] by strides; elements by shared/weight.wgsl
@group(0) @binding(3) var<storage, read_write> c: array<f32>;    // [batch, m, n], row-major

const TILE: u32 = 64;
const DEPTH: u32 = 16;
var<workgroup> a_tile: array<f32, 1024>;                         // [DEPTH, TILE]
var<workgroup> b_tile: array<f32, 1024>;                         // [DEPTH, TILE]

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row0 = group.y * TILE;
    let column0 = group.x * TILE;
    let a0 = group.z * params.a_batch;
    let b0 = group.z * params.b_batch;
    var sums: array<vec4f, 4>;
    for (var k0 = 0u; k0 < params.k; k0 += DEPTH) {
        workgroupBarrier();
        for (var i = 0u; i < 4u; i++) {
            let e = lane + 256u * i;
            // Neighbouring threads read along whichever index is contiguous in memory.
            var depth = e % DEPTH;
            var at = e / DEPTH;
            if params.a_column != 1u {
                depth = e / TILE;
                at = e % TILE;
            }
            var value = 0.0;
            if k0 + depth < params.k && row0 + at < params.m {
                value = a[a0 + (row0 + at) * params.a_row + (k0 + depth) * params.a_column];
            }
            a_tile[depth * TILE + at] = value;
            depth = e / TILE;
            at = e % TILE;
            if params.b_column != 1u {
                depth = e % DEPTH;
                at = e / DEPTH;
            }
            value = 0.0;
            if k0 + depth < params.k && column0 + at < params.n {
                let i = b0 + (k0 + depth) * params.b_row + (column0 + at) * params.b_column;
                value = element(b[word(i)], i);
            }
            b_tile[depth * TILE + at] = value;
        }
        workgroupBarrier();
        for (var depth = 0u; depth < DEPTH; depth++) {
            let from_b = depth * TILE + local.x * 4u;
            let columns = vec4f(b_tile[from_b], b_tile[from_b + 1u], b_tile[from_b + 2u], b_tile[from_b + 3u]);
            for (var i = 0u; i < 4u; i++) {
                sums[i] += a_tile[depth * TILE + local.y * 4u + i] * columns;
            }
        }
    }
    for (var i = 0u; i < 4u; i++) {
        let row = row0 + local.y * 4u + i;
        for (var j = 0u; j < 4u; j++) {
            let column = column0 + local.x * 4u + j;
            if row < params.m && column < params.n {
                let at = (group.z * params.m + row) * params.n + column;
                var value = params.alpha * sums[i][j];
                if params.accumulate != 0u {
                    value += c[at];
                }
                c[at] = value;
            }
        }
    }
}
