// With g = dL/dy, p the merge weights and s_k = <g, f_k>:
//     df_k = p_k g,   dz_k = p_k (s_k - sum_j p_j s_j),   dx = dz W,   dW = dz^T x,   db = sum dz.
// `df_mask_0` to `_2` have a bit for each branch whose gradient is wanted; a frozen branch's is not even written. For a frozen
// gate `rows` runs alone.

struct Params {
    tokens: u32, width: u32, branches: u32, stride: u32,
    df_mask_0: u32, df_mask_1: u32, df_mask_2: u32,                  // bit k % 32 of mask k / 32: branch k
    want_dx: u32, want_gate: u32, chunk: u32,
    add_weight: u32, add_bias: u32,                                  // 1 to add to what is there
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Piece>;            // [tokens, width]
@group(0) @binding(2) var<storage, read> weight: array<Piece>;       // [branches, width]
@group(0) @binding(3) var<storage, read> f: array<Piece>;            // [branches, stride]
@group(0) @binding(4) var<storage, read> p: array<f32>;              // [tokens, branches]
@group(0) @binding(5) var<storage, read> g: array<Piece>;            // [tokens, width]
@group(0) @binding(6) var<storage, read_write> df: array<Piece>;     // [branches, stride]
@group(0) @binding(7) var<storage, read_write> dz: array<f32>;       // [tokens, branches]
@group(0) @binding(8) var<storage, read_write> dx: array<Piece>;     // [tokens, width]
@group(0) @binding(9) var<storage, read_write> partial: array<f32>;  // [ceil(tokens / chunk), branches, width + 1]
@group(0) @binding(10) var<storage, read_write> dweight: array<f32>; // [branches, width]
@group(0) @binding(11) var<storage, read_write> dbias: array<f32>;   // [branches]

const MOST: u32 = 65u;                                               // branches
const GATES: u32 = 3u;                                               // branches at once, where x is read
var<workgroup> slopes: array<f32, MOST>;                             // s_k, then dz_k

fn wanted(k: u32) -> bool {
    let mask = array(params.df_mask_0, params.df_mask_1, params.df_mask_2)[k / 32u];
    return (mask & (1u << (k % 32u))) != 0u;
}

// One workgroup a token: df, dz and dx in one pass over g, which its threads hold, and the branches.
@compute @workgroup_size(LANES)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let token = group.y * groups.x + group.x;
    if token >= params.tokens {
        return;
    }
    let start = token * PIECES;
    let stride = params.stride / PIECE;
    var own: array<Piece, PER>;
    for (var j = 0u; j < PER; j++) {
        let i = lane + j * LANES;
        if i < PIECES {
            own[j] = g[start + i];
        }
    }
    for (var k0 = 0u; k0 < params.branches; k0 += 4u) {
        var products = vec4f();
        for (var k = k0; k < min(k0 + 4u, params.branches); k++) {
            var sum = Piece();
            for (var j = 0u; j < PER; j++) {
                sum += own[j] * f[k * stride + start + min(lane + j * LANES, PIECES - 1u)];
            }
            products[k - k0] = total(sum);
        }
        let sums = sum_over_lanes(products, lane);
        if lane < min(4u, params.branches - k0) {
            slopes[k0 + lane] = sums[lane];
        }
    }
    workgroupBarrier();
    var mean = 0.0;
    for (var k = 0u; k < params.branches; k++) {
        mean += p[token * params.branches + k] * slopes[k];
    }
    workgroupBarrier();
    for (var k = lane; k < params.branches; k += LANES) {
        slopes[k] = p[token * params.branches + k] * (slopes[k] - mean);
        dz[token * params.branches + k] = slopes[k];
    }
    workgroupBarrier();
    for (var j = 0u; j < PER; j++) {
        let i = lane + j * LANES;
        if i < PIECES {
            var sum = Piece();
            for (var k = 0u; k < params.branches; k++) {
                if wanted(k) {
                    df[k * stride + start + i] = p[token * params.branches + k] * own[j];
                }
                if params.want_dx != 0u {
                    sum += slopes[k] * weight[k * PIECES + i];
                }
            }
            if params.want_dx != 0u {
                dx[start + i] = sum;
            }
        }
    }
}

// dz^T x over a chunk of tokens: a thread has a piece of x for GATES branches. The piece past the last is 1, for the bias.
@compute @workgroup_size(64)
fn chunks(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) lane: u32) {
    let number = group.y * groups.x + group.x;
    let across = (PIECES + 1u + 63u) / 64u;
    let blocks = (params.branches + GATES - 1u) / GATES;
    let piece = number % across * 64u + lane;
    let k0 = number / across % blocks * GATES;
    let chunk = number / across / blocks;
    let first = chunk * params.chunk;
    if piece > PIECES || first >= params.tokens {
        return;
    }
    var sums: array<Piece, GATES>;
    for (var token = first; token < min(first + params.chunk, params.tokens); token++) {
        var value = Piece(1.0);
        if piece < PIECES {
            value = x[token * PIECES + piece];
        }
        for (var j = 0u; j < GATES; j++) {
            sums[j] += dz[token * params.branches + min(k0 + j, params.branches - 1u)] * value;
        }
    }
    for (var j = 0u; j < min(GATES, params.branches - k0); j++) {
        let to = (chunk * params.branches + k0 + j) * (WIDTH + 1u) + piece * PIECE;
        let four = vec4f(sums[j]);
        for (var i = 0u; i < min(PIECE, WIDTH + 1u - piece * PIECE); i++) {
            partial[to + i] = four[i];
        }
    }
}

// dW and db: the chunks in order.
@compute @workgroup_size(64)
fn finish(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let columns = params.width + 1u;
    let size = params.branches * columns;
    if i >= size {
        return;
    }
    let column = i % columns;
    let k = i / columns;
    var sum = 0.0;
    for (var chunk = 0u; chunk < (params.tokens + params.chunk - 1u) / params.chunk; chunk++) {
        sum += partial[chunk * size + i];
    }
    if column < params.width {
        let at = k * params.width + column;
        if params.add_weight != 0u {
            sum += dweight[at];
        }
        dweight[at] = sum;
    } else {
        if params.add_bias != 0u {
            sum += dbias[k];
        }
        dbias[k] = sum;
    }
}
