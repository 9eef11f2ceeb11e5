"""PyTorch: eager, or with `--compile` through inductor. `python pytorch.py WORKLOAD [--compile] [--name ENGINE] [--threads N]`"""
import argparse

import torch
import torch.nn.functional as F
from torch import nn

import timing
from timing import B, HEADS, LAYERS, NEW, PROMPT, T, WIDTH, fill, mean_abs

parser = argparse.ArgumentParser()
parser.add_argument("workload")
parser.add_argument("--compile", action="store_true")
parser.add_argument("--name", default="pytorch")
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
torch.set_num_threads(args.threads)


def compiled(function):
    return torch.compile(function) if args.compile else function


def tensor(*fill_args):
    return torch.from_numpy(fill(*fill_args))


def forward(function, *inputs):
    function = compiled(function)

    def run():
        with torch.inference_mode():
            return [function(*inputs)]

    return run, mean_abs


def with_backward(function, upstream, *inputs):
    inputs = [x.requires_grad_() for x in inputs]
    function = compiled(function)
    return lambda: torch.autograd.grad(function(*inputs), inputs, upstream), mean_abs


def matmul(m, k, n):
    return forward(torch.matmul, tensor(1, (m, k)), tensor(2, (k, n)))


def attention(backward):
    q, k, v, g = (tensor(seed, (B, HEADS, T, 64)) for seed in range(1, 5))
    attend = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return with_backward(attend, g, q, k, v) if backward else forward(attend, q, k, v)


def merge(x, w, b, branches):
    # Of seven ways to write it the fastest, forward and backward.
    return torch.einsum("tk,ktd->td", torch.softmax(torch.addmm(b, x, w), -1), branches)


def gate_merge(backward):
    x, w, b = tensor(1, (4096, 512)), tensor(2, (512, 3), (3 / 512) ** 0.5), tensor(3, (3,), 0.1)
    *branches, g = (tensor(seed, (4096, 512)) for seed in range(4, 8))
    inputs = x, w, b, torch.stack(branches)
    if not backward:
        return forward(merge, *inputs)
    run, _ = with_backward(merge, g, *inputs)
    return run, lambda grads: mean_abs([*grads[:3], *grads[3]])


class Layer(nn.Module):
    def __init__(self, given, layer):
        super().__init__()
        weight = lambda name: nn.Parameter(torch.from_numpy(given[f"{name}{layer}"]))
        self.qkv, self.out, self.up, self.down = map(weight, ("qkv", "out", "up", "down"))
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)

    def forward(self, x, cache=None, past=0):
        rows, length, _ = x.shape
        q, k, v = F.linear(self.norm1(x), self.qkv).view(rows, length, 3, HEADS, 64).permute(2, 0, 3, 1, 4)
        if cache is not None:
            cache[0][:, :, past : past + length], cache[1][:, :, past : past + length] = k, v
            k, v = cache[0][:, :, : past + length], cache[1][:, :, : past + length]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        x = x + F.linear(y.transpose(1, 2).reshape(rows, length, WIDTH), self.out)
        return x + F.linear(F.gelu(F.linear(self.norm2(x), self.up), approximate="tanh"), self.down)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        given = timing.weights()
        self.tokens, self.positions, self.head = (nn.Parameter(torch.from_numpy(given[name])) for name in ("tokens", "positions", "head"))
        self.layers = nn.ModuleList(Layer(given, layer) for layer in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH, bias=False)

    def hidden(self, ids, caches=None, past=0):
        x = F.embedding(ids, self.tokens) + self.positions[past : past + ids.shape[1]]
        for i, layer in enumerate(self.layers):
            x = layer(x, caches and caches[i], past)
        return self.norm(x)

    def forward(self, ids):
        return F.linear(self.hidden(ids), self.head)

    def loss(self, ids, targets):
        return F.cross_entropy(self(ids).flatten(0, 1), targets.flatten())

    def next(self, ids, caches, past):
        return F.linear(self.hidden(ids, caches, past)[:, -1], self.head).argmax(-1, keepdim=True)


def train():
    model, windows = Model(), torch.from_numpy(timing.windows())
    ids, targets = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, fused=True)
    loss_of = compiled(model.loss)

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(ids, targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run, float


def decode():
    model, prompt = Model(), torch.from_numpy(timing.ids(PROMPT))[None]

    @torch.inference_mode()
    def run():
        caches = [torch.empty(2, 1, HEADS, T, 64) for _ in range(LAYERS)]
        made = [model.next(prompt, caches, 0)]
        for past in range(PROMPT, PROMPT + NEW - 1):
            made.append(model.next(made[-1], caches, past))
        return torch.cat(made).sum().item()

    return run, float


timing.main(args.name, f"CPU, {torch.get_num_threads()} threads", {
    "W1": lambda: matmul(1024, 1024, 1024),
    "W1b": lambda: matmul(512, 2048, 512),
    "W2": lambda: attention(False),
    "W2b": lambda: attention(True),
    "W3": lambda: gate_merge(False),
    "W3b": lambda: gate_merge(True),
    "W4": train,
    "W5": decode,
    "W5f": lambda: forward(Model(), torch.from_numpy(timing.ids(T))[None]),
})
