// A token's row of `width` elements among the threads of a workgroup, as the gate merge and its backward pass hold it: thread `lane`
// has pieces lane, lane + LANES, .. of it.

alias Piece = vec4f;                                                 // what is read and written at once: vec4f, or f32
const PIECE: u32 = 4u;                                               // elements of it
const WIDTH: u32 = 512u;
const LANES: u32 = 32u;                                              // threads
const PIECES: u32 = WIDTH / PIECE;
const PER: u32 = (PIECES + LANES - 1u) / LANES;                      // pieces a thread
var<workgroup> lanes: array<vec4f, LANES>;
var<workgroup> eighths: array<vec4f, LANES / 8u>;

fn total(piece: Piece) -> f32 {
    // An f32 becomes a vec4f of four times itself.
    return dot(vec4f(piece), vec4f(f32(PIECE) / 4.0));
}

// The sum of `each` over the workgroup, four sums at once, in two rounds. Nobody writes before the next barrier what somebody may
// still read, for the rounds have an array each.
fn sum_over_lanes(each: vec4f, lane: u32) -> vec4f {
    lanes[lane] = each;
    workgroupBarrier();
    if lane < LANES / 8u {
        var sum = lanes[lane];
        for (var i = 1u; i < 8u; i++) {
            sum += lanes[lane + i * (LANES / 8u)];
        }
        eighths[lane] = sum;
    }
    workgroupBarrier();
    var sum = eighths[0];
    for (var i = 1u; i < LANES / 8u; i++) {
        sum += eighths[i];
    }
    return sum;
}
