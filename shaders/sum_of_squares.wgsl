// sum (+)= factor times the sum of x_i^2: first each chunk, then the chunks in order.

struct Params { count: u32, chunk: u32, accumulate: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // [count]
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;  // [ceil(count / chunk)]
@group(0) @binding(3) var<storage, read_write> sum: array<f32>;      // [1]

const LANES: u32 = 64;
var<workgroup> lanes: array<f32, LANES>;

// One workgroup a chunk.
@compute @workgroup_size(LANES)
fn chunks(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) lane: u32) {
    let chunk = group.y * groups.x + group.x;
    let first = chunk * params.chunk;
    if first >= params.count {
        return;
    }
    var total = 0.0;
    for (var i = first + lane; i < min(first + params.chunk, params.count); i += LANES) {
        total += x[i] * x[i];
    }
    lanes[lane] = total;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            lanes[lane] += lanes[lane + half];
        }
    }
    if lane == 0u {
        partial[chunk] = params.factor * lanes[0];
    }
}

@compute @workgroup_size(LANES)
fn finish(@builtin(local_invocation_index) lane: u32) {
    let count = (params.count + params.chunk - 1u) / params.chunk;
    var total = 0.0;
    for (var i = lane; i < count; i += LANES) {
        total += partial[i];
    }
    lanes[lane] = total;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            lanes[lane] += lanes[lane + half];
        }
    }
    if lane == 0u {
        if params.accumulate != 0u {
            lanes[0] += sum[0];
        }
        sum[0] = lanes[0];
    }
}
