// y[t] = table[ids[t]]: one row a token.

struct Params { tokens: u32, width: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;        // [tokens], below the table's rows
@group(0) @binding(2) var<storage, read> table: array<u32>;      // [rows, width], by shared/weight.wgsl
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // [tokens, width]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    if i < params.tokens * params.width {
        let at = ids[i / params.width] * params.width + i % params.width;
        y[i] = element(table[word(at)], at);
    }
}
