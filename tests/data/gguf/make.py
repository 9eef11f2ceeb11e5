"""Small GGUF files as llama.cpp's converter writes them, and what transformers computes on the same weights.

    python3 tests/data/gguf/make.py OUT      (needs gguf, torch, transformers, tokenizers)

For each case: OUT/NAME.gguf and OUT/NAME.json: for windows of ids the mean loss and the next-token accuracy, a greedy continuation,
and texts with their ids where the file has a tokenizer. The weights are those of the model in families/ or of a random one,
quantised by the package gguf (its K types, which it only reads, are random blocks), and what the model is given is what the package
makes of the blocks. OUT/blocks.json: random blocks of every type, and their numbers as f32 bits.
"""
import json, math, os, sys
import gguf, numpy as np, torch
from gguf import GGMLQuantizationType as Q, GGUFWriter
from gguf.quants import dequantize, quantize
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (AutoConfig, AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GPT2Config, LlamaConfig, Qwen2Config,
                          Qwen3Config)

here, out = os.path.dirname(os.path.abspath(__file__)), sys.argv[1]
torch.manual_seed(0)
rng = np.random.default_rng(0)
VOCABULARY, TOKENS, POSITIONS = 97, 384, 48
SIZES = {Q.Q8_0: 34, Q.Q4_0: 18, Q.Q4_1: 20, Q.Q5_0: 22, Q.Q5_1: 24, Q.Q4_K: 144, Q.Q5_K: 176, Q.Q6_K: 210, Q.F32: 4, Q.F16: 2, Q.BF16: 2}
K = {Q.Q4_K: 1e-3, Q.Q5_K: 5e-4, Q.Q6_K: 1e-4}


def random_blocks(count, kind, d=None):
    """Random bytes, with scales that are finite: about d, or anything."""
    blocks = rng.integers(0, 256, (count, SIZES[kind]), dtype=np.uint8)
    scale = lambda: rng.uniform(0.5, 1.5, count) * d if d else rng.normal(0, 2, count)
    put = lambda at, values: blocks.__setitem__((slice(None), slice(at, at + 2)), values.astype("<f2").reshape(-1, 1).view(np.uint8))
    if kind == Q.F32:
        return rng.normal(0, 2, count).astype("<f4").reshape(-1, 1).view(np.uint8)
    if kind == Q.BF16:
        blocks[:, 1] = rng.integers(0x3c, 0x44, count) | rng.integers(0, 2, count) << 7
        return blocks
    at = 208 if kind == Q.Q6_K else 0
    first = scale()
    put(at, first)
    if kind in (Q.Q4_1, Q.Q5_1):
        put(2, scale())
    if kind in (Q.Q4_K, Q.Q5_K):  # An offset that makes the mean about zero.
        put(2, first * (7.5 if kind == Q.Q4_K else 15.5) if d else scale())
    return blocks


