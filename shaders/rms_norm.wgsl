// y = (x - m) r (offset + weight) + bias, r = 1 / sqrt(mean((x - m)^2) + epsilon), where m is 0 without a bias, or, centered,
// mean(x): one workgroup a row.

alias StoredX = f32;                                                // how x is: f32 or f16
alias StoredY = f32;                                                // how y is

struct Params { rows: u32, width: u32, epsilon: f32, offset: f32, centered: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<StoredX>;         // [rows, width]
@group(0) @binding(2) var<storage, read> weight: array<f32>;        // [width]
@group(0) @binding(3) var<storage, read> bias: array<f32>;          // [width], not read but centered
@group(0) @binding(4) var<storage, read_write> y: array<StoredY>;   // [rows, width]
@group(0) @binding(5) var<storage, read_write> scales: array<f32>;  // [rows], r; centered [2, rows], r and m

const LANES: u32 = 64;
var<workgroup> partial: array<f32, LANES>;

fn sum_over_lanes(own: f32, lane: u32) -> f32 {
    workgroupBarrier();
    partial[lane] = own;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] += partial[lane + half];
        }
    }
    workgroupBarrier();
    return partial[0];
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    let start = row * params.width;
    var mean = 0.0;
    if params.centered != 0u {
        var sum = 0.0;
        for (var i = lane; i < params.width; i += LANES) {
            sum += f32(x[start + i]);
        }
        mean = sum_over_lanes(sum, lane) / f32(params.width);
    }
    var sum = 0.0;
    for (var i = lane; i < params.width; i += LANES) {
        let v = f32(x[start + i]) - mean;
        sum += v * v;
    }
    let inverse = 1.0 / sqrt(sum_over_lanes(sum, lane) / f32(params.width) + params.epsilon);
    if lane == 0u {
        scales[row] = inverse;
        if params.centered != 0u {
            scales[params.rows + row] = mean;
        }
    }
    for (var i = lane; i < params.width; i += LANES) {
        var v = (f32(x[start + i]) - mean) * inverse * (params.offset + weight[i]);
        if params.centered != 0u {
            v += bias[i];
        }
        y[start + i] = StoredY(v);
    }
}
