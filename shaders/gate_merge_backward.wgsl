// With g = dL/dy, p the merge weights and s_k = <g, f_k>:
//     df_k = p_k g,   dz_k = p_k (s_k - sum_j p_j s_j),   dx = dz W,   dW = dz^T x,   db = sum dz.
// `df_mask_0` to `_2` have a bit for each branch whose gradient is wanted; a frozen branch's is not even written. For a frozen
// gate `rows` runs alone.

struct Params {
    tokens: u32, width: u32, branches: u32, stride: u32,
    df_mask_0: u32, df_mask_1: u32, df_mask_2: u32,                  // bit k % 32 of mask k / 32: branch k
    want_dx: u32, want_gate: u32, chunk: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // [tokens, width]
@group(0) @binding(2) var<storage, read> weight: array<f32>;         // [branches, width]
@group(0) @binding(3) var<storage, read> f: array<f32>;              // [branches, stride]
@group(0) @binding(4) var<storage, read> p: array<f32>;              // [tokens, branches]
@group(0) @binding(5) var<storage, read> g: array<f32>;              // [tokens, width]
@group(0) @binding(6) var<storage, read_write> df: array<f32>;       // [branches, stride]
@group(0) @binding(7) var<storage, read_write> dz: array<f32>;       // [tokens, branches]
@group(0) @binding(8) var<storage, read_write> dx: array<f32>;       // [tokens, width]
@group(0) @binding(9) var<storage, read_write> partial: array<f32>;  // [ceil(tokens / chunk), branches, width + 1]
@group(0) @binding(10) var<storage, read_write> dweight: array<f32>; // [branches, width]
@group(0) @binding(11) var<storage, read_write> dbias: array<f32>;   // [branches]

const LANES: u32 = 64;
const MOST: u32 = 65;                                                // branches
var<workgroup> lanes: array<f32, LANES>;
var<workgroup> slopes: array<f32, MOST>;                             // s_k, then dz_k

// One workgroup a token: df, dz and dx in one pass over g and the branches.
@compute @workgroup_size(LANES)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let token = group.y * groups.x + group.x;
    if token >= params.tokens {
        return;
    }
    let start = token * params.width;
    for (var k = 0u; k < params.branches; k++) {
        let weighs = p[token * params.branches + k];
        let mask = array(params.df_mask_0, params.df_mask_1, params.df_mask_2)[k / 32u];
        let wanted = (mask & (1u << (k % 32u))) != 0u;
        var sum = 0.0;
        for (var i = lane; i < params.width; i += LANES) {
            let at = k * params.stride + start + i;
            sum += g[start + i] * f[at];
            if wanted {
                df[at] = weighs * g[start + i];
            }
        }
        workgroupBarrier();
        lanes[lane] = sum;
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if lane < half {
                lanes[lane] += lanes[lane + half];
            }
        }
        if lane == 0u {
            slopes[k] = lanes[0];
        }
    }
    if lane == 0u {
        var mean = 0.0;
        for (var k = 0u; k < params.branches; k++) {
            mean += p[token * params.branches + k] * slopes[k];
        }
        for (var k = 0u; k < params.branches; k++) {
            slopes[k] = p[token * params.branches + k] * (slopes[k] - mean);
            dz[token * params.branches + k] = slopes[k];
        }
    }
    workgroupBarrier();
    if params.want_dx != 0u {
        for (var i = lane; i < params.width; i += LANES) {
            var sum = 0.0;
            for (var k = 0u; k < params.branches; k++) {
                sum += slopes[k] * weight[k * params.width + i];
            }
            dx[start + i] = sum;
        }
    }
}

// One thread a chunk of tokens, branch and column; column `width` is the bias.
@compute @workgroup_size(64)
fn chunks(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let columns = params.width + 1u;
    let count = (params.tokens + params.chunk - 1u) / params.chunk;
    if i >= count * params.branches * columns {
        return;
    }
    let column = i % columns;
    let k = i / columns % params.branches;
    let first = i / columns / params.branches * params.chunk;
    var sum = 0.0;
    for (var token = first; token < min(first + params.chunk, params.tokens); token++) {
        var value = 1.0;
        if column < params.width {
            value = x[token * params.width + column];
        }
        sum += dz[token * params.branches + k] * value;
    }
    partial[i] = sum;
}

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
        dweight[k * params.width + column] = sum;
    } else {
        dbias[k] = sum;
    }
}
