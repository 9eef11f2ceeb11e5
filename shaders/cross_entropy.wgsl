// Cross-entropy of the target token and whether it is the likeliest one, a row of logits at a time; where it is wanted the
// logits' gradient in their place; after the last rows the means over all. One workgroup a row.

struct Params { rows: u32, vocabulary: u32, first: u32, tokens: u32, cap: f32, gradient: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> targets: array<u32>;        // [tokens], of which rows from first on are these
@group(0) @binding(2) var<storage, read> dloss: array<f32>;          // [1], the gradient of the mean
@group(0) @binding(3) var<storage, read_write> logits: array<f32>;   // [rows, vocabulary]
@group(0) @binding(4) var<storage, read_write> nll: array<f32>;      // [tokens]
@group(0) @binding(5) var<storage, read_write> hit: array<f32>;      // [tokens], 1 where the greatest logit is the target's
@group(0) @binding(6) var<storage, read_write> mean: array<f32>;     // [2], of nll and of hit

@compute @workgroup_size(LANES)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    let start = row * params.vocabulary;
    let wanted = targets[params.first + row];
    reduce_row(start, lane);
    if lane == wanted % LANES {
        nll[params.first + row] = best[0] + log(total[0]) - logits[start + wanted];
        hit[params.first + row] = select(0.0, 1.0, place[0] == wanted);
    }
    if params.gradient == 0u {
        return;
    }
    let scale = dloss[0] / f32(params.tokens);
    for (var i = lane; i < params.vocabulary; i += LANES) {
        let z = logits[start + i];
        var d = exp(z - best[0]) / total[0];
        if i == wanted {
            d -= 1.0;
        }
        logits[start + i] = d * slope(z) * scale;
    }
}

// One workgroup.
@compute @workgroup_size(LANES)
fn means(@builtin(local_invocation_index) lane: u32) {
    var loss = 0.0;
    var hits = 0.0;
    for (var row = lane; row < params.tokens; row += LANES) {
        loss += nll[row];
        hits += hit[row];
    }
    best[lane] = loss;
    total[lane] = hits;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            best[lane] += best[lane + half];
            total[lane] += total[lane + half];
        }
    }
    if lane == 0u {
        mean[0] = best[0] / f32(params.tokens);
        mean[1] = total[0] / f32(params.tokens);
    }
}
