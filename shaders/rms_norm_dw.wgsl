// dw_i (+)= sum over rows of dy_i (x_i - m) r, where m is 0, or, centered, mean(x). First each chunk of rows, then the chunks in
// order: deterministic.

alias StoredX = f32;                                                 // how x is: f32 or f16
alias StoredDy = f32;                                                // how dy is

struct Params { rows: u32, width: u32, chunk: u32, accumulate: u32, centered: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<StoredX>;          // [rows, width]
@group(0) @binding(2) var<storage, read> scales: array<f32>;         // [rows], r; centered [2, rows], r and m
@group(0) @binding(3) var<storage, read> dy: array<StoredDy>;        // [rows, width]
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;  // [ceil(rows / chunk), width]
@group(0) @binding(5) var<storage, read_write> dw: array<f32>;       // [width]

// One thread a column and chunk.
@compute @workgroup_size(64)
fn chunks(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let count = (params.rows + params.chunk - 1u) / params.chunk;
    if i >= count * params.width {
        return;
    }
    let first = i / params.width * params.chunk;
    let column = i % params.width;
    var sum = 0.0;
    for (var row = first; row < min(first + params.chunk, params.rows); row++) {
        let at = row * params.width + column;
        var value = f32(x[at]);
        if params.centered != 0u {
            value -= scales[params.rows + row];
        }
        sum += f32(dy[at]) * value * scales[row];
    }
    partial[i] = sum;
}

@compute @workgroup_size(64)
fn finish(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) lane: u32) {
    let column = (group.y * groups.x + group.x) * 64u + lane;
    if column >= params.width {
        return;
    }
    var sum = 0.0;
    for (var i = column; i < (params.rows + params.chunk - 1u) / params.chunk * params.width; i += params.width) {
        sum += partial[i];
    }
    if params.accumulate != 0u {
        sum += dw[column];
    }
    dw[column] = sum;
}
