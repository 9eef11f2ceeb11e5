// y = x * r * (offset + weight), r = 1 / sqrt(mean(x^2) + epsilon): one workgroup a row.

alias StoredX = f32;                                             // how x is: f32 or f16
alias StoredY = f32;                                             // how y is

struct Params { rows: u32, width: u32, epsilon: f32, offset: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<StoredX>;      // [rows, width]
@group(0) @binding(2) var<storage, read> weight: array<f32>;     // [width]
@group(0) @binding(3) var<storage, read_write> y: array<StoredY>;    // [rows, width]
@group(0) @binding(4) var<storage, read_write> r: array<f32>;    // [rows]

const LANES: u32 = 64;
var<workgroup> partial: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    var sum = 0.0;
    for (var i = lane; i < params.width; i += LANES) {
        let v = f32(x[row * params.width + i]);
        sum += v * v;
    }
    partial[lane] = sum;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] += partial[lane + half];
        }
    }
    workgroupBarrier();
    let inverse = 1.0 / sqrt(partial[0] / f32(params.width) + params.epsilon);
    if lane == 0u {
        r[row] = inverse;
    }
    for (var i = lane; i < params.width; i += LANES) {
        let v = f32(x[row * params.width + i]);
        y[row * params.width + i] = StoredY(v * inverse * (params.offset + weight[i]));
    }
}
