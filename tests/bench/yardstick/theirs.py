"""The other side of the yardstick: transformers' Llama on PyTorch with galore-torch's GaLoreAdamW, under the commands that
ours.cc documents. Best settings that we know of: sdpa attention, no cache, gradients set to None, oneDNN as shipped, and with
--compile torch.compile around the model."""

import argparse
import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")

parser = argparse.ArgumentParser()
parser.add_argument("--hidden", type=int, required=True)
parser.add_argument("--intermediate", type=int, required=True)
parser.add_argument("--layers", type=int, required=True)
parser.add_argument("--heads", type=int, required=True)
parser.add_argument("--vocabulary", type=int, default=32000)
parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
parser.add_argument("--rank", type=int, default=128)
parser.add_argument("--sequence", type=int, default=256)
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--compile", action="store_true")
options = parser.parse_args()

import torch  # noqa: E402

torch.set_num_threads(options.threads)
torch.manual_seed(42)
import transformers  # noqa: E402
from galore_torch import GaLoreAdamW  # noqa: E402
from galore_torch.galore_projector import GaLoreProjector  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

transformers.logging.set_verbosity_error()


def peak_resident():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


imported = peak_resident()
config = LlamaConfig(vocab_size=options.vocabulary, hidden_size=options.hidden, intermediate_size=options.intermediate,
                     num_hidden_layers=options.layers, num_attention_heads=options.heads, rms_norm_eps=1e-6,
                     max_position_embeddings=2048, tie_word_embeddings=False, use_cache=False, attn_implementation="sdpa")
model = LlamaForCausalLM(config)
model.to(torch.bfloat16 if options.precision == "bf16" else torch.float32)
model.train()
projected = [p for name, p in model.named_parameters() if "self_attn" in name or "mlp" in name]
rest = [p for name, p in model.named_parameters() if not ("self_attn" in name or "mlp" in name)]
optimizer = GaLoreAdamW(
    [{"params": rest}, {"params": projected, "rank": options.rank, "update_proj_gap": 1 << 30, "scale": 0.25, "proj_type": "std"}],
    lr=1e-4, no_deprecation_warning=True)
run = torch.compile(model) if options.compile else model
refresh_seconds = 0.0
find_basis = GaLoreProjector.get_orthogonal_matrix


def timed_basis(*arguments, **named):
    global refresh_seconds
    begin = time.perf_counter()
    found = find_basis(*arguments, **named)
    refresh_seconds += time.perf_counter() - begin
    return found


GaLoreProjector.get_orthogonal_matrix = timed_basis
generator = torch.Generator().manual_seed(7)


def step(refresh=False):
    ids = torch.randint(options.vocabulary, (options.batch, options.sequence), generator=generator)
    targets = torch.randint(options.vocabulary, (options.batch, options.sequence), generator=generator)
    global refresh_seconds
    refresh_seconds = 0.0
    if refresh:  # as at every update_proj_gap-th step: the projector takes the SVD of the gradient at hand
        for p in projected:
            optimizer.state[p]["projector"].ortho_matrix = None
    processor_start, start = time.process_time(), time.perf_counter()
    loss = run(input_ids=ids, labels=targets).loss
    loss.backward()
    backward_done = time.perf_counter()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    end = time.perf_counter()
    return {"seconds": end - start, "processor_seconds": time.process_time() - processor_start,
            "optimizer_seconds": end - backward_done, "refreshed": len(projected) if refresh else 0, "refresh_seconds": refresh_seconds,
            "loss": float(loss.detach())}


def answer(value):
    print(json.dumps(value), flush=True)


first = step()
answer({"ready": True, "parameters": sum(p.numel() for p in model.parameters()), "tokens": options.batch * options.sequence,
        "first_step_seconds": first["seconds"], "imported_bytes": imported,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__}})
for command in sys.stdin:
    if command.strip() == "end":
        break
    answer(step(command.strip() == "refresh"))
answer({"peak_bytes": peak_resident()})
