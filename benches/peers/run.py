"""Engines side by side on one machine: what each needs for the workloads of `mode bench`, and how that compares to ours.

    python3 benches/peers/run.py [WORKLOAD..] [--engines NAME..] [--venv DIR] [--mode target/release/mode] [--rounds 2]
                                 [--threads 2] [--json FILE]

WORKLOADs are W1 W1b W2 W2b W3 W3b W4 W5 W5f, by default all. Engines are

    mode              `mode bench --device cpu` (build it first: cargo build --release)
    mode-gpu          `mode bench --device gpu`, to be compared with burn-vulkan
    pytorch           eager, with the fused operations it has
    pytorch-kept      the same, with glibc told to keep freed memory: page faults dominate large results otherwise
    pytorch-compile   the same as pytorch through torch.compile, where that changes something; needs a C++ compiler
    jax               under jit, generation as one program
    candle            its own CPU backend
    burn-flex         burn's CPU backend
    burn-cpu          burn's kernels compiled for the CPU by LLVM
    burn-vulkan       burn's kernels on Vulkan; needs a driver

By default those of them run that need no GPU, but for burn-cpu. The first named is what the others are compared with. Rust peers
are built here, with features for the engines asked for; they are a workspace of their own, with a target folder of its own. Python
peers run in the venv DIR, which is made from requirements.txt if it is not there, or without --venv in the Python that runs this.
(On Linux the index that pip asks by default has PyTorch with CUDA, which is large; PIP_EXTRA_INDEX_URL may name PyTorch's own for CPUs.)

Every engine computes from the same inputs, with the same number of CPUs (its processes may not run on others), each workload in a
process of its own: three untimed runs, then about four seconds of timed ones, at least five. Engines take turns, round by round,
so that a machine that slows down slows all of them, and the best run of all rounds counts. A number under load means little,
and the more threads wait for one another the less it means: see the warning that is printed then.

W1 to W3b must give everybody's check value to 0.1 %. In W4, W5 and W5f peers run a model of the same size as ours, but GPT-style
(layer norm, learned positions, a GELU feed-forward of 1024, no biases): they must agree with one another instead. `llama.py` is
PyTorch on our own, on a GPU too.
"""
import argparse, json, os, pathlib, shutil, subprocess, sys, venv

HERE = pathlib.Path(__file__).resolve().parent
SINGLE = {"W1": 8.511861, "W1b": 12.013946, "W2": 0.056812, "W2b": 0.078779, "W3": 0.299871, "W3b": 149.8805}
OURS = SINGLE | {"W4": 4.21455, "W5": 20642, "W5f": 0.789136}
PEERS = SINGLE | {"W4": 5.646622, "W5": 13529, "W5f": 0.784760}
KEPT = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456"
DEFAULT = ["mode", "pytorch", "pytorch-kept", "pytorch-compile", "jax", "candle", "burn-flex"]
RUST = ["candle", "burn-flex", "burn-cpu", "burn-vulkan"]
PYTHON = {"pytorch": "torch", "pytorch-kept": "torch", "pytorch-compile": "torch", "jax": "jax"}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="one of " + " ".join(OURS))
parser.add_argument("--engines", nargs="+", default=DEFAULT, choices=["mode", "mode-gpu", *PYTHON, *RUST], metavar="NAME")
parser.add_argument("--venv", type=pathlib.Path)
parser.add_argument("--mode", type=pathlib.Path, default=HERE.parent.parent / "target/release/mode")
parser.add_argument("--rounds", type=int, default=2)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--timeout", type=float, default=600, help="seconds a process may take")
parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every line that was measured")
args = parser.parse_args()
if unknown := set(args.workloads) - set(OURS):
    parser.error(f"no workload {' '.join(sorted(unknown))}; there are {' '.join(OURS)}")
workloads = args.workloads or list(OURS)
left_out = {}


def python():
    if not args.venv:
        return sys.executable
    program = args.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not program.exists():
        print(f"making {args.venv} of {HERE / 'requirements.txt'}", file=sys.stderr)
        venv.create(args.venv, with_pip=True)
        subprocess.run([program, "-m", "pip", "install", "--quiet", "-r", HERE / "requirements.txt"], check=True)
    return program


def leave_out(engines, why):
    left_out.update({engine: why for engine in args.engines if engine in engines})
    args.engines = [engine for engine in args.engines if engine not in engines]


