// Causal attention, backward, with the scores recomputed from q, k and the rows' log sum exp:
//     p = exp(scale q k^T - lse),  delta = <do, o>,  ds = p (do v^T - delta) scale,
//     dq = ds k,  dk = ds^T q,  dv = p^T do,
// and with a cap c on scores, ds times 1 - (bent score / c)^2.
// Two passes, each the only writer of what it writes: no atomics, the same bits every time.

struct Params { batch: u32, length: u32, heads: u32, kv_heads: u32, scale: f32, past: u32, window: u32, cap: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;              // [batch, length, heads, HEAD]
@group(0) @binding(2) var<storage, read> k: array<f32>;              // [batch, length, kv_heads, HEAD]
@group(0) @binding(3) var<storage, read> v: array<f32>;              // [batch, length, kv_heads, HEAD]
@group(0) @binding(4) var<storage, read> o: array<f32>;              // [batch, length, heads, HEAD]
@group(0) @binding(5) var<storage, read> lse: array<f32>;            // [batch, length, heads]
@group(0) @binding(6) var<storage, read> dout: array<f32>;           // [batch, length, heads, HEAD]
@group(0) @binding(7) var<storage, read_write> dq: array<f32>;       // [batch, length, heads, HEAD]
@group(0) @binding(8) var<storage, read_write> dk: array<f32>;       // [batch, length, kv_heads, HEAD]
@group(0) @binding(9) var<storage, read_write> dv: array<f32>;       // [batch, length, kv_heads, HEAD]
@group(0) @binding(10) var<storage, read_write> delta: array<f32>;   // [batch, length, heads]

const HEAD: u32 = 64;                                                // width of a head
const ROWS: u32 = 16;                                                // rows a workgroup, and rows a tile
const PER: u32 = (HEAD + ROWS - 1u) / ROWS;                          // gradient columns a thread
var<workgroup> tile_a: array<f32, ROWS * HEAD>;                      // keys, or queries
var<workgroup> tile_b: array<f32, ROWS * HEAD>;                      // values, or output gradients
var<workgroup> scores: array<f32, ROWS * ROWS>;                      // ds
var<workgroup> weights: array<f32, ROWS * ROWS>;                     // p

// True if the query of position `own` sees the key of position `key`.
fn sees(own: u32, key: u32) -> bool {
    return key <= own && (params.window == 0u || own - key < params.window);
}

// A score as the softmax saw it.
fn bent(score: f32) -> f32 {
    let cap = params.cap;
    return select(score, cap * tanh(clamp(score / max(cap, 1e-30), -15.0, 15.0)), cap > 0.0);
}

// The slope of that, times the scale.
fn bent_slope(bent: f32) -> f32 {
    let share = bent / max(params.cap, 1e-30);
    return params.scale * select(1.0, 1.0 - share * share, params.cap > 0.0);
}

// Rows of dq: a workgroup walks the keys up to its last row. Thread (x, y): key x of the tile, query y.
@compute @workgroup_size(ROWS, ROWS)
fn queries(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u,
           @builtin(local_invocation_index) lane: u32) {
    let head = group.y;
    let batch = group.z;
    let kv_head = head / (params.heads / params.kv_heads);
    let row = group.x * ROWS + local.y;
    let inside = row < params.length;
    let kv_base = (batch * params.length * params.kv_heads + kv_head) * HEAD;
    let from_q = ((batch * params.length + min(row, params.length - 1u)) * params.heads + head) * HEAD;
    let stat = (batch * params.length + min(row, params.length - 1u)) * params.heads + head;
    var d = 0.0;
    for (var i = 0u; i < HEAD; i++) {
        d += dout[from_q + i] * o[from_q + i];
    }
    if inside && local.x == 0u {
        delta[stat] = d;
    }
    var sums: array<f32, PER>;
    let last_row = min(group.x * ROWS + ROWS, params.length) - 1u;
    let own = group.x * ROWS;
    let start = select(own + 1u - min(params.window, own + 1u), 0u, params.window == 0u) / ROWS * ROWS;
    for (var first = start; first <= last_row; first += ROWS) {
        workgroupBarrier();
        for (var i = lane; i < ROWS * HEAD; i += ROWS * ROWS) {
            let at = kv_base + min(first + i / HEAD, params.length - 1u) * params.kv_heads * HEAD + i % HEAD;
            tile_a[i] = k[at];
            tile_b[i] = v[at];
        }
        workgroupBarrier();
        var score = 0.0;
        var slope = 0.0;
        for (var i = 0u; i < HEAD; i++) {
            score += q[from_q + i] * tile_a[local.x * HEAD + i];
            slope += dout[from_q + i] * tile_b[local.x * HEAD + i];
        }
        let z = bent(params.scale * score);
        let p = exp(min(z - lse[stat], 0.0));
        scores[lane] = select(0.0, p * (slope - d) * bent_slope(z), inside && sees(row, first + local.x));
        workgroupBarrier();
        for (var i = 0u; i < ROWS; i++) {
            for (var j = 0u; j < PER; j++) {
                let column = local.x + ROWS * j;
                if column < HEAD {
                    sums[j] += scores[local.y * ROWS + i] * tile_a[i * HEAD + column];
                }
            }
        }
    }
    if inside {
        for (var j = 0u; j < PER; j++) {
            let column = local.x + ROWS * j;
            if column < HEAD {
                dq[from_q + column] = sums[j];
            }
        }
    }
}

// Rows of dk and dv: a workgroup walks the queries from its first row on, for every query head of the group.
// Thread (x, y): query x of the tile, key y.
@compute @workgroup_size(ROWS, ROWS)
fn keys(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let kv_head = group.y;
    let batch = group.z;
    let shared_by = params.heads / params.kv_heads;
    let row = group.x * ROWS + local.y;
    let inside = row < params.length;
    let from_k = ((batch * params.length + min(row, params.length - 1u)) * params.kv_heads + kv_head) * HEAD;
    var k_sums: array<f32, PER>;
    var v_sums: array<f32, PER>;
    for (var head = kv_head * shared_by; head < (kv_head + 1u) * shared_by; head++) {
        // The last query that sees a key of these rows.
        let end = select(min(params.length, group.x * ROWS + ROWS - 1u + params.window), params.length, params.window == 0u);
        for (var first = group.x * ROWS; first < end; first += ROWS) {
            workgroupBarrier();
            for (var i = lane; i < ROWS * HEAD; i += ROWS * ROWS) {
                let token = batch * params.length + min(first + i / HEAD, params.length - 1u);
                let at = (token * params.heads + head) * HEAD + i % HEAD;
                tile_a[i] = q[at];
                tile_b[i] = dout[at];
            }
            workgroupBarrier();
            var score = 0.0;
            var slope = 0.0;
            for (var i = 0u; i < HEAD; i++) {
                score += k[from_k + i] * tile_a[local.x * HEAD + i];
                slope += v[from_k + i] * tile_b[local.x * HEAD + i];
            }
            let query = first + local.x;
            let stat = (batch * params.length + min(query, params.length - 1u)) * params.heads + head;
            let seen = inside && query < params.length && sees(query, row);
            let z = bent(params.scale * score);
            let p = select(0.0, exp(min(z - lse[stat], 0.0)), seen);
            weights[lane] = p;
            scores[lane] = p * (slope - delta[stat]) * bent_slope(z);
            workgroupBarrier();
            for (var i = 0u; i < ROWS; i++) {
                for (var j = 0u; j < PER; j++) {
                    let column = local.x + ROWS * j;
                    if column < HEAD {
                        k_sums[j] += scores[local.y * ROWS + i] * tile_a[i * HEAD + column];
                        v_sums[j] += weights[local.y * ROWS + i] * tile_b[i * HEAD + column];
                    }
                }
            }
        }
    }
    if inside {
        for (var j = 0u; j < PER; j++) {
            let column = local.x + ROWS * j;
            if column < HEAD {
                dk[from_k + column] = k_sums[j];
                dv[from_k + column] = v_sums[j];
            }
        }
    }
}
