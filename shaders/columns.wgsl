// y[r, to + i] (+)= x[r, from + i]: a block of columns, copied or added.

alias Stored = f32;                                              // how both are: f32 or f16

struct Params { rows: u32, width: u32, x_row: u32, y_row: u32, x_first: u32, y_first: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;       // [rows, x_row]
@group(0) @binding(2) var<storage, read_write> y: array<Stored>; // [rows, y_row]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    if i < params.rows * params.width {
        let row = i / params.width;
        let column = i % params.width;
        let at = row * params.y_row + params.y_first + column;
        var value = f32(x[row * params.x_row + params.x_first + column]);
        if params.accumulate != 0u {
            value += f32(y[at]);
        }
        y[at] = Stored(value);
    }
}
