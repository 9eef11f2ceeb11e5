// One AdamW step. The gradient is scaled by unscale min(1, clip / sqrt(norm)) first, where `norm` is the sum of squares of all
// gradients; clip 0 scales nothing. Nothing changes where norm is no finite number, and where that of the step before is not, late1
// and late2 take the place of bias1 and bias2.

struct Params {
    count: u32, rate: f32, beta1: f32, beta2: f32,
    epsilon: f32, decay: f32, bias1: f32, bias2: f32, clip: f32,
    unscale: f32, late1: f32, late2: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;          // [count] gradient
@group(0) @binding(2) var<storage, read> norm: array<f32>;       // [1]
@group(0) @binding(3) var<storage, read> before: array<f32>;     // [1]
@group(0) @binding(4) var<storage, read_write> p: array<f32>;    // [count] parameter
@group(0) @binding(5) var<storage, read_write> m: array<f32>;    // [count] first moment
@group(0) @binding(6) var<storage, read_write> v: array<f32>;    // [count] second moment

// By its bits, for compilers may take it that arithmetic meets no others.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    if i >= params.count || !is_finite(norm[0]) {
        return;
    }
    let bias = select(vec2f(params.late1, params.late2), vec2f(params.bias1, params.bias2), is_finite(before[0]));
    var factor = 1.0;
    if params.clip > 0.0 {
        factor = min(1.0, params.clip / (sqrt(norm[0]) + 1e-6));
    }
    let gradient = g[i] * factor * params.unscale;
    let first = params.beta1 * m[i] + (1.0 - params.beta1) * gradient;
    let second = params.beta2 * v[i] + (1.0 - params.beta2) * gradient * gradient;
    m[i] = first;
    v[i] = second;
    let step = first / bias.x / (sqrt(second / bias.y) + params.epsilon);
    p[i] -= params.rate * (step + params.decay * p[i]);
}
