// y_i = f(sum over rows of x_i + bias + residual (+ y_i)), y read as rows of `columns`. First each chunk of rows, then the chunks in
// order: deterministic.

alias StoredX = f32;                                             // how x is: f32 or f16
alias StoredY = f32;                                             // how y and the residual are

struct Params { rows: u32, width: u32, chunk: u32, accumulate: u32, columns: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<StoredX>;          // [rows, width]
@group(0) @binding(2) var<storage, read> bias: array<f32>;           // [columns], by shared/epilogue.wgsl
@group(0) @binding(3) var<storage, read> residual: array<StoredY>;   // [width]
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;  // [ceil(rows / chunk), width]
@group(0) @binding(5) var<storage, read_write> y: array<StoredY>;    // [width]

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
        sum += f32(x[row * params.width + column]);
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
        sum += f32(y[column]);
    }
    y[column] = StoredY(finished(sum, column, column % params.columns));
}
