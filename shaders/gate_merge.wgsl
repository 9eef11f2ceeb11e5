// y = sum_k p_k f_k with p = softmax(x W^T + b), per token: gate and merge in one pass over x and the branches. With top < branches the
// softmax is over the `top` greatest logits, of equals the first, and p of the others is 0.
// One workgroup a token, whose x its threads hold while they go from branch to branch. Branch k starts at element k * stride of `f`.

struct Params { tokens: u32, width: u32, branches: u32, stride: u32, top: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Piece>;            // [tokens, width], the block's input
@group(0) @binding(2) var<storage, read> weight: array<Piece>;       // [branches, width]
@group(0) @binding(3) var<storage, read> bias: array<f32>;           // [branches]
@group(0) @binding(4) var<storage, read> f: array<Piece>;            // [branches, stride >= tokens * width]
@group(0) @binding(5) var<storage, read_write> y: array<Piece>;      // [tokens, width]
@group(0) @binding(6) var<storage, read_write> p: array<f32>;        // [tokens, branches]

const MOST: u32 = 65u;                                               // branches
const LOWEST: f32 = -3e38;                                           // a logit whose exponential is 0
var<workgroup> logits: array<f32, MOST>;
var<workgroup> weights: array<f32, MOST>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
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
            own[j] = x[start + i];
        }
    }
    for (var k0 = 0u; k0 < params.branches; k0 += 4u) {
        var products = vec4f();
        for (var k = k0; k < min(k0 + 4u, params.branches); k++) {
            var sum = Piece();
            for (var j = 0u; j < PER; j++) {
                sum += own[j] * weight[k * PIECES + min(lane + j * LANES, PIECES - 1u)];
            }
            products[k - k0] = total(sum);
        }
        let sums = sum_over_lanes(products, lane);
        if lane < min(4u, params.branches - k0) {
            logits[k0 + lane] = sums[lane] + bias[k0 + lane];
        }
    }
    workgroupBarrier();
    if params.top < params.branches {
        for (var k = lane; k < params.branches; k += LANES) {
            var before = 0u;
            for (var j = 0u; j < params.branches; j++) {
                before += u32(logits[j] > logits[k] || (logits[j] == logits[k] && j < k));
            }
            weights[k] = select(LOWEST, logits[k], before < params.top);
        }
        workgroupBarrier();
        for (var k = lane; k < params.branches; k += LANES) {
            logits[k] = weights[k];
        }
        workgroupBarrier();
    }
    var greatest = logits[0];
    for (var k = 1u; k < params.branches; k++) {
        greatest = max(greatest, logits[k]);
    }
    var sum = 0.0;
    for (var k = 0u; k < params.branches; k++) {
        sum += exp(logits[k] - greatest);
    }
    for (var k = lane; k < params.branches; k += LANES) {
        weights[k] = exp(logits[k] - greatest) / sum;
        p[token * params.branches + k] = weights[k];
    }
    workgroupBarrier();
    var merged: array<Piece, PER>;
    for (var k = 0u; k < params.branches; k++) {
        for (var j = 0u; j < PER; j++) {
            merged[j] += weights[k] * f[k * stride + start + min(lane + j * LANES, PIECES - 1u)];
        }
    }
    for (var j = 0u; j < PER; j++) {
        let i = lane + j * LANES;
        if i < PIECES {
            y[start + i] = merged[j];
        }
    }
}
