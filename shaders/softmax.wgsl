// y = softmax(x), row by row; a thread takes a row, for rows are short.

struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [rows, width]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = (group.y * groups.x + group.x) * 64u + lane;
    if row >= params.rows {
        return;
    }
    let first = row * params.width;
    var greatest = x[first];
    for (var i = 1u; i < params.width; i++) {
        greatest = max(greatest, x[first + i]);
    }
    var total = 0.0;
    for (var i = 0u; i < params.width; i++) {
        let e = exp(x[first + i] - greatest);
        y[first + i] = e;
        total += e;
    }
    for (var i = 0u; i < params.width; i++) {
        y[first + i] /= total;
    }
}
