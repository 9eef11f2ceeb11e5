// dx = r (w dy - x r^2 mean(w dy x)), w = offset + weight: one workgroup a row.

alias StoredX = f32;                                             // how x and dx are: f32 or f16
alias StoredDy = f32;                                            // how dy is

struct Params { rows: u32, width: u32, offset: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<StoredX>;      // [rows, width]
@group(0) @binding(2) var<storage, read> weight: array<f32>;     // [width]
@group(0) @binding(3) var<storage, read> r: array<f32>;          // [rows]
@group(0) @binding(4) var<storage, read> dy: array<StoredDy>;    // [rows, width]
@group(0) @binding(5) var<storage, read_write> dx: array<StoredX>; // [rows, width]

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
        sum += (params.offset + weight[i]) * f32(dy[start + i]) * f32(x[start + i]);
    }
    partial[lane] = sum;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] += partial[lane + half];
        }
    }
    workgroupBarrier();
    let inverse = r[row];
    let pull = partial[0] / f32(params.width) * inverse * inverse;
    for (var i = lane; i < params.width; i += LANES) {
        let push = (params.offset + weight[i]) * f32(dy[start + i]);
        dx[start + i] = StoredX(inverse * (push - f32(x[start + i]) * pull));
    }
}
