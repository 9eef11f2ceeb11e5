// Causal attention, forward, by cooperative matrices: the tier of attention.wgsl for heads up to 128 wide, a multiple of 16, where q, k,
// v and the weights of values may be rounded to f16. Products are summed, and the softmax is made, in f32.
// A workgroup makes ROWS rows of one head's output. Of SIZE rows of it a subgroup holds the sums in registers, or PARTS subgroups each a
// part of their width. Scores go out through workgroup memory to the threads, and come back as weights. A row's sums are rescaled only
// where its maximum has grown by more than SLACK since it was last taken, which is seldom after the first tiles.

enable f16;
enable wgpu_cooperative_matrix;

struct Params { batch: u32, length: u32, heads: u32, kv_heads: u32, scale: f32, past: u32, window: u32, cap: f32 }

alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
alias Stored = vec4f;                                            // as buffers have four elements: that, or vec4<f16>

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<Stored>;       // [batch, length, heads, HEAD]
@group(0) @binding(2) var<storage, read> k: array<Stored>;       // [batch, past + length, kv_heads, HEAD]
@group(0) @binding(3) var<storage, read> v: array<Stored>;       // [batch, past + length, kv_heads, HEAD]
@group(0) @binding(4) var<storage, read_write> o: array<Stored>; // [batch, length, heads, HEAD]
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;  // [batch, length, heads], log sum exp of a row

const SIZE: u32 = 16u;                                           // Of a matrix
const SUBGROUP: u32 = 32u;                                       // Threads; the device's own
const HEAD: u32 = 64u;                                           // Width of a head
const PIECES: u32 = HEAD / 4u;
const PARTS: u32 = (HEAD + 8u * SIZE - 1u) / (8u * SIZE);        // Subgroups that share out a row's width
const WIDTH: u32 = HEAD / PARTS;                                 // of each: up to eight matrices
const BLOCKS: u32 = 4u;                                          // Of SIZE rows
const ROWS: u32 = BLOCKS * SIZE;
const KEYS: u32 = 2u * SIZE * PARTS;                             // A tile's: two matrices of scores for each subgroup
const THREADS: u32 = BLOCKS * PARTS * SUBGROUP;
const SHARES: u32 = THREADS / ROWS;                              // Threads that share out a row of scores
const FOURS: u32 = KEYS / 4u / SHARES;                           // of each
const FETCHED: u32 = (KEYS * PIECES + THREADS - 1u) / THREADS;   // Fours of a tile's keys, or values, that a thread brings

// Lengths of lines in fours, two more than they must be, so that eight of them, which a matrix is loaded from, lie in different banks.
const LINE: u32 = PIECES + 2u;
const SCORES: u32 = KEYS / 4u + 2u;
var<workgroup> asked: array<vec4<f16>, ROWS * LINE>;             // Queries
var<workgroup> kept: array<vec4<f16>, KEYS * LINE>;              // Keys, then values
var<workgroup> scores: array<vec4f, ROWS * SCORES>;              // and sums on their way: a corner for two matrices of a subgroup
var<workgroup> weights: array<vec4<f16>, ROWS * SCORES>;
var<workgroup> factors: array<f32, ROWS>;
var<workgroup> grown: array<u32, BLOCKS * PARTS>;

// Weights are so many times as large in f16: a row's are 2^15 at the most, and those for which f16 has no normal number are less
// than 2^-25 of the one that the maximum was taken from.
const LIFT: f32 = 2048.0;
const SLACK: f32 = 2.7725887;                                    // ln 16

const K: u32 = 0u;
const V: u32 = 1u;

// What a thread brings of the keys or values from a line on.
fn fetch(number: u32, head: Head, line0: u32, thread: u32) -> array<vec4<f16>, FETCHED> {
    var fetched: array<vec4<f16>, FETCHED>;
    for (var i = 0u; i < FETCHED; i++) {
        let e = thread + THREADS * i;
        let at = place(head, line0 + e / PIECES, e % PIECES);
        if number == K {
            fetched[i] = vec4<f16>(k[at]);
        } else {
            fetched[i] = vec4<f16>(v[at]);
        }
    }
    return fetched;
}

fn stage(fetched: array<vec4<f16>, FETCHED>, thread: u32) {
    var pieces = fetched;
    for (var i = 0u; i < FETCHED; i++) {
        let e = thread + THREADS * i;
        if e < KEYS * PIECES {
            kept[e / PIECES * LINE + e % PIECES] = pieces[i];
        }
    }
}

// Each row of the two matrices in a subgroup's corner times its factor.
fn rescale(corner: u32, first: u32, lane: u32) {
    workgroupBarrier();
    for (var e = lane; e < SIZE * SIZE / 2u; e += SUBGROUP) {
        let row = e / (SIZE / 2u);
        scores[corner + row * SCORES + e % (SIZE / 2u)] *= factors[first + row];
    }
    workgroupBarrier();
}

