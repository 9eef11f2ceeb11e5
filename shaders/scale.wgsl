// y = alpha x, or y += alpha x.

alias StoredX = f32;                                             // how x is: f32 or f16
alias StoredY = f32;                                             // how y is

struct Params { count: u32, alpha: f32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<StoredX>;      // [count]
@group(0) @binding(2) var<storage, read_write> y: array<StoredY>;    // [count]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    if i < params.count {
        var value = params.alpha * f32(x[i]);
        if params.accumulate != 0u {
            value += f32(y[i]);
        }
        y[i] = StoredY(value);
    }
}
