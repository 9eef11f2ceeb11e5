// Rotates the pairs (i, i + half) of each head by the angle of the token's position; sign -1 turns back.

alias Stored = f32;                                              // how x and y are: f32 or f16

struct Params { tokens: u32, length: u32, heads: u32, width: u32, sign: f32, first: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;       // [tokens, heads, width]
@group(0) @binding(2) var<storage, read> cosine: array<f32>;     // [first + length, width / 2]
@group(0) @binding(3) var<storage, read> sine: array<f32>;       // [first + length, width / 2]
@group(0) @binding(4) var<storage, read_write> y: array<Stored>; // [tokens, heads, width]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    let half = params.width / 2u;
    if i < params.tokens * params.heads * half {
        let pair = i % half;
        let row = i / half;                                      // token * heads + head
        let position = params.first + (row / params.heads) % params.length;
        let c = cosine[position * half + pair];
        let s = sine[position * half + pair] * params.sign;
        let low = row * params.width + pair;
        let a = f32(x[low]);
        let b = f32(x[low + half]);
        y[low] = Stored(a * c - b * s);
        y[low + half] = Stored(b * c + a * s);
    }
}
