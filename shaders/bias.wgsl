// y = x + b, a row at a time.

struct Params { count: u32, width: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [rows, width], count in all
@group(0) @binding(2) var<storage, read> b: array<f32>;          // [width]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // [rows, width]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    if i < params.count {
        y[i] = x[i] + b[i % params.width];
    }
}