def stored(weight, kind):
    """The bytes of a weight, their type, and what they stand for. A row that has no whole blocks is stored as llama.cpp would."""
    if weight.ndim == 1:
        kind = Q.F32
    elif kind in K and weight.shape[-1] % 256:
        kind = Q.Q8_0
    if kind in K:
        blocks = random_blocks(weight.size // 256, kind, K[kind]).reshape(weight.shape[0], -1)
    elif kind == Q.F32:
        return weight, kind, weight
    elif kind == Q.F16:
        return weight.astype(np.float16), kind, weight.astype(np.float16).astype(np.float32)
    else:
        blocks = quantize(weight, kind)
    return blocks, kind, dequantize(blocks, kind).reshape(weight.shape).astype(np.float32)


def permute(weight, heads):
    """As the converter does to queries and keys of llama: pairs become neighbours."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def unpermute(weight, heads):
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


GPT2_PIECES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
PIECES = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
split = lambda numbers: pre_tokenizers.Split(Regex(PIECES % numbers), "isolated")
CUTS = {
    "gpt-2": GPT2_PIECES,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2_PIECES]),
    "llama-bpe": pre_tokenizers.Sequence([split("{1,3}"), BYTES]),
    "qwen2": pre_tokenizers.Sequence([split(""), BYTES]),
}
TEXTS = ["The river's stone, 1234567 lanterns;  they'll sing.\n\n  DON'T stop", "<|end|>zażółć 🦀\tx=3.14<tool> e\u0301", " ", "x1y22z333"]


def tokenizer(pre):
    made = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    made.normalizer = normalizers.NFC() if pre == "qwen2" else None
    made.pre_tokenizer, made.decoder = CUTS[pre], decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=TOKENS - 3, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    made.train_from_iterator(TEXTS + [" the there then stone river lantern lanterns they'll sing and stop"] * 9, trainer)
    made.add_special_tokens(["<|begin|>", "<|end|>"])
    made.add_tokens([AddedToken("<tool>", normalized=False)])
    if pre == "llama-bpe":
        begin = made.token_to_id("<|begin|>")
        made.post_processor = processors.TemplateProcessing("<|begin|> $A", "$A $B", [("<|begin|>", begin)])
    return made


def write_tokenizer(writer, made, pre):
    state = json.loads(made.to_str())
    tokens = [made.id_to_token(i) for i in range(made.get_vocab_size())]
    kinds = {token["id"]: 3 if token["special"] else 4 for token in state["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(i, 1) for i in range(len(tokens))])
    writer.add_token_merges([" ".join(merge) for merge in state["model"]["merges"]])
    writer.add_bos_token_id(made.token_to_id("<|begin|>"))
    writer.add_eos_token_id(made.token_to_id("<|end|>"))


def write_keys(writer, config, architecture):
    rope = getattr(config, "rope_parameters", None) or {}
    whole = rope.get("full_attention", rope)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    if architecture == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if architecture != "gemma":
        writer.add_rope_freq_base(whole["rope_theta"])
    if architecture == "llama":
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(config.head_dim)
    head = getattr(config, "head_dim", None)
    if architecture not in ("llama", "qwen2") or head and head * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(head)
        writer.add_value_length(head)
    if whole.get("rope_type") in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(whole["rope_type"]))
        writer.add_rope_scaling_factor(whole["factor"])
    if whole.get("rope_type") == "yarn":
        writer.add_rope_scaling_orig_ctx_len(whole["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(whole["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(whole["beta_slow"])
    if architecture in ("gemma2", "gemma3") or config.model_type == "mistral":
        writer.add_sliding_window(config.sliding_window)
    if architecture == "gemma3":
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def rope_factors(config):
    rope, half = config.rope_parameters, config.head_dim // 2
    length, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
    factors = []
    for i in range(half):
        turns = length * rope["rope_theta"] ** (-i / half) / math.tau
        smooth = min(max((turns - low) / (high - low), 0), 1)
        factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def case(name, model, kind, pre=None, head_twice=False):
    config = model.config
    architecture = {"mistral": "llama", "gemma3_text": "gemma3"}.get(config.model_type, config.model_type)
    path = os.path.join(out, name + ".gguf")
    writer = GGUFWriter(path, architecture)
    write_keys(writer, config, architecture)
    made = tokenizer(pre) if pre else None
    if made:
        write_tokenizer(writer, made, pre)
    number = {name: i for i, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    state = {n: p.detach().numpy().astype(np.float32) for n, p in model.named_parameters()}
    for n, weight in state.items():
        there, back = lambda w: w, lambda w: w
        if architecture == "llama" and ("q_proj" in n or "k_proj" in n):
            heads = config.num_attention_heads if "q_proj" in n else config.num_key_value_heads
            there, back = lambda w, h=heads: permute(w, h), lambda w, h=heads: unpermute(w, h)
        elif architecture == "gpt2" and n.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            there = back = lambda w: np.ascontiguousarray(w.T)
        elif architecture.startswith("gemma") and n.endswith("norm.weight"):
            there, back = lambda w: w + 1, lambda w: w - 1
        data, dtype, means = stored(np.ascontiguousarray(there(weight)), kind)
        target = names.get_name(n, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(target, data, raw_dtype=dtype)
        if head_twice and target == "token_embd.weight":
            writer.add_tensor("output.weight", data, raw_dtype=dtype)
        model.get_parameter(n).data = torch.from_numpy(np.ascontiguousarray(back(means)).astype(np.float32))
    model.tie_weights()
    if (getattr(config, "rope_parameters", None) or {}).get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open(os.path.join(out, name + ".json"), "w") as file:
        json.dump(golden(model.eval(), made), file)
    print(name, os.path.getsize(path))


def golden(model, made):
    ids = lambda count: rng.integers(0, model.config.vocab_size, count).tolist()
    windows = []
    with torch.no_grad():
        for count in (9, POSITIONS):
            window = ids(count)
            logits, targets = model(torch.tensor([window])).logits[0, :-1], torch.tensor(window[1:])
            loss = torch.nn.functional.cross_entropy(logits, targets).item()
            right = (logits.argmax(-1) == targets).double().mean().item()
            windows.append(dict(ids=window, mean_nll=loss, next_token_accuracy=right))
        prompt, greedy = ids(5), []
        for _ in range(8):
            greedy.append(model(torch.tensor([prompt + greedy])).logits[0, -1].argmax().item())
    texts = [dict(text=text, ids=made.encode(text).ids) for text in TEXTS] if made else []
    return dict(windows=windows, prompt=prompt, greedy=greedy, texts=texts)


def family(name):
    return AutoModelForCausalLM.from_pretrained(os.path.join(here, "..", "families", name), attn_implementation="eager",
                                                dtype=torch.float32)


def random_model(config):
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():  # Norms and biases that start at 0 or 1 would hide a mistake.
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


small = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=POSITIONS, initializer_range=0.15, rms_norm_eps=1e-5)
wide = dict(small, hidden_size=256, intermediate_size=32, num_attention_heads=2, num_key_value_heads=1, head_dim=16)
gemma3 = dict(vocab_size=VOCABULARY, head_dim=16, sliding_window=5, query_pre_attn_scalar=16, rope_theta=1e6, rope_local_base_freq=1e4)

os.makedirs(out, exist_ok=True)
case("llama-f32", family("llama"), Q.F32)
case("llama3-f16", family("llama-llama3"), Q.F16)
case("linear-bf16", family("llama-linear"), Q.BF16)
case("mistral-f16", family("mistral"), Q.F16)
case("yarn-bf16", family("qwen2-yarn"), Q.BF16)
case("gemma-f16", family("gemma"), Q.F16)
case("gpt2-q8_0", random_model(GPT2Config(vocab_size=TOKENS, n_positions=POSITIONS, n_embd=32, n_head=2, n_layer=2, initializer_range=0.15)),
     Q.Q8_0, "gpt-2", head_twice=True)
case("llama-q4_0", random_model(LlamaConfig(**small, vocab_size=TOKENS, tie_word_embeddings=False)), Q.Q4_0, "llama-bpe")
case("qwen2-q4_1", random_model(Qwen2Config(**small, vocab_size=TOKENS, tie_word_embeddings=True)), Q.Q4_1, "qwen2")
case("gemma3-q5_0", random_model(Gemma3TextConfig(**dict(small, num_hidden_layers=7), **gemma3)), Q.Q5_0)
case("qwen3-q5_1", random_model(Qwen3Config(**small, vocab_size=VOCABULARY, head_dim=32, tie_word_embeddings=False)), Q.Q5_1)
case("llama-q4_k", random_model(LlamaConfig(**wide, vocab_size=TOKENS, tie_word_embeddings=True)), Q.Q4_K, "smollm")
case("gemma2-q5_k", random_model(Gemma2Config(**wide, vocab_size=VOCABULARY, sliding_window=7, query_pre_attn_scalar=16,
                                              attn_logit_softcapping=2.0, final_logit_softcapping=30.0)), Q.Q5_K)
case("qwen3-q6_k", random_model(Qwen3Config(**wide, vocab_size=VOCABULARY, tie_word_embeddings=False)), Q.Q6_K)

blocks = {}
for kind in SIZES:
    data = random_blocks(8 if kind.name in ("F32", "F16", "BF16") else 2, kind)
    values = dequantize(data, kind).astype("<f4").reshape(-1)
    blocks[kind.name] = dict(bytes=data.tobytes().hex(), bits=values.view("<u4").tolist())
with open(os.path.join(out, "blocks.json"), "w") as file:
    json.dump(blocks, file)
