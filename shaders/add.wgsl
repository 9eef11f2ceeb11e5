// c = a + b, element by element.

alias Stored = f32;                                              // how a and c are: f32 or f16
alias StoredB = f32;                                             // how b is

struct Params { count: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Stored>;       // [count]
@group(0) @binding(2) var<storage, read> b: array<StoredB>;      // [count]
@group(0) @binding(3) var<storage, read_write> c: array<Stored>; // [count]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    if i < params.count {
        c[i] = Stored(f32(a[i]) + f32(b[i]));
    }
}
