// Causal attention, forward, without a stored [length, length] matrix: o = softmax(scale q k^T + mask) v, computed over
// tiles of keys with a running maximum and sum (online softmax). Grouped queries: heads / kv_heads query heads share a
// key head. A window has past + length keys, its queries' own the last; a query sees the last `window` of those up to its own, or
// all. A workgroup makes ROWS rows of one head's output.

struct Params { batch: u32, length: u32, heads: u32, kv_heads: u32, scale: f32, past: u32, window: u32, cap: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<Stored>;       // [batch, length, heads, HEAD]
@group(0) @binding(2) var<storage, read> k: array<Stored>;       // [batch, past + length, kv_heads, HEAD]
@group(0) @binding(3) var<storage, read> v: array<Stored>;       // [batch, past + length, kv_heads, HEAD]
@group(0) @binding(4) var<storage, read_write> o: array<Stored>; // [batch, length, heads, HEAD]
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;  // [batch, length, heads], log sum exp of a row

const Q: u32 = 0u;
const K: u32 = 1u;
const V: u32 = 2u;

fn operand(number: u32, at: u32) -> Piece {
    if number == Q {
        return Piece(q[at]);
    }
    if number == K {
        return Piece(k[at]);
    }
    return Piece(v[at]);
}

@compute @workgroup_size(X, Y)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) id: vec3u) {
    let local = id.xy;
    let head = group.y;
    let batch = group.z;
    // The rows that see most come first, so that the last workgroups are short.
    let row0 = (groups.x - 1u - group.x) * ROWS;
    let queries = head_of(batch, params.length, params.heads, head);
    let kept = head_of(batch, params.past + params.length, params.kv_heads, head / (params.heads / params.kv_heads));
    var greatest = vec4f(-1e30);
    var sum = vec4f();                                           // this thread's part
    var output: array<Piece, 4u * PER>;
    let end = params.past + min(row0 + ROWS, params.length);
    for (var first = first_seen(params.past + row0) / COLUMNS * COLUMNS; first < end; first += COLUMNS) {
        var scores = products(Q, queries, row0, K, kept, first, local);
        var highest = greatest;
        for (var i = 0u; i < 4u; i++) {
            let own = params.past + row0 + 4u * local.y + i;
            let seen = sees(vec4u(own), first + 4u * local.x + vec4u(0u, 1u, 2u, 3u));
            scores[i] = select(vec4f(-1e30), bent(scores[i]), seen);
            highest[i] = max(highest[i], max(max(scores[i].x, scores[i].y), max(scores[i].z, scores[i].w)));
        }
        weights[local.y * X + local.x] = highest;
        workgroupBarrier();
        for (var x = 0u; x < X; x++) {
            highest = max(highest, weights[local.y * X + x]);
        }
        workgroupBarrier();
        let shrink = exp(greatest - highest);
        greatest = highest;
        sum *= shrink;
        for (var i = 0u; i < 4u; i++) {
            // A tile of which the row sees nothing leaves the maximum where it began.
            let p = select(exp(scores[i] - greatest[i]), vec4f(), scores[i] <= vec4f(-1e30));
            weights[(4u * local.y + i) * X + local.x] = p;
            sum[i] += p.x + p.y + p.z + p.w;
            for (var j = 0u; j < PER; j++) {
                output[i * PER + j] *= shrink[i];
            }
        }
        add_weighted(V, kept, first, local, &output);
    }
    sum = row_sum(sum, local);
    for (var i = 0u; i < 4u; i++) {
        let row = row0 + 4u * local.y + i;
        if row < params.length {
            for (var j = 0u; j < PER; j++) {
                let piece = local.x + X * j;
                if piece < PIECES {
                    o[place(queries, row, piece)] = Stored(output[i * PER + j] / sum[i]);
                }
            }
            if local.x == 0u {
                lse[(batch * params.length + row) * params.heads + head] = greatest[i] + log(sum[i]);
            }
        }
    }
}
