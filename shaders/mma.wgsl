// y = steps (a0 + a1) (b0 + b1 + b2 + b3) by cooperative matrices of f16, summed in f32: arithmetic that waits for no memory.
// A subgroup holds two a and four b in registers, and their eight products' sums: chains of s <- s + a b that do not wait for each other.

enable f16;
enable wgpu_cooperative_matrix;

struct Params { steps: u32 }

alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;          // [2, SIZE, SIZE]
@group(0) @binding(2) var<storage, read> b: array<f32>;          // [4, SIZE, SIZE]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // [workgroups, SUBGROUPS, SIZE, SIZE]

const SIZE: u32 = 16u;
const SUBGROUP: u32 = 32u;                                       // Threads; the device's own
const SUBGROUPS: u32 = 8u;
const MATRIX: u32 = SIZE * SIZE;
var<workgroup> factors: array<f16, 6u * MATRIX>;

fn left(i: u32) -> Left {
    return coopLoadT<Left>(&factors[i * MATRIX], SIZE);
}

fn right(i: u32) -> Right {
    return coopLoadT<Right>(&factors[(2u + i) * MATRIX], SIZE);
}

@compute @workgroup_size(SUBGROUPS * SUBGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32,
        @builtin(subgroup_id) subgroup: u32) {
    for (var i = thread; i < 6u * MATRIX; i += SUBGROUPS * SUBGROUP) {
        if i < 2u * MATRIX {
            factors[i] = f16(a[i]);
        } else {
            factors[i] = f16(b[i - 2u * MATRIX]);
        }
    }
    workgroupBarrier();
    let a0 = left(0u);
    let a1 = left(1u);
    let b0 = right(0u);
    let b1 = right(1u);
    let b2 = right(2u);
    let b3 = right(3u);
    var s00 = Sum();
    var s01 = Sum();
    var s02 = Sum();
    var s03 = Sum();
    var s10 = Sum();
    var s11 = Sum();
    var s12 = Sum();
    var s13 = Sum();
    for (var i = 0u; i < params.steps; i++) {
        s00 = coopMultiplyAdd(a0, b0, s00);
        s01 = coopMultiplyAdd(a0, b1, s01);
        s02 = coopMultiplyAdd(a0, b2, s02);
        s03 = coopMultiplyAdd(a0, b3, s03);
        s10 = coopMultiplyAdd(a1, b0, s10);
        s11 = coopMultiplyAdd(a1, b1, s11);
        s12 = coopMultiplyAdd(a1, b2, s12);
        s13 = coopMultiplyAdd(a1, b3, s13);
    }
    let sum = s00 + s01 + s02 + s03 + (s10 + s11 + s12 + s13);
    coopStoreT(sum, &y[(group.x * SUBGROUPS + subgroup) * MATRIX], SIZE);
}
