// c = f(alpha a b + bias + residual (+ c)), batched, by cooperative matrices: operands are rounded to f16, sums are f32.
// A workgroup of eight subgroups makes a tile of 8 x 8 matrices, each subgroup 2 x 4 of them. A slice of 32 terms is staged in
// workgroup memory as it lies in memory, [lines, terms] or [terms, lines], which matrices are loaded from either way; while one
// slice is multiplied the next is read, into the other half. Results go out through workgroup memory, for any m and n.

enable f16;
enable wgpu_cooperative_matrix;

struct Params {
    batch: u32, m: u32, n: u32, k: u32, k_last: u32,
    a_batch: u32, a_row: u32, a_column: u32,
    b_batch: u32, b_row: u32, b_column: u32,
    alpha: f32, accumulate: u32,
}

alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
alias Stored = vec4f;                                            // as the buffer has four of b: vec4f or vec4<f16>
alias StoredC = f32;                                             // how c and the residual are: f32 or f16

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<StoredA>;      // [batch, m, k] by strides
@group(0) @binding(2) var<storage, read> b: array<Stored>;       // [batch, k, n] by strides
@group(0) @binding(3) var<storage, read> bias: array<f32>;       // [n], by shared/epilogue.wgsl
@group(0) @binding(4) var<storage, read> residual: array<StoredC>; // [batch, m, n]
@group(0) @binding(5) var<storage, read_write> c: array<StoredC>; // [batch, m, n], row-major

const SIZE: u32 = 16u;                                           // Of a matrix
const SUBGROUP: u32 = 32u;                                       // Threads; the device's own
const SIDE: u32 = 8u * SIZE;
const DEPTH: u32 = 32u;
const FOURS: u32 = SIZE * 8u / SUBGROUP;                         // Of an operand's slice, SIDE x DEPTH, for each thread
const B_ALONG_K: u32 = 0u;                                       // As A_ALONG_K and A_FOURS in shared/operand_a.wgsl
const B_FOURS: u32 = 0u;

// Lengths and sizes of what is staged, in fours. Lines are two longer than they must be, so that eight of them, which
// a matrix is loaded from, lie in different banks.
const A_LINE: u32 = (A_ALONG_K * DEPTH + (1u - A_ALONG_K) * SIDE) / 4u + 2u;
const B_LINE: u32 = (B_ALONG_K * DEPTH + (1u - B_ALONG_K) * SIDE) / 4u + 2u;
const SLICE: u32 = SIDE * (DEPTH / 4u + 2u);
var<workgroup> a_tile: array<vec4<f16>, 2u * SLICE>;
var<workgroup> b_tile: array<vec4<f16>, 2u * SLICE>;
var<workgroup> results: array<f32, 8u * SIZE * SIZE>;            // A matrix of each subgroup

fn half_four_of_b(base: u32, line: u32, k: u32, end: u32) -> vec4<f16> {
    var four = vec4<f16>();
    if B_FOURS == 1u {
        if line < params.n && k < end {
            four = vec4<f16>(b[(base + k * params.b_row + line * params.b_column) / 4u]);
        }
        return four;
    }
    for (var j = 0u; j < 4u; j++) {
        let column = line + j * (1u - B_ALONG_K);
        let row = k + j * B_ALONG_K;
        if column < params.n && row < end {
            let i = base + row * params.b_row + column * params.b_column;
            four[j] = f16(b[i / 4u][i % 4u]);
        }
    }
    return four;
}

// The first line and term of four number `e` of a slice, and where it is staged.
fn place(e: u32, along_k: u32) -> vec3u {
    if along_k == 1u {
        let at = vec2u(e / (DEPTH / 4u), e % (DEPTH / 4u));
        return vec3u(at.x, 4u * at.y, at.x * (DEPTH / 4u + 2u) + at.y);
    }
    let at = vec2u(e % (SIDE / 4u), e / (SIDE / 4u));
    return vec3u(4u * at.x, at.y, at.y * (SIDE / 4u + 2u) + at.x);
}

fn left(slice: u32, line: u32, k: u32) -> Left {
    if A_ALONG_K == 1u {
        return coopLoadT<Left>(&a_tile[slice + line * A_LINE + k / 4u], A_LINE);
    }
    return coopLoad<Left>(&a_tile[slice + k * A_LINE + line / 4u], A_LINE);
}

fn right(slice: u32, line: u32, k: u32) -> Right {
    if B_ALONG_K == 1u {
        return coopLoad<Right>(&b_tile[slice + line * B_LINE + k / 4u], B_LINE);
    }
    return coopLoadT<Right>(&b_tile[slice + k * B_LINE + line / 4u], B_LINE);
}

