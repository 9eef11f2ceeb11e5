"""What the peers in Python share: inputs from integers, the sizes of the small model, timing, and the line of JSON.

A peer hands `main` a dictionary from workload to a function that prepares it and returns `(run, check)`: `run()` does the work
once and waits for it; `check` makes the check value of what `run()` returned.
"""
import json, sys, time

import numpy as np

B, T = 4, 256
HEADS, WIDTH, HIDDEN, LAYERS, VOCABULARY = 4, 256, 1024, 4, 512
PROMPT, NEW = 16, 64


def hashed(seed, n):
    u = np.uint32
    x = np.arange(n, dtype=u) * u(2654435761) + u((seed * 40503 + 12345) % 2**32)
    x = (x ^ x >> u(16)) * u(0x045D9F3B)
    x = (x ^ x >> u(16)) * u(0x045D9F3B)
    return x ^ x >> u(16)


def fill(seed, shape, scale=1.0):
    """Values in [-scale, scale), the same in every engine."""
    values = (hashed(seed, int(np.prod(shape))) >> np.uint32(8)).astype(np.float32) / np.float32(2**23) - np.float32(1)
    return (values * np.float32(scale)).reshape(shape)


def matrix(seed, out, into):
    return fill(seed, (out, into), (3 / into) ** 0.5)


def weights():
    """The model's matrices by name, [out, in]; norms start at 1. No biases, which only makes it faster."""
    made = {"tokens": fill(1, (VOCABULARY, WIDTH), 0.1), "positions": fill(2, (T, WIDTH), 0.1), "head": matrix(3, VOCABULARY, WIDTH)}
    for layer in range(LAYERS):
        s = 10 + 10 * layer
        made[f"qkv{layer}"] = np.concatenate([matrix(s + i, WIDTH, WIDTH) for i in range(3)])
        made[f"out{layer}"] = matrix(s + 3, WIDTH, WIDTH)
        made[f"up{layer}"] = matrix(s + 4, HIDDEN, WIDTH)
        made[f"down{layer}"] = matrix(s + 5, WIDTH, HIDDEN)
    return made


def windows():
    """[B, T + 1] ids: inputs, and one further on their targets."""
    return (hashed(99, B * (T + 1)) % VOCABULARY).astype(np.int64).reshape(B, T + 1)


def ids(count):
    return (hashed(99, count) % VOCABULARY).astype(np.int64)


def nominal_flop(workload):
    """Nominal FLOP of a run."""
    attention = 4 * B * HEADS * T * T * 64
    layer = 2 * (4 * WIDTH * WIDTH + 2 * WIDTH * HIDDEN)
    head = 2 * WIDTH * VOCABULARY
    forward = LAYERS * (layer + 4 * T * WIDTH) + head
    decode = sum(LAYERS * (layer + 4 * (past + 1) * WIDTH) for past in range(PROMPT + NEW - 1)) + NEW * head
    return {
        "W1": 2 * 1024**3, "W1b": 2 * 512 * 2048 * 512, "W2": attention, "W2b": 3 * attention, "W3": 11 * 4096 * 512,
        "W3b": 32 * 4096 * 512, "W4": 3 * forward * B * T, "W5": decode, "W5f": forward * T,
    }[workload]


TOKENS = {"W4": B * T, "W5": NEW, "W5f": T}


def mean_abs(results):
    """The sum of the results' mean absolute values."""
    return float(sum(np.abs(np.asarray(x, dtype=np.float64)).mean() for x in results))


def main(engine, device, workloads, flop=None, tokens=None):
    """Times the workload that the first argument names; `flop` and `tokens` of a run, if it is none of those above."""
    name = sys.argv[1]
    run, check = workloads[name]()
    for _ in range(3):
        result = run()
    check = float(check(result))
    del result
    times, cpu, started = [], time.process_time(), time.perf_counter()
    while len(times) < 5 or time.perf_counter() - started < 4:
        before = time.perf_counter()
        result = run()
        times.append(1e3 * (time.perf_counter() - before))
        del result
    cpu = 1e3 * (time.process_time() - cpu) / len(times)
    times.sort()
    median = times[len(times) // 2]
    line = {"engine": engine, "device": device, "workload": name, "median_ms": median, "min_ms": times[0], "cpu_ms": cpu,
            "gflops": (flop or nominal_flop(name)) / median / 1e6, "peak_rss_mb": peak_rss()}
    if tokens := tokens or TOKENS.get(name):
        line["tokens_per_s"] = 1e3 * tokens / median
    print(json.dumps(line | {"check": check}))


def peak_rss():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        return None
