// c = f(alpha a b + bias + residual (+ c)), batched; a and b are read through strides, so that every transposition is the same code.
// A workgroup of 16 x 16 threads makes a SIDE x SIDE tile of c, a slice of DEPTH terms at a time, of which each thread brings
// four of either operand; it makes BLOCKS x BLOCKS blocks of 4 x 4, 64 apart. While a slice is multiplied the next is on its way.

struct Params {
    batch: u32, m: u32, n: u32, k: u32, k_last: u32,
    a_batch: u32, a_row: u32, a_column: u32,
    b_batch: u32, b_row: u32, b_column: u32,
    alpha: f32, accumulate: u32,
}

alias StoredC = f32;                                             // how c and the residual are: f32 or f16

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<StoredA>;      // [batch, m, k] by strides
@group(0) @binding(2) var<storage, read> b: array<vec4u>;        // [batch, k, n] by strides; elements by shared/weight.wgsl
@group(0) @binding(3) var<storage, read> bias: array<f32>;       // [n], by shared/epilogue.wgsl
@group(0) @binding(4) var<storage, read> residual: array<StoredC>; // [batch, m, n]
@group(0) @binding(5) var<storage, read_write> c: array<StoredC>; // [batch, m, n], row-major

const BLOCKS: u32 = 1u;
const SIDE: u32 = 64u * BLOCKS;
const DEPTH: u32 = 16u / BLOCKS;
const LINE: u32 = SIDE + 4u;                                     // Neighbouring terms of a line go to other banks.
var<workgroup> a_tile: array<f32, DEPTH * LINE>;                 // [DEPTH, LINE]
var<workgroup> b_tile: array<f32, DEPTH * LINE>;                 // [DEPTH, LINE]

// The first line and term of what thread number `lane` brings of a slice, [SIDE, DEPTH] in fours.
fn place(lane: u32, along_k: u32) -> vec2u {
    if along_k == 1u {
        return vec2u(lane / (DEPTH / 4u), lane % (DEPTH / 4u) * 4u);
    }
    return vec2u(lane % (SIDE / 4u) * 4u, lane / (SIDE / 4u));
}

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row0 = group.y * SIDE;
    let column0 = group.x * SIDE;
    let a0 = group.z * params.a_batch;
    let b0 = group.z * params.b_batch;
    let end = select(params.k, params.k_last, group.z == params.batch - 1u);
    var sums: array<vec4f, 4u * BLOCKS * BLOCKS>;
    let from_a = place(lane, A_ALONG_K);
    let from_b = place(lane, B_ALONG_K);
    let to_a = from_a.y * LINE + from_a.x;
    let to_b = from_b.y * LINE + from_b.x;
    let step_a = select(1u, LINE, A_ALONG_K == 1u);
    let step_b = select(1u, LINE, B_ALONG_K == 1u);
    var next_a: vec4f;
    var next_b: vec4f;
    for (var k0 = 0u; k0 < end + DEPTH; k0 += DEPTH) {
        if k0 > 0u {
            workgroupBarrier();
            a_tile[to_a] = next_a.x;
            a_tile[to_a + step_a] = next_a.y;
            a_tile[to_a + 2u * step_a] = next_a.z;
            a_tile[to_a + 3u * step_a] = next_a.w;
            b_tile[to_b] = next_b.x;
            b_tile[to_b + step_b] = next_b.y;
            b_tile[to_b + 2u * step_b] = next_b.z;
            b_tile[to_b + 3u * step_b] = next_b.w;
            workgroupBarrier();
        }
        next_a = four_of_a(a0, row0 + from_a.x, k0 + from_a.y, end);
        next_b = four_of_b(b0, column0 + from_b.x, k0 + from_b.y, end);
        if k0 > 0u {
            for (var depth = 0u; depth < DEPTH; depth++) {
                var columns: array<vec4f, BLOCKS>;
                for (var j = 0u; j < BLOCKS; j++) {
                    let at = depth * LINE + j * 64u + local.x * 4u;
                    columns[j] = vec4f(b_tile[at], b_tile[at + 1u], b_tile[at + 2u], b_tile[at + 3u]);
                }
                for (var i = 0u; i < BLOCKS; i++) {
                    let at = depth * LINE + i * 64u + local.y * 4u;
                    let rows = vec4f(a_tile[at], a_tile[at + 1u], a_tile[at + 2u], a_tile[at + 3u]);
                    for (var j = 0u; j < BLOCKS; j++) {
                        let block = 4u * (i * BLOCKS + j);
                        sums[block] += rows.x * columns[j];
                        sums[block + 1u] += rows.y * columns[j];
                        sums[block + 2u] += rows.z * columns[j];
                        sums[block + 3u] += rows.w * columns[j];
                    }
                }
            }
        }
    }
    for (var i = 0u; i < 4u * BLOCKS; i++) {
        let row = row0 + i / 4u * 64u + local.y * 4u + i % 4u;
        for (var j = 0u; j < BLOCKS; j++) {
            let sum = sums[4u * (i / 4u * BLOCKS + j) + i % 4u];
            for (var x = 0u; x < 4u; x++) {
                put(group.z, row, column0 + j * 64u + local.x * 4u + x, sum[x]);
            }
        }
    }
}
