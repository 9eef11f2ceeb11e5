// Causal attention, backward, with the scores recomputed from q, k and the rows' log sum exp:
//     p = exp(scale q k^T - lse),  delta = <do, o>,  ds = p (do v^T - delta) scale,
//     dq = ds k,  dk = ds^T q,  dv = p^T do,
// and with a cap c on scores, ds times 1 - (bent score / c)^2.
// Two passes, each the only writer of what it writes: no atomics, the same bits every time.

struct Params { batch: u32, length: u32, heads: u32, kv_heads: u32, scale: f32, past: u32, window: u32, cap: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<Stored>;           // [batch, length, heads, HEAD]
@group(0) @binding(2) var<storage, read> k: array<Stored>;           // [batch, length, kv_heads, HEAD]
@group(0) @binding(3) var<storage, read> v: array<Stored>;           // [batch, length, kv_heads, HEAD]
@group(0) @binding(4) var<storage, read> o: array<Stored>;           // [batch, length, heads, HEAD]
@group(0) @binding(5) var<storage, read> lse: array<f32>;            // [batch, length, heads]
@group(0) @binding(6) var<storage, read> dout: array<Stored>;        // [batch, length, heads, HEAD]
@group(0) @binding(7) var<storage, read_write> dq: array<Stored>;    // [batch, length, heads, HEAD]
@group(0) @binding(8) var<storage, read_write> dk: array<Stored>;    // [batch, length, kv_heads, HEAD]
@group(0) @binding(9) var<storage, read_write> dv: array<Stored>;    // [batch, length, kv_heads, HEAD]
@group(0) @binding(10) var<storage, read_write> delta: array<f32>;   // [batch, length, heads]

const Q: u32 = 0u;
const K: u32 = 1u;
const V: u32 = 2u;
const DO: u32 = 3u;

fn operand(number: u32, at: u32) -> Piece {
    if number == Q {
        return Piece(q[at]);
    }
    if number == K {
        return Piece(k[at]);
    }
    if number == V {
        return Piece(v[at]);
    }
    return Piece(dout[at]);
}

// The slope of bent scores, times the scale.
fn bent_slope(bent: vec4f) -> vec4f {
    let share = bent / max(params.cap, 1e-30);
    return params.scale * select(vec4f(1.0), 1.0 - share * share, params.cap > 0.0);
}

// Rows of dq: a workgroup walks the keys up to its last row. Rows of scores are queries, columns are keys.
@compute @workgroup_size(X, Y)
fn queries(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_id) id: vec3u) {
    let local = id.xy;
    let head = group.y;
    let batch = group.z;
    // The rows that see most come first, so that the last workgroups are short.
    let row0 = (groups.x - 1u - group.x) * ROWS;
    let asked = head_of(batch, params.length, params.heads, head);
    let kept = head_of(batch, params.length, params.kv_heads, head / (params.heads / params.kv_heads));
    var d = vec4f();
    var log_sums = vec4f();
    for (var i = 0u; i < 4u; i++) {
        let row = row0 + 4u * local.y + i;
        for (var piece = local.x; piece < PIECES; piece += X) {
            let at = place(asked, row, piece);
            d[i] += dot(vec4f(Piece(dout[at]) * Piece(o[at])), vec4f(f32(PIECE) / 4.0));
        }
        log_sums[i] = lse[(batch * params.length + min(row, asked.last)) * params.heads + head];
    }
    d = row_sum(d, local);
    var sums: array<Piece, 4u * PER>;
    let end = min(row0 + ROWS, params.length);
    for (var first = first_seen(row0) / COLUMNS * COLUMNS; first < end; first += COLUMNS) {
        let scores = products(Q, asked, row0, K, kept, first, local);
        let slopes = products(DO, asked, row0, V, kept, first, local);
        for (var i = 0u; i < 4u; i++) {
            let own = row0 + 4u * local.y + i;
            let seen = sees(vec4u(own), first + 4u * local.x + vec4u(0u, 1u, 2u, 3u));
            let z = bent(scores[i]);
            let p = exp(min(z - log_sums[i], vec4f()));
            weights[(4u * local.y + i) * X + local.x] = select(vec4f(), p * (slopes[i] - d[i]) * bent_slope(z), seen);
        }
        add_weighted(K, kept, first, local, &sums);
    }
    for (var i = 0u; i < 4u; i++) {
        let row = row0 + 4u * local.y + i;
        if row < params.length {
            for (var j = 0u; j < PER; j++) {
                let piece = local.x + X * j;
                if piece < PIECES {
                    dq[place(asked, row, piece)] = Stored(sums[i * PER + j]);
                }
            }
            if local.x == 0u {
                delta[(batch * params.length + row) * params.heads + head] = d[i];
            }
        }
    }
}

// Rows of dk and dv: a workgroup walks the queries from its first row on, for every query head of the group. Rows of scores are
// keys, columns are queries.
@compute @workgroup_size(X, Y)
fn keys(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) id: vec3u) {
    let local = id.xy;
    let kv_head = group.y;
    let batch = group.z;
    let row0 = group.x * ROWS;
    let kept = head_of(batch, params.length, params.kv_heads, kv_head);
    let shared_by = params.heads / params.kv_heads;
    // Past the last query that sees a key of these rows.
    let end = select(min(params.length, row0 + ROWS - 1u + params.window), params.length, params.window == 0u);
    var k_sums: array<Piece, 4u * PER>;
    var v_sums: array<Piece, 4u * PER>;
    for (var head = kv_head * shared_by; head < (kv_head + 1u) * shared_by; head++) {
        let asked = head_of(batch, params.length, params.heads, head);
        for (var first = row0 / COLUMNS * COLUMNS; first < end; first += COLUMNS) {
            let scores = products(K, kept, row0, Q, asked, first, local);
            let slopes = products(V, kept, row0, DO, asked, first, local);
            var log_sums = vec4f();
            var d = vec4f();
            let query = first + 4u * local.x + vec4u(0u, 1u, 2u, 3u);
            for (var i = 0u; i < 4u; i++) {
                let stat = (batch * params.length + min(query[i], asked.last)) * params.heads + head;
                log_sums[i] = lse[stat];
                d[i] = delta[stat];
            }
            var ds: array<vec4f, 4>;
            for (var i = 0u; i < 4u; i++) {
                let seen = sees(query, vec4u(row0 + 4u * local.y + i)) & (query < vec4u(params.length));
                let z = bent(scores[i]);
                let p = select(vec4f(), exp(min(z - log_sums, vec4f())), seen);
                ds[i] = p * (slopes[i] - d) * bent_slope(z);
                weights[(4u * local.y + i) * X + local.x] = p;
            }
            add_weighted(DO, asked, first, local, &v_sums);
            workgroupBarrier();
            for (var i = 0u; i < 4u; i++) {
                weights[(4u * local.y + i) * X + local.x] = ds[i];
            }
            add_weighted(Q, asked, first, local, &k_sums);
        }
    }
    for (var i = 0u; i < 4u; i++) {
        let row = row0 + 4u * local.y + i;
        for (var j = 0u; j < PER; j++) {
            let piece = local.x + X * j;
            if row < params.length && piece < PIECES {
                let at = place(kept, row, piece);
                dk[at] = Stored(k_sums[i * PER + j]);
                dv[at] = Stored(v_sums[i * PER + j]);
            }
        }
    }
}
