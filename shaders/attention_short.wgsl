// Causal attention of few queries, as of one token that is decoded over a cache of keys: the tier of attention.wgsl for a `length`
// that would leave its tiles empty. A workgroup makes one row of one head's output; its threads share out the keys.

struct Params { batch: u32, length: u32, heads: u32, kv_heads: u32, scale: f32, past: u32, window: u32, cap: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<Stored>;       // [batch, length, heads, HEAD]
@group(0) @binding(2) var<storage, read> k: array<Stored>;       // [batch, past + length, kv_heads, HEAD]
@group(0) @binding(3) var<storage, read> v: array<Stored>;       // [batch, past + length, kv_heads, HEAD]
@group(0) @binding(4) var<storage, read_write> o: array<Stored>; // [batch, length, heads, HEAD]
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;  // [batch, length, heads], log sum exp of a row

alias Piece = vec4f;                                             // what is read and written at once: vec4f, or f32
alias Stored = vec4f;                                            // as buffers have it: that, or as many f16
const PIECE: u32 = 4u;                                           // elements of it
const HEAD: u32 = 64u;                                           // width of a head
const PIECES: u32 = HEAD / PIECE;
const LANES: u32 = 256u;                                         // threads, and keys a tile
const PARTS: u32 = 4u;                                           // threads a score
const SLICES: u32 = LANES / PIECES;                              // threads a piece of the output
var<workgroup> query: array<Piece, PIECES>;
var<workgroup> parts: array<f32, LANES * PARTS>;                 // [keys, PARTS]
var<workgroup> weights: array<f32, LANES>;
var<workgroup> strongest: array<f32, 16>;
var<workgroup> outputs: array<Piece, LANES>;                     // [SLICES, PIECES]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    let head = group.y;
    let batch = group.z;
    let stat = (batch * params.length + row) * params.heads + head;
    let end = params.past + row + 1u;                            // past the last key that the row sees
    let start = select(end - min(params.window, end), 0u, params.window == 0u);
    let stride = params.kv_heads * PIECES;
    let kept = batch * (params.past + params.length) * stride + head / (params.heads / params.kv_heads) * PIECES;
    if lane < PIECES {
        query[lane] = Piece(q[stat * PIECES + lane]);
    }
    let slice = lane / PIECES;
    var greatest = -1e30;
    var sum = 0.0;                                               // this thread's part
    var output = Piece();
    for (var first = start; first < end; first += LANES) {
        let count = min(LANES, end - first);
        workgroupBarrier();
        for (var key = lane / PARTS; key < count; key += LANES / PARTS) {
            var products = Piece();
            for (var i = lane % PARTS; i < PIECES; i += PARTS) {
                products += query[i] * Piece(k[kept + (first + key) * stride + i]);
            }
            // An f32 becomes a vec4f of four times itself.
            parts[key * PARTS + lane % PARTS] = dot(vec4f(products), vec4f(f32(PIECE) / 4.0));
        }
        workgroupBarrier();
        var score = -1e30;
        if lane < count {
            score = params.scale * (parts[4u * lane] + parts[4u * lane + 1u] + parts[4u * lane + 2u] + parts[4u * lane + 3u]);
            if params.cap > 0.0 {
                score = params.cap * tanh(clamp(score / params.cap, -15.0, 15.0));   // Some drivers overflow further out.
            }
        }
        weights[lane] = score;
        workgroupBarrier();
        if lane < 16u {
            var most = weights[lane];
            for (var i = lane + 16u; i < LANES; i += 16u) {
                most = max(most, weights[i]);
            }
            strongest[lane] = most;
        }
        workgroupBarrier();
        let before = greatest;
        for (var i = 0u; i < 16u; i++) {
            greatest = max(greatest, strongest[i]);
        }
        let shrink = exp(before - greatest);
        let p = select(0.0, exp(score - greatest), lane < count);
        sum = sum * shrink + p;
        weights[lane] = p;
        workgroupBarrier();
        output *= shrink;
        if slice < SLICES {
            for (var key = slice; key < count; key += SLICES) {
                output += weights[key] * Piece(v[kept + (first + key) * stride + lane % PIECES]);
            }
        }
    }
    workgroupBarrier();
    outputs[lane] = output;
    weights[lane] = sum;
    workgroupBarrier();
    if lane < 16u {
        var some = 0.0;
        for (var i = lane; i < LANES; i += 16u) {
            some += weights[i];
        }
        strongest[lane] = some;
    }
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < 16u; i++) {
        total += strongest[i];
    }
    if lane < PIECES {
        for (var other = 1u; other < SLICES; other++) {
            output += outputs[other * PIECES + lane];
        }
        o[stat * PIECES + lane] = Stored(output / total);
    }
    if lane == 0u {
        lse[stat] = greatest + log(total);
    }
}