// Puts the two matrices in a subgroup's corner where they belong, in a head's rows from row0 on; `piece` is their first.
fn put(head: Head, row0: u32, piece0: u32, end: u32, corner: u32, lane: u32) {
    for (var e = lane; e < SIZE * SIZE / 2u; e += SUBGROUP) {
        let row = e / (SIZE / 2u);
        let piece = e % (SIZE / 2u);
        if row0 + row < params.length && piece0 + piece < end {
            o[place(head, row0 + row, piece0 + piece)] = Stored(scores[corner + row * SCORES + piece]);
        }
    }
    workgroupBarrier();
}

fn keys(line: u32, width: u32) -> Right {
    return coopLoad<Right>(&kept[line * LINE + width / 4u], LINE);
}

fn values(line: u32, width: u32) -> Right {
    return coopLoadT<Right>(&kept[line * LINE + width / 4u], LINE);
}

fn sums(corner: u32, matrix: u32) -> Sum {
    return coopLoadT<Sum>(&scores[corner + matrix * SIZE / 4u], SCORES);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let head = group.y;
    let batch = group.z;
    // The rows that see most come first, so that the last workgroups are short.
    let row0 = (groups.x - 1u - group.x) * ROWS;
    let queries = head_of(batch, params.length, params.heads, head);
    let cached = head_of(batch, params.past + params.length, params.kv_heads, head / (params.heads / params.kv_heads));
    let thread = subgroup * SUBGROUP + lane;                     // Those of a row of scores are of one subgroup.
    let block = subgroup / PARTS * SIZE;                         // First of the subgroup's rows
    let part = subgroup % PARTS;
    let corner = block * SCORES + part * SIZE / 2u;
    let row = thread / SHARES;                                   // The thread's own, of scores
    let share = thread % SHARES;
    let own = params.past + row0 + row;
    for (var e = thread; e < ROWS * PIECES; e += THREADS) {
        asked[e / PIECES * LINE + e % PIECES] = vec4<f16>(q[place(queries, row0 + e / PIECES, e % PIECES)]);
    }
    var greatest = -1e30;
    var sum = 0.0;                                               // this thread's part
    var o0 = Sum();
    var o1 = Sum();
    var o2 = Sum();
    var o3 = Sum();
    var o4 = Sum();
    var o5 = Sum();
    var o6 = Sum();
    var o7 = Sum();
    let end = params.past + min(row0 + ROWS, params.length);
    let start = first_seen(params.past + row0) / KEYS * KEYS;
    var next = fetch(K, cached, start, thread);
    for (var first = start; first < end; first += KEYS) {
        workgroupBarrier();
        stage(next, thread);
        next = fetch(V, cached, first, thread);
        workgroupBarrier();
        var s0 = Sum();
        var s1 = Sum();
        for (var i = 0u; i < HEAD; i += SIZE) {
            let a = coopLoadT<Left>(&asked[block * LINE + i / 4u], LINE);
            s0 = coopMultiplyAdd(a, keys(2u * part * SIZE, i), s0);
            s1 = coopMultiplyAdd(a, keys((2u * part + 1u) * SIZE, i), s1);
        }
        coopStoreT(s0, &scores[corner], SCORES);
        coopStoreT(s1, &scores[corner + SIZE / 4u], SCORES);
        workgroupBarrier();
        stage(next, thread);
        next = fetch(K, cached, first + KEYS, thread);
        var fours: array<vec4f, FOURS>;
        var highest = greatest;
        for (var i = 0u; i < FOURS; i++) {
            let at = share + SHARES * i;
            let seen = sees(vec4u(own), first + 4u * at + vec4u(0u, 1u, 2u, 3u));
            fours[i] = select(vec4f(-1e30), bent(scores[row * SCORES + at]), seen);
            highest = max(highest, max(max(fours[i].x, fours[i].y), max(fours[i].z, fours[i].w)));
        }
        for (var other = 1u; other < SHARES; other *= 2u) {
            highest = max(highest, subgroupShuffleXor(highest, other));
        }
        let grows = highest > greatest + SLACK;
        let some = subgroupAny(grows && greatest > -1e30);
        if lane == 0u {
            grown[subgroup] = u32(some);
        }
        let shrink = select(1.0, exp(greatest - highest), grows);
        if share == 0u {
            factors[row] = shrink;
        }
        greatest = select(greatest, highest, grows);
        sum *= shrink;
        for (var i = 0u; i < FOURS; i++) {
            // A tile of which the row sees nothing leaves the maximum where it began.
            let p = select(exp(fours[i] - greatest), vec4f(), fours[i] <= vec4f(-1e30));
            weights[row * SCORES + share + SHARES * i] = vec4<f16>(LIFT * p);
            sum += p.x + p.y + p.z + p.w;
        }
        var subgroups = workgroupUniformLoad(&grown);
        var any = 0u;
        for (var i = 0u; i < BLOCKS * PARTS; i++) {
            any |= subgroups[i];
        }
        if any != 0u {
            coopStoreT(o0, &scores[corner], SCORES);
            coopStoreT(o1, &scores[corner + SIZE / 4u], SCORES);
            rescale(corner, block, lane);
            o0 = sums(corner, 0u);
            o1 = sums(corner, 1u);
            if WIDTH > 2u * SIZE {
                workgroupBarrier();
                coopStoreT(o2, &scores[corner], SCORES);
                coopStoreT(o3, &scores[corner + SIZE / 4u], SCORES);
                rescale(corner, block, lane);
                o2 = sums(corner, 0u);
                o3 = sums(corner, 1u);
            }
            if WIDTH > 4u * SIZE {
                workgroupBarrier();
                coopStoreT(o4, &scores[corner], SCORES);
                coopStoreT(o5, &scores[corner + SIZE / 4u], SCORES);
                rescale(corner, block, lane);
                o4 = sums(corner, 0u);
                o5 = sums(corner, 1u);
            }
            if WIDTH > 6u * SIZE {
                workgroupBarrier();
                coopStoreT(o6, &scores[corner], SCORES);
                coopStoreT(o7, &scores[corner + SIZE / 4u], SCORES);
                rescale(corner, block, lane);
                o6 = sums(corner, 0u);
                o7 = sums(corner, 1u);
            }
        }
        for (var i = 0u; i < KEYS; i += SIZE) {
            let p = coopLoadT<Left>(&weights[block * SCORES + i / 4u], SCORES);
            let x = part * WIDTH;
            o0 = coopMultiplyAdd(p, values(i, x), o0);
            if WIDTH > SIZE {
                o1 = coopMultiplyAdd(p, values(i, x + SIZE), o1);
            }
            if WIDTH > 2u * SIZE {
                o2 = coopMultiplyAdd(p, values(i, x + 2u * SIZE), o2);
            }
            if WIDTH > 3u * SIZE {
                o3 = coopMultiplyAdd(p, values(i, x + 3u * SIZE), o3);
            }
            if WIDTH > 4u * SIZE {
                o4 = coopMultiplyAdd(p, values(i, x + 4u * SIZE), o4);
            }
            if WIDTH > 5u * SIZE {
                o5 = coopMultiplyAdd(p, values(i, x + 5u * SIZE), o5);
            }
            if WIDTH > 6u * SIZE {
                o6 = coopMultiplyAdd(p, values(i, x + 6u * SIZE), o6);
            }
            if WIDTH > 7u * SIZE {
                o7 = coopMultiplyAdd(p, values(i, x + 7u * SIZE), o7);
            }
        }
    }
    for (var other = 1u; other < SHARES; other *= 2u) {
        sum += subgroupShuffleXor(sum, other);
    }
    workgroupBarrier();
    if share == 0u {
        factors[row] = 1.0 / (LIFT * sum);
        if row0 + row < params.length {
            lse[(batch * params.length + row0 + row) * params.heads + head] = greatest + log(sum);
        }
    }
    let piece = part * WIDTH / 4u;
    let last = piece + WIDTH / 4u;
    coopStoreT(o0, &scores[corner], SCORES);
    coopStoreT(o1, &scores[corner + SIZE / 4u], SCORES);
    rescale(corner, block, lane);
    put(queries, row0 + block, piece, last, corner, lane);
    if WIDTH > 2u * SIZE {
        coopStoreT(o2, &scores[corner], SCORES);
        coopStoreT(o3, &scores[corner + SIZE / 4u], SCORES);
        rescale(corner, block, lane);
        put(queries, row0 + block, piece + SIZE / 2u, last, corner, lane);
    }
    if WIDTH > 4u * SIZE {
        coopStoreT(o4, &scores[corner], SCORES);
        coopStoreT(o5, &scores[corner + SIZE / 4u], SCORES);
        rescale(corner, block, lane);
        put(queries, row0 + block, piece + SIZE, last, corner, lane);
    }
    if WIDTH > 6u * SIZE {
        coopStoreT(o6, &scores[corner], SCORES);
        coopStoreT(o7, &scores[corner + SIZE / 4u], SCORES);
        rescale(corner, block, lane);
        put(queries, row0 + block, piece + 3u * SIZE / 2u, last, corner, lane);
    }
}
