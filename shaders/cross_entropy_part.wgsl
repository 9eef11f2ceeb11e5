// Cross-entropy where the logits are those of a part of the vocabulary: statistics of a row of them, or, once the log sum exp over all
// parts is known, the logits' gradient in their place. One workgroup a row.

struct Params { rows: u32, vocabulary: u32, offset: u32, first: u32, tokens: u32, cap: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> targets: array<u32>;        // [tokens], of which rows from first on are these
@group(0) @binding(2) var<storage, read> dloss: array<f32>;          // [1], the gradient of the mean
@group(0) @binding(3) var<storage, read> lse: array<f32>;            // [tokens], over all parts
@group(0) @binding(4) var<storage, read_write> logits: array<f32>;   // [rows, vocabulary]
@group(0) @binding(5) var<storage, read_write> stats: array<vec4f>;  // [tokens], of the part: greatest, lse, the target's, code

@compute @workgroup_size(LANES)
fn statistics(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    let start = row * params.vocabulary;
    // Of an id before the part the difference wraps around, to where no column is.
    let wanted = targets[params.first + row] - params.offset;
    reduce_row(start, lane);
    if lane == wanted % LANES {
        var own = 0.0;
        var code = 0.0;
        if wanted < params.vocabulary {
            own = logits[start + wanted];
            code = select(1.0, 2.0, place[0] == wanted);
        }
        stats[params.first + row] = vec4f(best[0], best[0] + log(total[0]), own, code);
    }
}

@compute @workgroup_size(LANES)
fn gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    let start = row * params.vocabulary;
    let wanted = targets[params.first + row] - params.offset;
    let shift = lse[params.first + row];
    let scale = dloss[0] / f32(params.tokens);
    for (var i = lane; i < params.vocabulary; i += LANES) {
        let z = logits[start + i];
        var d = exp(z - shift);
        if i == wanted {
            d -= 1.0;
        }
        logits[start + i] = d * slope(z) * scale;
    }
}
