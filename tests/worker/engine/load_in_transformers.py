"""Whether transformers make the same of a folder: prints the largest relative difference of logits, and the text that a language model
goes on with.

    python3 load_in_transformers.py FOLDER     with inputs.safetensors in it: ids, lengths, logits, and `prompt` for language models
"""

import sys

import torch
import transformers
from safetensors.torch import load_file

folder = sys.argv[1]
given = {name: tensor for name, tensor in load_file(f"{folder}/inputs.safetensors").items()}
ids, lengths = given["ids"].long(), given["lengths"].long()
config = transformers.AutoConfig.from_pretrained(folder)
encoder = config.architectures[0].endswith("ForSequenceClassification")
kind = transformers.AutoModelForSequenceClassification if encoder else transformers.AutoModelForCausalLM
model, report = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    if report[what]:
        sys.exit(f"{what}: {report[what]}")
model = model.double().eval()
mask = (torch.arange(ids.shape[1])[None, :] < lengths[:, None]).long()
with torch.no_grad():
    logits = model(ids, attention_mask=mask).logits
ours = given["logits"].double()
if not encoder:
    logits = logits[:, -1]
print("difference", ((logits - ours).norm() / ours.norm()).item())
if not encoder:
    with torch.no_grad():
        text = model.generate(given["prompt"].long(), attention_mask=torch.ones_like(given["prompt"]).long(), do_sample=False,
                              max_new_tokens=12, eos_token_id=None, pad_token_id=0)
    print("text", *text[0].tolist())
