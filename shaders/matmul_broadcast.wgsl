// c = f(alpha a b + bias + residual (+ c)), batched, for devices that run a subgroup as a CPU's vector. Whatever memory lanes read, they
// gather it there word by word; what one lane has goes to all at once. So a subgroup makes ROWS x WIDTH of c from as many
// rows of a, which its lanes share out and broadcast term by term, and from columns of b, COLUMNS a lane, which its workgroup of
// SUBGROUPS subgroups brings into workgroup memory, a slice of DEPTH terms at a time.

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

const SUBGROUP: u32 = 8u;                                        // Threads; the device's own, 4 to 16
const SUBGROUPS: u32 = 8u;
const THREADS: u32 = SUBGROUPS * SUBGROUP;
const ROWS: u32 = 16u;
const WIDTH: u32 = 32u;
const COLUMNS: u32 = WIDTH / SUBGROUP;                           // of a lane
const DEPTH: u32 = 64u;
const TERMS: u32 = 8u;                                           // of a row, held at once
const ROWS_A_LANE: u32 = ROWS / SUBGROUP;
var<workgroup> tile: array<f32, DEPTH * WIDTH>;                  // [DEPTH, WIDTH], of b

// Four terms of a row of a, from term k on; past the last row, of that. Without a branch, which all lanes would take both ways.
fn four_terms(a0: u32, wanted: u32, k: u32, end: u32) -> vec4f {
    let row = min(wanted, params.m - 1u);
    if A_ALONG_K == 1u && A_FOURS == 1u {
        return select(vec4f(), vec4f(a[(a0 + row * params.a_row + k) / 4u]), k < end);
    }
    var four = vec4f();
    for (var j = 0u; j < 4u; j++) {
        let i = a0 + row * params.a_row + (k + j) * params.a_column;
        four[j] = select(0.0, f32(a[i / 4u][i % 4u]), k + j < end);
    }
    return four;
}

// Brings a slice of b, zeros outside of the product.
fn stage(b0: u32, column0: u32, k0: u32, end: u32, thread: u32) {
    for (var e = thread; e < DEPTH * WIDTH / 4u; e += THREADS) {
        if B_ALONG_K == 1u {
            let column = e % WIDTH;
            let k = e / WIDTH * 4u;
            let four = four_of_b(b0, column0 + column, k0 + k, end);
            for (var j = 0u; j < 4u; j++) {
                tile[(k + j) * WIDTH + column] = four[j];
            }
        } else {
            let column = e % (WIDTH / 4u) * 4u;
            let k = e / (WIDTH / 4u);
            let four = four_of_b(b0, column0 + column, k0 + k, end);
            for (var j = 0u; j < 4u; j++) {
                tile[k * WIDTH + column + j] = four[j];
            }
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32,
        @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let row0 = (group.y * SUBGROUPS + subgroup) * ROWS;
    let column0 = group.x * WIDTH;
    let a0 = group.z * params.a_batch;
    let b0 = group.z * params.b_batch;
    let end = select(params.k, params.k_last, group.z == params.batch - 1u);
    var sums: array<array<f32, COLUMNS>, ROWS>;                    // [ROWS, COLUMNS]
    for (var k0 = 0u; k0 < end; k0 += DEPTH) {
        workgroupBarrier();
        stage(b0, column0, k0, end, thread);
        workgroupBarrier();
        for (var k = 0u; k < min(DEPTH, end - k0); k += TERMS) {
            var terms: array<array<f32, ROWS_A_LANE>, TERMS>;      // [TERMS, ROWS_A_LANE]: row i of them in lane i % SUBGROUP
            for (var x = 0u; x < TERMS; x += 4u) {
                for (var i = 0u; i < ROWS_A_LANE; i++) {
                    let four = four_terms(a0, row0 + i * SUBGROUP + lane, k0 + k + x, end);
                    for (var y = 0u; y < 4u; y++) {
                        terms[x + y][i] = four[y];
                    }
                }
            }
            for (var x = 0u; x < TERMS; x++) {
                var columns: array<f32, COLUMNS>;
                for (var j = 0u; j < COLUMNS; j++) {
                    columns[j] = tile[(k + x) * WIDTH + j * SUBGROUP + lane];
                }
                for (var i = 0u; i < ROWS; i++) {
                    let term = subgroupShuffle(terms[x][i / SUBGROUP], i % SUBGROUP);
                    for (var j = 0u; j < COLUMNS; j++) {
                        sums[i][j] = fma(term, columns[j], sums[i][j]);
                    }
                }
            }
        }
    }
    for (var row = row0; row < row0 + ROWS; row++) {
        for (var j = 0u; j < COLUMNS; j++) {
            put(group.z, row, column0 + j * SUBGROUP + lane, sums[0][j]);
        }
        // Lines move up, so that a constant says which is meant and all stay in registers.
        for (var i = 0u; i < ROWS - 1u; i++) {
            sums[i] = sums[i + 1u];
        }
    }
}
