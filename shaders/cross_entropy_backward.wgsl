// dlogits = (softmax(logits) - onehot(target)) * dloss / rows, dloss the gradient of the mean.

struct Params { rows: u32, vocabulary: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;         // [rows, vocabulary]
@group(0) @binding(2) var<storage, read> targets: array<u32>;        // [rows]
@group(0) @binding(3) var<storage, read> lse: array<f32>;            // [rows]
@group(0) @binding(4) var<storage, read> dmean: array<f32>;          // [2], of which the first is dloss
@group(0) @binding(5) var<storage, read_write> dlogits: array<f32>;  // [rows, vocabulary]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    if i < params.rows * params.vocabulary {
        let row = i / params.vocabulary;
        var p = exp(logits[i] - lse[row]);
        if i % params.vocabulary == targets[row] {
            p -= 1.0;
        }
        dlogits[i] = p * dmean[0] / f32(params.rows);
    }
}
