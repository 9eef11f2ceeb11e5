// c = f(alpha a b + bias + residual (+ c)), batched, where c has few rows (a token at a time) or few columns (a gate, a rank of LoRA): bound by reading
// the operand that is not narrow, once. Its lines, the columns of c or the rows, lie along k or beside each other in memory, which
// an entry point each is for. The narrow operand's lines are LINES at the most.

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

const COLUMNS: u32 = 0u;                                         // 1: c has few columns, 0: few rows
const LINES: u32 = 1u;
const WIDE: u32 = 1u;                                            // Wide lines of a thread, where they lie along k.
const SLICES: u32 = 8u;
const LANES: u32 = 32u;                                          // Threads along memory; a workgroup is SLICES x LANES.
var<workgroup> partial: array<vec4f, 256>;                       // [SLICES, LANES]

fn four_of_wide(product: u32, line: u32, k: u32, end: u32) -> vec4f {
    if COLUMNS == 1u {
        return four_of_a(product * params.a_batch, line, k, end);
    }
    return four_of_b(product * params.b_batch, line, k, end);
}

// One element of the narrow operand, in a product.
fn narrow(product: u32, line: u32, k: u32) -> f32 {
    if COLUMNS == 1u {
        let i = product * params.b_batch + k * params.b_row + line * params.b_column;
        let at = word(i);
        return element(b[at / 4u][at % 4u], i);
    }
    let i = product * params.a_batch + line * params.a_row + k * params.a_column;
    return f32(a[i / 4u][i % 4u]);
}

// Four terms of a line of the narrow operand.
fn narrow_four(product: u32, line: u32, k: u32, end: u32) -> vec4f {
    if COLUMNS == 0u && A_ALONG_K == 1u {
        return four_of_a(product * params.a_batch, line, k, end);
    }
    if COLUMNS == 1u && B_ALONG_K == 1u {
        return four_of_b(product * params.b_batch, line, k, end);
    }
    var four = vec4f();
    for (var j = 0u; j < 4u; j++) {
        if k + j < end {
            four[j] = narrow(product, line, k + j);
        }
    }
    return four;
}

fn put_line(product: u32, line: u32, wide: u32, sum: f32) {
    put(product, select(line, wide, COLUMNS == 1u), select(wide, line, COLUMNS == 1u), sum);
}

// The lanes of a slice go along k, each through WIDE lines.
@compute @workgroup_size(256)
fn along_k(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) thread: u32) {
    let lane = thread % LANES;
    let first = ((group.y * groups.x + group.x) * SLICES + thread / LANES) * WIDE;
    let end = select(params.k, params.k_last, group.z == params.batch - 1u);
    let lines = select(params.m, params.n, COLUMNS == 1u);
    var sums: array<f32, LINES * WIDE>;
    for (var k = 4u * lane; k < end; k += 4u * LANES) {
        var wide: array<vec4f, WIDE>;
        for (var j = 0u; j < WIDE; j++) {
            wide[j] = four_of_wide(group.z, first + j, k, end);
        }
        for (var i = 0u; i < LINES; i++) {
            if i < lines {
                let narrow = narrow_four(group.z, i, k, end);
                for (var j = 0u; j < WIDE; j++) {
                    sums[i * WIDE + j] += dot(narrow, wide[j]);
                }
            }
        }
    }
    // Four sums of a thread at a time are summed over the lanes.
    for (var s = 0u; s < LINES * WIDE; s += 4u) {
        var four = vec4f();
        for (var x = 0u; x < min(4u, LINES * WIDE); x++) {
            four[x] = sums[s + x];
        }
        workgroupBarrier();
        partial[thread] = four;
        workgroupBarrier();
        if lane < min(4u, LINES * WIDE) {
            var sum = 0.0;
            for (var i = 0u; i < LANES; i++) {
                sum += partial[thread / LANES * LANES + i][lane];
            }
            put_line(group.z, (s + lane) / WIDE, first + (s + lane) % WIDE, sum);
        }
    }
}

// The lanes of a slice go along the wide lines, four each; the slices share out the terms.
@compute @workgroup_size(256)
fn across(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) thread: u32) {
    let lane = thread % LANES;
    let slice = thread / LANES;
    let wide = ((group.y * groups.x + group.x) * LANES + lane) * 4u;
    let end = select(params.k, params.k_last, group.z == params.batch - 1u);
    let lines = select(params.m, params.n, COLUMNS == 1u);
    var sums: array<vec4f, LINES>;
    for (var k = slice; k < end; k += SLICES) {
        let four = four_of_wide(group.z, wide, k, end);
        for (var i = 0u; i < LINES; i++) {
            if i < lines {
                sums[i] += narrow(group.z, i, k) * four;
            }
        }
    }
    for (var i = 0u; i < LINES; i++) {
        workgroupBarrier();
        partial[thread] = sums[i];
        workgroupBarrier();
        if slice == 0u && i < lines {
            var sum = partial[lane];
            for (var s = 1u; s < SLICES; s++) {
                sum += partial[s * LANES + lane];
            }
            for (var x = 0u; x < 4u; x++) {
                put_line(group.z, i, wide + x, sum[x]);
            }
        }
    }
}
