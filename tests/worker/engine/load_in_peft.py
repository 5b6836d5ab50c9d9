"""Whether peft makes the merged model of a checkpoint from the base and the adapter in it: prints the largest relative difference of
logits, from the merged weights and from the base alone.

    python3 load_in_peft.py CHECKPOINT     with inputs.safetensors in it: ids
"""

import json
import sys
import warnings

import peft
import torch
import transformers
from safetensors.torch import load_file

folder = sys.argv[1]
ids = load_file(f"{folder}/inputs.safetensors")["ids"].long()
config = transformers.AutoConfig.from_pretrained(folder)
encoder = config.architectures[0].endswith("ForSequenceClassification")
kind = transformers.AutoModelForSequenceClassification if encoder else transformers.AutoModelForCausalLM
with open(f"{folder}/adapter/adapter_config.json") as file:
    base_folder = json.load(file)["base_model_name_or_path"]


def load(path, **options):
    return kind.from_pretrained(path, dtype=torch.float32, attn_implementation="eager", **options)


def logits(model):
    with torch.no_grad():
        return model.double().eval()(ids).logits


merged = logits(load(folder))
# A classifier's labels stand in the checkpoint; a base that has another number of them has another classifier.
base = load(base_folder, config=config, ignore_mismatched_sizes=True) if encoder else load(base_folder)
alone = logits(base)
warnings.filterwarnings("error", message=".*adapter keys")  # such as of those that are missing
adapted = peft.PeftModel.from_pretrained(base.float(), f"{folder}/adapter")
print("difference", ((logits(adapted) - merged).norm() / merged.norm()).item())
print("alone", ((alone - merged).norm() / merged.norm()).item())
# As peft saves it again.
adapted.save_pretrained(f"{folder}/again")
ours, theirs = load_file(f"{folder}/adapter/adapter_model.safetensors"), load_file(f"{folder}/again/adapter_model.safetensors")
print("names", "same" if ours.keys() == theirs.keys() else sorted(ours.keys() ^ theirs.keys()))