def prepare():
    if not args.mode.exists():
        leave_out(["mode", "mode-gpu"], f"there is no {args.mode}: cargo build --release")
    if rust := [engine for engine in args.engines if engine in RUST]:
        features = ["--no-default-features", "--features", ",".join(rust)]
        if not shutil.which("cargo"):
            leave_out(rust, "there is no cargo")
        elif subprocess.run(["cargo", "build", "--release", "--locked", "--target-dir", "target", *features], cwd=HERE).returncode:
            leave_out(rust, "cargo could not build it")
    for engine, module in PYTHON.items():
        if engine in args.engines and subprocess.run([python(), "-c", f"import {module}"], capture_output=True).returncode:
            leave_out([engine], f"Python has no {module}: --venv DIR makes a venv that has")


def command(engine, workload):
    # What `ci/lavapipe --new` says programs run through, so that they find its Vulkan.
    runner = [os.environ["MODE_RUNNER"]] if "MODE_RUNNER" in os.environ else []
    if engine.startswith("mode"):
        device = "gpu" if engine == "mode-gpu" else "cpu"
        return [*runner, args.mode, "bench", workload, "--json", "--device", device, "--threads", str(args.threads)]
    if engine in RUST:
        return [*runner, HERE / "target/release/peers", engine, workload]
    if engine == "jax":
        return [python(), HERE / "jax_.py", workload]
    how = ["--compile"] if engine == "pytorch-compile" else []
    return [python(), HERE / "pytorch.py", workload, "--name", engine, "--threads", str(args.threads), *how]


def measure(engine, workload):
    """The line that `engine` printed, or why there is none."""
    if engine == "pytorch-compile" and workload in ("W1", "W1b", "W2", "W2b", "W5"):
        return "as pytorch"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "RAYON_NUM_THREADS": str(args.threads)}
    if engine == "pytorch-kept":
        environment["GLIBC_TUNABLES"] = KEPT
    try:
        done = subprocess.run(command(engine, workload), env=environment, capture_output=True, text=True, timeout=args.timeout)
    except subprocess.TimeoutExpired:
        return f"over {args.timeout:.0f} s"
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return f"failed ({done.returncode})"
    line = json.loads(done.stdout.splitlines()[-1]) | {"engine": engine}
    wanted = (OURS if engine.startswith("mode") else PEERS)[workload]
    return line | {"check_ok": abs(line["check"] - wanted) <= 1e-3 * wanted}


def cell(line, base):
    if isinstance(line, str):
        return line
    if not line["check_ok"]:
        return f"refused: check {line['check']:.6g}"
    text = f"{line['min_ms']:.3g}" if line["min_ms"] < 100 else f"{line['min_ms']:.0f}"
    if isinstance(base, dict) and base is not line and base["check_ok"]:
        text += f" ({line['min_ms'] / base['min_ms']:.2f})"
    return text


prepare()
if not args.engines:
    sys.exit("\n".join(f"{engine} left out: {why}" for engine, why in left_out.items()))
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
lines, best = [], {workload: {} for workload in workloads}
for workload in workloads:
    for round in range(args.rounds):
        if hasattr(os, "getloadavg") and round == 0 and (load := os.getloadavg()[0]) > args.threads + 1:
            print(f"the machine is busy (load {load:.1f}): don't trust what follows", file=sys.stderr)
        for engine in args.engines:
            known = best[workload].get(engine)
            if isinstance(known, str):
                continue
            line = measure(engine, workload)
            print(f"{workload} {engine}: {cell(line, None)}", file=sys.stderr)
            if isinstance(line, dict):
                lines.append(line)
            if known is None or isinstance(line, str) or (line["check_ok"], -line["min_ms"]) > (known["check_ok"], -known["min_ms"]):
                best[workload][engine] = line
if args.json:
    args.json.write_text("".join(json.dumps(line) + "\n" for line in lines))

base = args.engines[0]
print("| |", " | ".join(args.engines), "|")
print("|---" * (len(args.engines) + 1) + "|")
for workload, row in best.items():
    print(f"| {workload} |", " | ".join(cell(row[engine], row[base]) for engine in args.engines), "|")
print(f"\nms of the best run of {args.rounds} rounds, {args.threads} CPUs; in brackets over that of {base}: above 1, {base} is faster.")
if models := [workload for workload in workloads if workload not in SINGLE]:
    print(f"{', '.join(models)}: peers run a GPT-style model of the same size, so their checks agree with one another, not with ours.")
for engine, why in left_out.items():
    print(f"{engine} left out: {why}.")
