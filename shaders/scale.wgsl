// y = alpha x, or y += alpha x.

struct Params { count: u32, alpha: f32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [count]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [count]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    if i < params.count {
        var value = params.alpha * x[i];
        if params.accumulate != 0u {
            value += y[i];
        }
        y[i] = value;
    }
}
