// Causal attention, forward, without a stored [length, length] matrix: o = softmax(scale q k^T + mask) v, computed over
// tiles of keys with a running maximum and sum (online softmax). Grouped queries: heads / kv_heads query heads share a
// key head. A window has past + length keys, its queries' own the last; a query sees the last `window` of those up to its own, or
// all. A workgroup of ROWS x 16 threads makes ROWS rows of one head's output.

struct Params { batch: u32, length: u32, heads: u32, kv_heads: u32, scale: f32, past: u32, window: u32, cap: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;          // [batch, length, heads, HEAD]
@group(0) @binding(2) var<storage, read> k: array<f32>;          // [batch, past + length, kv_heads, HEAD]
@group(0) @binding(3) var<storage, read> v: array<f32>;          // [batch, past + length, kv_heads, HEAD]
@group(0) @binding(4) var<storage, read_write> o: array<f32>;    // [batch, length, heads, HEAD]
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;  // [batch, length, heads], log sum exp of a row

const HEAD: u32 = 64;                                            // width of a head
const ROWS: u32 = 16;                                            // query rows a workgroup
const LANES: u32 = 16;                                           // threads a row, and keys a tile
const PER: u32 = (HEAD + LANES - 1u) / LANES;                    // output columns a thread
var<workgroup> tile: array<f32, LANES * HEAD>;                   // [LANES, HEAD]: keys, then values, of a tile
var<workgroup> queries: array<f32, ROWS * HEAD>;                 // [ROWS, HEAD]
var<workgroup> scores: array<f32, ROWS * LANES>;                 // [ROWS, LANES]

// Rows of k from `first` on; rows past the end are zero. For v the same again: WGSL passes no pointer to storage.
fn load_keys(first: u32, base: u32, lane: u32) {
    let keys = params.past + params.length;
    for (var i = lane; i < LANES * HEAD; i += ROWS * LANES) {
        let at = first + i / HEAD;
        tile[i] = select(0.0, k[base + min(at, keys - 1u) * params.kv_heads * HEAD + i % HEAD], at < keys);
    }
}

fn load_values(first: u32, base: u32, lane: u32) {
    let keys = params.past + params.length;
    for (var i = lane; i < LANES * HEAD; i += ROWS * LANES) {
        let at = first + i / HEAD;
        tile[i] = select(0.0, v[base + min(at, keys - 1u) * params.kv_heads * HEAD + i % HEAD], at < keys);
    }
}

// The first key that the query of position `own` sees.
fn first_seen(own: u32) -> u32 {
    return select(own + 1u - min(params.window, own + 1u), 0u, params.window == 0u);
}

@compute @workgroup_size(LANES, ROWS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let head = group.y;
    let batch = group.z;
    let kv_head = head / (params.heads / params.kv_heads);
    let first_row = group.x * ROWS;
    let row = first_row + local.y;
    let q_base = (batch * params.length * params.heads + head) * HEAD;
    let kv_base = (batch * (params.past + params.length) * params.kv_heads + kv_head) * HEAD;
    for (var i = lane; i < ROWS * HEAD; i += ROWS * LANES) {
        let at = min(first_row + i / HEAD, params.length - 1u);
        queries[i] = q[q_base + at * params.heads * HEAD + i % HEAD] * params.scale;
    }
    var greatest = -1e30;
    var sum = 0.0;
    var output: array<f32, PER>;
    let last_seen = params.past + min(first_row + ROWS, params.length) - 1u;
    let start = first_seen(params.past + first_row) / LANES * LANES;
    for (var first = start; first <= last_seen; first += LANES) {
        workgroupBarrier();
        load_keys(first, kv_base, lane);
        workgroupBarrier();
        var score = 0.0;
        for (var i = 0u; i < HEAD; i++) {
            score += queries[local.y * HEAD + i] * tile[local.x * HEAD + i];
        }
        if params.cap > 0.0 {
            score = params.cap * tanh(clamp(score / params.cap, -15.0, 15.0));
        }
        let key = first + local.x;
        scores[lane] = select(-1e30, score, key <= params.past + row && key >= first_seen(params.past + row));
        workgroupBarrier();
        load_values(first, kv_base, lane);
        workgroupBarrier();
        var tile_greatest = greatest;
        for (var i = 0u; i < LANES; i++) {
            tile_greatest = max(tile_greatest, scores[local.y * LANES + i]);
        }
        let shrink = exp(greatest - tile_greatest);
        greatest = tile_greatest;
        sum *= shrink;
        for (var j = 0u; j < PER; j++) {
            output[j] *= shrink;
        }
        for (var i = 0u; i < LANES; i++) {
            // A tile of which the row sees nothing leaves the maximum where it began.
            let score = scores[local.y * LANES + i];
            let p = select(exp(score - greatest), 0.0, score <= -1e30);
            sum += p;
            for (var j = 0u; j < PER; j++) {
                let column = local.x + LANES * j;
                if column < HEAD {
                    output[j] += p * tile[i * HEAD + column];
                }
            }
        }
    }
    if row < params.length {
        for (var j = 0u; j < PER; j++) {
            let column = local.x + LANES * j;
            if column < HEAD {
                o[q_base + row * params.heads * HEAD + column] = output[j] / sum;
            }
        }
        if local.x == 0u {
            lse[(batch * params.length + row) * params.heads + head] = greatest + log(sum);
        }
    }
}
