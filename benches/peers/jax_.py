"""JAX, everything under jit: `python jax_.py WORKLOAD`. Attention and the gate merge are written out, which XLA makes faster than
`jax.nn.dot_product_attention` and `einsum`; generation is one loop in one program."""
import jax
import jax.numpy as jnp
from jax import lax

import timing
from timing import B, HEADS, LAYERS, NEW, PROMPT, T, WIDTH, fill, mean_abs


def array(*fill_args):
    return jnp.asarray(fill(*fill_args))


def forward(function, *inputs):
    function = jax.jit(function)
    return lambda: [jax.block_until_ready(function(*inputs))], mean_abs


def with_backward(function, upstream, *inputs):
    gradients = jax.jit(lambda upstream, *inputs: jax.vjp(function, *inputs)[1](upstream))
    return lambda: jax.block_until_ready(gradients(upstream, *inputs)), mean_abs


def matmul(m, k, n):
    return forward(jnp.matmul, array(1, (m, k)), array(2, (k, n)))


def attend(q, k, v, past=0):
    """q: [B, H, T, Dh] at positions from `past` on; k, v: from 0 on."""
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) / 8
    seen = past + jnp.arange(q.shape[2])[:, None] >= jnp.arange(k.shape[2])
    return jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), -1) @ v


def attention(backward):
    q, k, v, g = (array(seed, (B, HEADS, T, 64)) for seed in range(1, 5))
    return with_backward(attend, g, q, k, v) if backward else forward(attend, q, k, v)


def merge(x, w, b, *branches):
    gate = jax.nn.softmax(x @ w + b, -1)
    return sum(gate[:, i : i + 1] * branch for i, branch in enumerate(branches))


def gate_merge(backward):
    x, w, b = array(1, (4096, 512)), array(2, (512, 3), (3 / 512) ** 0.5), array(3, (3,), 0.1)
    *branches, g = (array(seed, (4096, 512)) for seed in range(4, 8))
    return with_backward(merge, g, x, w, b, *branches) if backward else forward(merge, x, w, b, *branches)


def parameters():
    norms = [f"norm{i}" for i in range(2 * LAYERS + 1)]
    return {name: jnp.asarray(value) for name, value in timing.weights().items()} | {name: jnp.ones(WIDTH) for name in norms}


def norm(x, scale):
    return jax.nn.standardize(x, epsilon=1e-5) * scale


def model(p, ids, cache=None, past=0):
    """Logits of [rows, length] ids, and the cache [layers, 2, rows, heads, T, 64] with their keys and values."""
    rows, length = ids.shape
    x = p["tokens"][ids] + lax.dynamic_slice_in_dim(p["positions"], past, length)
    for i in range(LAYERS):
        qkv = norm(x, p[f"norm{2 * i}"]) @ p[f"qkv{i}"].T
        q, k, v = qkv.reshape(rows, length, 3, HEADS, 64).transpose(2, 0, 3, 1, 4)
        if cache is not None:
            cache = lax.dynamic_update_slice(cache, jnp.stack([k, v])[None], (i, 0, 0, 0, past, 0))
            k, v = cache[i]
        y = attend(q, k, v, past).transpose(0, 2, 1, 3).reshape(rows, length, WIDTH)
        x = x + y @ p[f"out{i}"].T
        x = x + jax.nn.gelu(norm(x, p[f"norm{2 * i + 1}"]) @ p[f"up{i}"].T) @ p[f"down{i}"].T
    return norm(x, p[f"norm{2 * LAYERS}"]) @ p["head"].T, cache


def train():
    windows = jnp.asarray(timing.windows())
    ids, targets = windows[:, :-1], windows[:, 1:]

    def loss_of(p):
        logits = model(p, ids)[0]
        picked = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
        return (jax.nn.logsumexp(logits, -1) - picked).mean()

    def adamw(p, m, v, g, count):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        step = m / (1 - 0.9**count) / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8)
        return p - 1e-3 * (step + 0.01 * p), m, v

    def step(state):
        p, m, v, count = state
        loss, g = jax.value_and_grad(loss_of)(p)
        made = {name: adamw(p[name], m[name], v[name], g[name], count) for name in p}
        p, m, v = ({name: value[i] for name, value in made.items()} for i in range(3))
        return (p, m, v, count + 1), loss

    step = jax.jit(step, donate_argnums=0)
    p = parameters()
    zeros = lambda: {name: jnp.zeros_like(value) for name, value in p.items()}
    state = p, zeros(), zeros(), jnp.float32(1)

    def run():
        nonlocal state
        state, loss = step(state)
        return jax.block_until_ready((state, loss))[1]

    return run, float


def decode():
    p, prompt = parameters(), jnp.asarray(timing.ids(PROMPT))[None]

    @jax.jit
    def generate(p, prompt):
        def step(i, state):
            cache, made = state
            logits, cache = model(p, lax.dynamic_slice(made, (0, i - 1), (1, 1)), cache, PROMPT + i - 1)
            return cache, lax.dynamic_update_slice(made, logits.argmax(-1), (0, i))

        logits, cache = model(p, prompt, jnp.zeros((LAYERS, 2, 1, HEADS, PROMPT + NEW, 64)))
        made = jnp.zeros((1, NEW), int).at[0, 0].set(logits[0, -1].argmax())
        return lax.fori_loop(1, NEW, step, (cache, made))[1].sum()

    return lambda: int(generate(p, prompt)), float


def logits():
    p, ids = parameters(), jnp.asarray(timing.ids(T))[None]
    return forward(lambda p: model(p, ids)[0], p)


timing.main("jax", "CPU", {
    "W1": lambda: matmul(1024, 1024, 1024),
    "W1b": lambda: matmul(512, 2048, 512),
    "W2": lambda: attention(False),
    "W2b": lambda: attention(True),
    "W3": lambda: gate_merge(False),
    "W3b": lambda: gate_merge(True),
    "W4": train,
    "W5": decode,
    "W5f": logits,
})
