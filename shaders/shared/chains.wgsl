// y = the value after params.steps steps of v <- alpha v + beta from v = x, element by element: arithmetic that waits for no memory.
// A thread holds eight elements in registers, chains that do not wait for each other. A shader says what they are: alias Real = ..;

struct Params { count: u32, steps: u32, alpha: f32, beta: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [count]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [count]

const LANES: u32 = 256;
// Steps in a row, so that the loop's own counting does not count.
const UNROLLED: u32 = 16;

alias Four = vec4<Real>;

struct Chains { a: Four, b: Four }

fn step(v: Chains) -> Chains {
    let alpha = Four(Real(params.alpha));
    let beta = Four(Real(params.beta));
    return Chains(fma(v.a, alpha, beta), fma(v.b, alpha, beta));
}

fn four(v: Chains) -> Chains {
    return step(step(step(step(v))));
}

fn load(first: u32) -> Four {
    return Four(element(first), element(first + LANES), element(first + 2u * LANES), element(first + 3u * LANES));
}

fn element(i: u32) -> Real {
    if i < params.count {
        return Real(x[i]);
    }
    return Real();
}

fn store(first: u32, v: Four) {
    for (var j = 0u; j < 4u; j++) {
        let i = first + j * LANES;
        if i < params.count {
            y[i] = f32(v[j]);
        }
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let first = (group.y * groups.x + group.x) * 8u * LANES + lane;
    var v = Chains(load(first), load(first + 4u * LANES));
    for (var i = 0u; i < params.steps / UNROLLED; i++) {
        v = four(four(four(four(v))));
    }
    for (var i = 0u; i < params.steps % UNROLLED; i++) {
        v = step(v);
    }
    store(first, v.a);
    store(first + 4u * LANES, v.b);
}
