// y = x - mean(x): one workgroup a row.

struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [rows, width]

const LANES: u32 = 64;
var<workgroup> partial: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    let start = row * params.width;
    var sum = 0.0;
    for (var i = lane; i < params.width; i += LANES) {
        sum += x[start + i];
    }
    partial[lane] = sum;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] += partial[lane + half];
        }
    }
    workgroupBarrier();
    let mean = partial[0] / f32(params.width);
    for (var i = lane; i < params.width; i += LANES) {
        y[start + i] = x[start + i] - mean;
    }
}
