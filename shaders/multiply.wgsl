// c = a b, element by element, or each row of a by one number of b: column `column` of its rows.

struct Params { count: u32, width: u32, columns: u32, column: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;          // [rows, width], count in all
@group(0) @binding(2) var<storage, read> b: array<f32>;          // [rows, columns], or like a where columns is 0
@group(0) @binding(3) var<storage, read_write> c: array<f32>;    // [rows, width]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    if i < params.count {
        var at = i;
        if params.columns > 0u {
            at = i / params.width * params.columns + params.column;
        }
        c[i] = a[i] * b[at];
    }
}