// Puts what the subgroup's thread number `lane` has of a result that begins at a row and a column of c.
fn put_matrix(product: u32, row0: u32, column0: u32, subgroup: u32, lane: u32) {
    workgroupBarrier();
    for (var e = lane; e < SIZE * SIZE; e += SUBGROUP) {
        put(product, row0 + e / SIZE, column0 + e % SIZE, results[subgroup * SIZE * SIZE + e]);
    }
    workgroupBarrier();
}

@compute @workgroup_size(8u * SUBGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32,
        @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let row0 = group.y * SIDE;
    let column0 = group.x * SIDE;
    let a0 = group.z * params.a_batch;
    let b0 = group.z * params.b_batch;
    let end = select(params.k, params.k_last, group.z == params.batch - 1u);
    let row = subgroup / 2u * 2u * SIZE;
    let column = subgroup % 2u * 4u * SIZE;
    var s00 = Sum();
    var s01 = Sum();
    var s02 = Sum();
    var s03 = Sum();
    var s10 = Sum();
    var s11 = Sum();
    var s12 = Sum();
    var s13 = Sum();
    for (var i = 0u; i < FOURS; i++) {
        let from_a = place(thread + 8u * SUBGROUP * i, A_ALONG_K);
        a_tile[from_a.z] = vec4<f16>(four_of_a(a0, row0 + from_a.x, from_a.y, end));
        let from_b = place(thread + 8u * SUBGROUP * i, B_ALONG_K);
        b_tile[from_b.z] = half_four_of_b(b0, column0 + from_b.x, from_b.y, end);
    }
    workgroupBarrier();
    var next_a: array<vec4f, FOURS>;
    var next_b: array<vec4<f16>, FOURS>;
    var slice = 0u;
    for (var k0 = 0u; k0 < end; k0 += DEPTH) {
        for (var i = 0u; i < FOURS; i++) {
            let from_a = place(thread + 8u * SUBGROUP * i, A_ALONG_K);
            next_a[i] = four_of_a(a0, row0 + from_a.x, k0 + DEPTH + from_a.y, end);
            let from_b = place(thread + 8u * SUBGROUP * i, B_ALONG_K);
            next_b[i] = half_four_of_b(b0, column0 + from_b.x, k0 + DEPTH + from_b.y, end);
        }
        for (var k = 0u; k < DEPTH; k += SIZE) {
            let a_0 = left(slice, row, k);
            let a_1 = left(slice, row + SIZE, k);
            let b_0 = right(slice, column, k);
            s00 = coopMultiplyAdd(a_0, b_0, s00);
            s10 = coopMultiplyAdd(a_1, b_0, s10);
            let b_1 = right(slice, column + SIZE, k);
            s01 = coopMultiplyAdd(a_0, b_1, s01);
            s11 = coopMultiplyAdd(a_1, b_1, s11);
            let b_2 = right(slice, column + 2u * SIZE, k);
            s02 = coopMultiplyAdd(a_0, b_2, s02);
            s12 = coopMultiplyAdd(a_1, b_2, s12);
            let b_3 = right(slice, column + 3u * SIZE, k);
            s03 = coopMultiplyAdd(a_0, b_3, s03);
            s13 = coopMultiplyAdd(a_1, b_3, s13);
        }
        slice = SLICE - slice;
        for (var i = 0u; i < FOURS; i++) {
            a_tile[slice + place(thread + 8u * SUBGROUP * i, A_ALONG_K).z] = vec4<f16>(next_a[i]);
            b_tile[slice + place(thread + 8u * SUBGROUP * i, B_ALONG_K).z] = next_b[i];
        }
        workgroupBarrier();
    }
    let top = row0 + row;
    let start = column0 + column;
    let at = subgroup * SIZE * SIZE;
    coopStoreT(s00, &results[at], SIZE);
    put_matrix(group.z, top, start, subgroup, lane);
    coopStoreT(s01, &results[at], SIZE);
    put_matrix(group.z, top, start + SIZE, subgroup, lane);
    coopStoreT(s02, &results[at], SIZE);
    put_matrix(group.z, top, start + 2u * SIZE, subgroup, lane);
    coopStoreT(s03, &results[at], SIZE);
    put_matrix(group.z, top, start + 3u * SIZE, subgroup, lane);
    coopStoreT(s10, &results[at], SIZE);
    put_matrix(group.z, top + SIZE, start, subgroup, lane);
    coopStoreT(s11, &results[at], SIZE);
    put_matrix(group.z, top + SIZE, start + SIZE, subgroup, lane);
    coopStoreT(s12, &results[at], SIZE);
    put_matrix(group.z, top + SIZE, start + 2u * SIZE, subgroup, lane);
    coopStoreT(s13, &results[at], SIZE);
    put_matrix(group.z, top + SIZE, start + 3u * SIZE, subgroup, lane);
}
