// A row of logits, `params.vocabulary` of them from element `start` on, among the threads of a workgroup: thread `lane` has elements
// lane, lane + LANES, .. of it. Every logit is read and written by that one thread alone, the target's too.

const LANES: u32 = 256;
var<workgroup> best: array<f32, LANES>;
var<workgroup> place: array<u32, LANES>;
var<workgroup> total: array<f32, LANES>;

// Bends the row by the cap, in its place. best[0] becomes its greatest logit, place[0] where that is, and total[0] the sum of
// exponentials less the greatest.
fn reduce_row(start: u32, lane: u32) {
    // The first of equal logits wins, as in the other bodies: lanes keep the lowest index.
    var greatest = -3.4e38;
    var index = 0xffffffffu;
    for (var i = lane; i < params.vocabulary; i += LANES) {
        var z = logits[start + i];
        if params.cap > 0.0 {
            z = params.cap * tanh(clamp(z / params.cap, -15.0, 15.0));   // Some drivers overflow further out.
            logits[start + i] = z;
        }
        if index == 0xffffffffu || z > greatest {
            greatest = z;
            index = i;
        }
    }
    best[lane] = greatest;
    place[lane] = index;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            let other = lane + half;
            if best[other] > best[lane] || (best[other] == best[lane] && place[other] < place[lane]) {
                best[lane] = best[other];
                place[lane] = place[other];
            }
        }
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = lane; i < params.vocabulary; i += LANES) {
        sum += exp(logits[start + i] - best[0]);
    }
    total[lane] = sum;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            total[lane] += total[lane + half];
        }
    }
    workgroupBarrier();
}

// The slope of the cap where it gave `bent`.
fn slope(bent: f32) -> f32 {
    if params.cap > 0.0 {
        return 1.0 - (bent / params.cap) * (bent / params.cap);
    }
    return 1.0;
}
