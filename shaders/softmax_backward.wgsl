// dx = p (dp - sum p dp), row by row; a thread takes a row, for rows are short.

struct Params { rows: u32, width: u32, stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> p: array<f32>;          // [rows, width]
@group(0) @binding(2) var<storage, read> dp: array<f32>;         // column k of [rows, width] from k * stride on
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;   // [rows, width]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = (group.y * groups.x + group.x) * 64u + lane;
    if row >= params.rows {
        return;
    }
    let first = row * params.width;
    var mean = 0.0;
    for (var k = 0u; k < params.width; k++) {
        mean += p[first + k] * dp[k * params.stride + row];
    }
    for (var k = 0u; k < params.width; k++) {
        dx[first + k] = p[first + k] * (dp[k * params.stride + row] - mean);
    }
}
