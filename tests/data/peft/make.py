"""Adapters as PEFT writes them, and what PEFT computes with them; and the way back.

    python3 tests/data/peft/make.py OUT                   (needs torch, transformers and peft)
    python3 tests/data/peft/make.py --check ADAPTER BASE IDS.json

The first writes OUT/NAME/ (adapter_config.json, adapter_model.safetensors) and OUT/NAME.json: the base model's folder, a window
of ids and its mean loss with the adapter, and after PEFT has merged it. The second prints the mean loss of a window with an
adapter that `mode` wrote, as PEFT reads it.
"""
import json, os, random, sys
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))


def loss(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits.double(), torch.tensor(ids[1:])).item()


def load(base):
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


if sys.argv[1] == "--check":
    adapter, base, ids = sys.argv[2:]
    print(loss(PeftModel.from_pretrained(load(base), adapter), json.load(open(ids))))
    sys.exit()

out = sys.argv[1]
torch.manual_seed(0)
dice = random.Random(0)
CASES = {
    "llama": ("tiny-random-llama", ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"], False),
    "gpt2": ("families/gpt2", ["c_attn", "mlp.c_proj"], True),
}
for name, (base, targets, turned) in CASES.items():
    model = load(os.path.join(HERE, "..", base))
    config = LoraConfig(r=3, lora_alpha=7, target_modules=targets, task_type="CAUSAL_LM", fan_in_fan_out=turned)
    model = get_peft_model(model, config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                parameter.normal_(0.0, 0.3)
    folder = os.path.join(out, name)
    model.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    path = os.path.join(folder, "adapter_config.json")
    kept = json.load(open(path))
    kept["base_model_name_or_path"] = "someone/" + name  # As an adapter from the hub has it: no folder here.
    json.dump(kept, open(path, "w"), indent=1)
    ids = [dice.randrange(90) for _ in range(40)]
    golden = dict(base=base, ids=ids, mean_nll=loss(model, ids))
    golden["merged_nll"] = loss(model.merge_and_unload(), ids)
    json.dump(golden, open(os.path.join(out, name + ".json"), "w"))
    print(name, golden["mean_nll"], golden["merged_nll"])
