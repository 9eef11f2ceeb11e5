// y = sum_k p_k f_k with p = softmax(x W^T + b), per token: gate and merge in one pass over x and the branches.
// One workgroup a token. Branch k starts at element k * stride of `f`.

struct Params { tokens: u32, width: u32, branches: u32, stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // [tokens, width], the block's input
@group(0) @binding(2) var<storage, read> weight: array<f32>;         // [branches, width]
@group(0) @binding(3) var<storage, read> bias: array<f32>;           // [branches]
@group(0) @binding(4) var<storage, read> f: array<f32>;              // [branches, stride >= tokens * width]
@group(0) @binding(5) var<storage, read_write> y: array<f32>;        // [tokens, width]
@group(0) @binding(6) var<storage, read_write> p: array<f32>;        // [tokens, branches]

const LANES: u32 = 64;
const MOST: u32 = 65;                                                // branches
var<workgroup> partial: array<f32, LANES>;
var<workgroup> weights: array<f32, MOST>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let token = group.y * groups.x + group.x;
    if token >= params.tokens {
        return;
    }
    let start = token * params.width;
    for (var k = 0u; k < params.branches; k++) {
        var sum = 0.0;
        for (var i = lane; i < params.width; i += LANES) {
            sum += x[start + i] * weight[k * params.width + i];
        }
        workgroupBarrier();
        partial[lane] = sum;
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if lane < half {
                partial[lane] += partial[lane + half];
            }
        }
        if lane == 0u {
            weights[k] = partial[0] + bias[k];
        }
    }
    if lane == 0u {
        var greatest = weights[0];
        for (var k = 1u; k < params.branches; k++) {
            greatest = max(greatest, weights[k]);
        }
        var sum = 0.0;
        for (var k = 0u; k < params.branches; k++) {
            weights[k] = exp(weights[k] - greatest);
            sum += weights[k];
        }
        for (var k = 0u; k < params.branches; k++) {
            weights[k] /= sum;
            p[token * params.branches + k] = weights[k];
        }
    }
    workgroupBarrier();
    for (var i = lane; i < params.width; i += LANES) {
        var sum = 0.0;
        for (var k = 0u; k < params.branches; k++) {
            sum += weights[k] * f[k * params.stride + start + i];
        }
        y[start + i] = sum;
    }
}
