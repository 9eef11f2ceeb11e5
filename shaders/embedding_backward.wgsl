// dtable[id] += sum of dy[t] over the tokens t with ids[t] = id.
// Deterministic without atomics: `order` lists the tokens sorted by id (equal ids in token order), and the workgroup at
// the first token of an id adds up the whole run, in order. The padding id gets nothing.

struct Params { tokens: u32, width: u32, padding: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;            // [tokens]
@group(0) @binding(2) var<storage, read> order: array<u32>;          // [tokens], a permutation
@group(0) @binding(3) var<storage, read> dy: array<f32>;             // [tokens, width]
@group(0) @binding(4) var<storage, read_write> dtable: array<f32>;   // [rows, width]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let first = group.y * groups.x + group.x;
    if first >= params.tokens {
        return;
    }
    let id = ids[order[first]];
    if id == params.padding || first > 0u && ids[order[first - 1u]] == id {
        return;
    }
    for (var column = lane; column < params.width; column += 64u) {
        var sum = dtable[id * params.width + column];
        for (var at = first; at < params.tokens && ids[order[at]] == id; at++) {
            sum += dy[order[at] * params.width + column];
        }
        dtable[id * params.width + column] = sum;
    }
}
