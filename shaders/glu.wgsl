// h = f(gate) * up; f by shared/activation.wgsl.

alias Stored = f32;                                              // how all of them are: f32 or f16

struct Params { count: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<Stored>;    // [tokens, hidden], count in all
@group(0) @binding(2) var<storage, read> up: array<Stored>;      // [tokens, hidden]
@group(0) @binding(3) var<storage, read_write> h: array<Stored>; // [tokens, hidden]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    if i < params.count {
        h[i] = Stored(activation(f32(gate[i])) * f32(up[i]));
    }
}
