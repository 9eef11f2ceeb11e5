"""Small models of every family with random weights, and what transformers computes on them.

    python3 tests/data/families/make.py OUT [SEED]      (needs torch and transformers)

For each case: OUT/NAME/ (config.json, model.safetensors or shards) and OUT/NAME.json: for windows of ids the mean loss, the
next-token accuracy and the L2 norms of the gradient of the mean loss; for prompts the five likeliest next tokens with their
log-probabilities and the greedy continuation. Seed 0 made the folders here; other seeds draw other shapes.
"""
import json, os, random, sys
import torch
from safetensors.torch import load_file, save_file
from transformers import (Gemma2Config, Gemma3TextConfig, GemmaConfig, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config,
                          Qwen3Config, AutoModelForCausalLM)

out, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
dice = random.Random(seed)
pick = lambda *of: dice.choice(of)
torch.manual_seed(seed)
VOCABULARY, POSITIONS = 97, 48


def shape(family):
    """Sizes that no tile divides; grouped heads."""
    heads, head = 99, 99
    while heads * head > 60:  # The files are kept.
        kv = pick(1, 2, 3)
        heads, head = kv * pick(1, 2, 3), pick(6, 10, 14, 16)
    own = family in ("qwen3", "gemma", "gemma2", "gemma3")
    width = heads * pick(4, 7, 12) if own else heads * head
    sizes = dict(vocab_size=VOCABULARY, hidden_size=width, intermediate_size=pick(26, 38, 52), num_hidden_layers=pick(2, 3),
                 num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=POSITIONS,
                 initializer_range=0.15, rms_norm_eps=pick(1e-5, 1e-6))
    return dict(sizes, head_dim=head) if own else sizes


rope = dict(
    linear=dict(rope_type="linear", factor=4.0),
    llama3=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=24),
    yarn=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4.0, beta_slow=1.0),
)
theta = lambda: pick(1e4, 500.0, 1e6)
sliding = lambda: dict(sliding_window=pick(5, 7, 11))
CASES = {
    "llama": lambda: LlamaConfig(**shape("llama"), tie_word_embeddings=True, rope_theta=theta(), attention_bias=True, mlp_bias=True),
    "llama-llama3": lambda: LlamaConfig(**shape("llama"), tie_word_embeddings=False, rope_theta=1e4, rope_scaling=rope["llama3"]),
    "llama-linear": lambda: LlamaConfig(**shape("llama"), tie_word_embeddings=False, rope_theta=theta(), rope_scaling=rope["linear"]),
    "mistral": lambda: MistralConfig(**shape("mistral"), **sliding(), tie_word_embeddings=False, rope_theta=theta()),
    "qwen2": lambda: Qwen2Config(**shape("qwen2"), tie_word_embeddings=True, rope_theta=theta(), use_sliding_window=True,
                                 max_window_layers=1, **sliding()),
    "qwen2-yarn": lambda: Qwen2Config(**shape("qwen2"), tie_word_embeddings=False, rope_theta=1e4, rope_scaling=rope["yarn"]),
    "qwen3": lambda: Qwen3Config(**shape("qwen3"), tie_word_embeddings=pick(True, False), rope_theta=theta()),
    "gemma": lambda: GemmaConfig(**shape("gemma")),
    "gemma2": lambda: Gemma2Config(**shape("gemma2"), **sliding(), query_pre_attn_scalar=pick(9, 20), attn_logit_softcapping=2.0,
                                   final_logit_softcapping=3.0),
    "gemma3": lambda: Gemma3TextConfig(**dict(shape("gemma3"), num_hidden_layers=3), **sliding(), query_pre_attn_scalar=pick(9, 20),
                                       rope_theta=1e6, rope_local_base_freq=500.0,
                                       layer_types=["sliding_attention", "sliding_attention", "full_attention"]),
    "gpt2": lambda: GPT2Config(vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=(heads := pick(3, 5)) * pick(5, 9, 11), n_head=heads,
                               n_layer=pick(2, 3), n_inner=pick(None, 50), initializer_range=0.15, activation_function="gelu_new"),
    "gpt2-gelu": lambda: GPT2Config(vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=45, n_head=3, n_layer=2,
                                    initializer_range=0.15, activation_function="gelu", tie_word_embeddings=False),
}


def golden(model):
    ids = lambda count: [dice.randrange(VOCABULARY) for _ in range(count)]
    windows = []
    for name, count in (("short", 9), ("whole", POSITIONS)):
        window = ids(count)
        model.zero_grad()
        logits = model(torch.tensor([window])).logits[0, :-1]
        targets = torch.tensor(window[1:])
        loss = torch.nn.functional.cross_entropy(logits, targets)
        loss.backward()
        norms = {n: p.grad.double().norm().item() for n, p in model.named_parameters() if p.grad is not None}
        windows.append(dict(name=name, ids=window, mean_nll=loss.item(), grad_l2=norms,
                            next_token_accuracy=(logits.argmax(-1) == targets).double().mean().item()))
    prompts = []
    for count in (1, 13):
        prompt, greedy = ids(count), []
        with torch.no_grad():
            top = torch.log_softmax(model(torch.tensor([prompt])).logits[0, -1].double(), -1).topk(5)
            for _ in range(12):
                greedy.append(model(torch.tensor([prompt + greedy])).logits[0, -1].argmax().item())
        prompts.append(dict(text=None, ids=prompt, greedy=greedy, top5=[[i.item(), v.item()] for v, i in zip(*top)]))
    return dict(windows=windows, prompts=prompts)


for name, config in CASES.items():
    config = config()
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():  # Norms and biases that start at 0 or 1 would hide a mistake.
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    shards = dict(max_shard_size="20KB") if name in ("qwen2", "mistral") else {}
    model.save_pretrained(folder, **shards)
    for extra in ("generation_config.json",):
        if os.path.exists(os.path.join(folder, extra)):
            os.remove(os.path.join(folder, extra))
    with open(os.path.join(out, name + ".json"), "w") as file:
        json.dump(golden(model), file)
    print(name, sum(p.numel() for p in model.parameters()))
