"""PyTorch eager on the models of `mode bench W4` and `W4-135M` themselves, for the same loss, on a CPU or a GPU.

    python llama.py W4|W4-135M [--device cuda] [--precision f32|f16] [--threads N]

The peers of `run.py` train a GPT of W4's size; here everything is as in ours: RMSNorm, rotary positions, shared key heads, SwiGLU, weights
and ids from the same integers. f16 is torch.autocast with a GradScaler, as `W4-f16` and `W4-135M-f16` are to be compared with. In f32 no
TF32 is used. A line of JSON comes out, as of `mode bench --json`; W4's check must be 4.21455.
"""
import argparse

import torch
import torch.nn.functional as F
from torch import nn

import timing
from timing import fill, hashed, matrix

CONFIGS = {
    "W4": dict(vocabulary=512, width=256, hidden=688, layers=4, heads=4, kv_heads=4, tied=False, length=256),
    "W4-135M": dict(vocabulary=49_152, width=576, hidden=1_536, layers=30, heads=9, kv_heads=3, tied=True, length=512),
}
WINDOWS, HEAD, THETA, EPSILON = 4, 64, 1e4, 1e-5

parser = argparse.ArgumentParser()
parser.add_argument("workload", choices=CONFIGS)
parser.add_argument("--device", default="cpu")
parser.add_argument("--precision", choices=["f32", "f16"], default="f32")
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.set_float32_matmul_precision("highest")
C = argparse.Namespace(**CONFIGS[args.workload])


def parameter(values):
    return nn.Parameter(torch.from_numpy(values))


class Layer(nn.Module):
    def __init__(self, layer):
        super().__init__()
        q, kv = HEAD * C.heads, HEAD * C.kv_heads
        shapes = [(q, C.width), (kv, C.width), (kv, C.width), (C.width, q), (C.hidden, C.width), (C.hidden, C.width), (C.width, C.hidden)]
        made = (parameter(matrix(10 + 10 * layer + i, *shape)) for i, shape in enumerate(shapes))
        self.q, self.k, self.v, self.o, self.gate, self.up, self.down = made
        self.norm1, self.norm2 = nn.RMSNorm(C.width, EPSILON), nn.RMSNorm(C.width, EPSILON)

    def forward(self, x, cos, sin):
        rows, length, _ = x.shape
        n = self.norm1(x)
        q, k, v = (F.linear(n, w).view(rows, length, -1, HEAD).transpose(1, 2) for w in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(turn(q, cos, sin), turn(k, cos, sin), v, is_causal=True, enable_gqa=C.heads != C.kv_heads)
        x = x + F.linear(y.transpose(1, 2).reshape(rows, length, -1), self.o)
        n = self.norm2(x)
        return x + F.linear(F.silu(F.linear(n, self.gate)) * F.linear(n, self.up), self.down)


def turn(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = parameter(fill(1, (C.vocabulary, C.width), 0.1))
        self.head = self.tokens if C.tied else parameter(matrix(3, C.vocabulary, C.width))
        self.layers, self.norm = nn.ModuleList(map(Layer, range(C.layers))), nn.RMSNorm(C.width, EPSILON)
        angles = torch.outer(torch.arange(C.length), THETA ** (-torch.arange(0, HEAD, 2, dtype=torch.float64) / HEAD))
        self.register_buffer("cos", angles.cos().float())
        self.register_buffer("sin", angles.sin().float())

    def forward(self, ids, targets):
        x = F.embedding(ids, self.tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return F.cross_entropy(F.linear(self.norm(x), self.head).flatten(0, 1), targets.flatten())


def train():
    model = Model().to(args.device)
    ids = (hashed(99, WINDOWS * (C.length + 1)) % C.vocabulary).astype("int64").reshape(WINDOWS, -1)
    ids = torch.from_numpy(ids).to(args.device)
    ids, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, fused=True)
    kind = torch.device(args.device).type
    half = args.precision == "f16"
    scaler = torch.amp.GradScaler(kind, enabled=half)

    def run():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(kind, torch.float16, enabled=half):
            loss = model(ids, targets)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        # Waits for the step, as ours does.
        return [loss.item(), kind == "cuda" and torch.cuda.synchronize()][0]

    return run, float


d, kv = C.width, HEAD * C.kv_heads
layer = 2 * (2 * d * (HEAD * C.heads + kv) + 3 * d * C.hidden) + 4 * C.length * HEAD * C.heads
tokens = WINDOWS * C.length
name = f"{torch.cuda.get_device_name()}" if args.device.startswith("cuda") else f"CPU, {args.threads} threads"
timing.main(
    f"pytorch-{args.precision}", name, {args.workload: train}, flop=3 * tokens * (C.layers * layer + 2 * d * C.vocabulary), tokens=tokens)
