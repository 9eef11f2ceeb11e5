// dx = r (w dy - n - (x - m) r^2 mean(w dy (x - m))), w = offset + weight; m and n are 0, or, centered, the means of x and of
// w dy: one workgroup a row.

alias StoredX = f32;                                             // how x and dx are: f32 or f16
alias StoredDy = f32;                                            // how dy is

struct Params { rows: u32, width: u32, offset: f32, centered: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<StoredX>;      // [rows, width]
@group(0) @binding(2) var<storage, read> weight: array<f32>;     // [width]
@group(0) @binding(3) var<storage, read> scales: array<f32>;     // [rows], r; centered [2, rows], r and m
@group(0) @binding(4) var<storage, read> dy: array<StoredDy>;    // [rows, width]
@group(0) @binding(5) var<storage, read_write> dx: array<StoredX>; // [rows, width]

const LANES: u32 = 64;
var<workgroup> partial: array<vec2f, LANES>;

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
        mean = scales[params.rows + row];
    }
    var sums = vec2f();
    for (var i = lane; i < params.width; i += LANES) {
        let slope = (params.offset + weight[i]) * f32(dy[start + i]);
        sums += slope * vec2f(f32(x[start + i]) - mean, 1.0);
    }
    partial[lane] = sums;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] += partial[lane + half];
        }
    }
    workgroupBarrier();
    let inverse = scales[row];
    let pull = partial[0].x / f32(params.width) * inverse * inverse;
    var lift = 0.0;
    if params.centered != 0u {
        lift = partial[0].y / f32(params.width);
    }
    for (var i = lane; i < params.width; i += LANES) {
        let slope = (params.offset + weight[i]) * f32(dy[start + i]);
        dx[start + i] = StoredX(inverse * (slope - lift - (f32(x[start + i]) - mean) * pull));
    }
}
