"""Decoding, one sequence, against peers in one run: tokens a second after the first, and ratios.

    python3 benches/peers/decode.py MODEL [--gguf FILE] [--mode target/release/mode] [--threads 2] [--new 64] [--rounds 3]

MODEL is a Hugging Face folder. transformers (with torch) computes with the weights as they are stored; llama.cpp (through
llama-cpp-python) reads FILE, which should hold the same weights in the same type. What is not installed is left out. The
engines take turns, so that a machine that slows down slows all of them; of the rounds the best counts.
"""
import argparse, json, os, subprocess, tempfile, time

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--gguf")
parser.add_argument("--mode", default="target/release/mode")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--new", type=int, default=64)
parser.add_argument("--rounds", type=int, default=3)
args = parser.parse_args()
PROMPT = [504, 3575, 282, 4649, 314]  # Any ids do; the same for all.
engines = {}

folder = tempfile.TemporaryDirectory()
prompt = os.path.join(folder.name, "prompt.json")
with open(prompt, "w") as file:
    json.dump(PROMPT, file)


def ours():
    command = [args.mode, "generate", "--model", args.model, "--ids", prompt, "--max-new", str(args.new), "--json",
               "--device", "cpu", "--threads", str(args.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])["tokens_per_second"]


engines["mode"] = ours
try:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype="auto").eval()

    def transformers(count=args.new):
        ids, past, times = torch.tensor([PROMPT]), None, []
        with torch.no_grad():
            for _ in range(count):
                out = model(ids, past_key_values=past, use_cache=True)
                ids, past = out.logits[:, -1:].argmax(-1), out.past_key_values
                times.append(time.perf_counter())
        return (count - 1) / (times[-1] - times[0])

    transformers(4)
    engines["transformers"] = transformers
except ImportError as error:
    print("left out:", error)
if args.gguf:
    try:
        from llama_cpp import Llama

        llama = Llama(args.gguf, n_ctx=512, n_threads=args.threads, n_threads_batch=args.threads, verbose=False)

        def llama_cpp():
            llama.reset()
            times = []
            for _ in llama.generate(PROMPT, temp=0.0, top_k=1):
                times.append(time.perf_counter())
                if len(times) == args.new:
                    break
            return (args.new - 1) / (times[-1] - times[0])

        engines["llama.cpp"] = llama_cpp
    except ImportError as error:
        print("left out:", error)

best = dict.fromkeys(engines, 0.0)
for _ in range(args.rounds):
    for name, engine in engines.items():
        best[name] = max(best[name], engine())
for name, rate in best.items():
    print(f"{name:14} {rate:6.1f} tokens/s   mode is {best['mode'] / rate:.2f} of it")
