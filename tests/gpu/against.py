#!/usr/bin/env python3
"""The loss and the gradients of one step, as gpu_suite exports it, against PyTorch in fp32 on the same weights and tokens.

    GALLEON_SUITE=bin/gpu_suite tests/gpu/against.py            exports llama-1b into a folder of its own, and compares
    tests/gpu/against.py --folder FOLDER [--device cpu]         compares what lies there

The model is the plain Llama of pytorch.py, which is held to transformers' own by its --check.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pytorch import plain_llama, result  # noqa: E402

# A gradient in bf16 differs from that in fp32 by roundings of 2^-9 at each of some dozen operations on the way to it.
GRADIENTS, LOSS = 0.05, 5e-3
AIM = {"gradients": f"<= {GRADIENTS:g}", "loss": f"<= {LOSS:g}"}


def tensors(torch, path, kind):
    with open(path, "rb") as file:
        return torch.frombuffer(bytearray(file.read()), dtype=kind)


def load(torch, folder, index, device):
    """The model with the exported weights, and the exported gradients by name."""
    with torch.device(device):
        model = plain_llama(torch, tuple(index["shape"]), index["vocabulary"])
    model.float()
    weights = tensors(torch, os.path.join(folder, "weights.bin"), torch.bfloat16)
    gradients = tensors(torch, os.path.join(folder, "gradients.bin"), torch.float32)
    parameters = dict(model.named_parameters())
    at = at_gradient = 0
    compared = set(index["gradients"])
    theirs = {}
    with torch.no_grad():
        for weight in index["weights"]:
            shape = [weight["rows"]] + ([weight["columns"]] if weight["columns"] else [])
            count = weight["rows"] * max(1, weight["columns"])
            parameters.pop(weight["name"]).copy_(weights[at : at + count].view(shape))
            at += count
            if weight["name"] in compared:
                theirs[weight["name"]] = gradients[at_gradient : at_gradient + count].view(shape)
                at_gradient += count
    if parameters or at != weights.numel() or at_gradient != gradients.numel():
        raise ValueError(f"the export does not fit the model: {sorted(parameters)}")
    return model, theirs


def compare(torch, folder, device):
    with open(os.path.join(folder, "index.json"), encoding="utf-8") as file:
        index = json.load(file)
    torch.backends.cuda.matmul.allow_tf32 = False
    model, gradients = load(torch, folder, index, device)
    both = tensors(torch, os.path.join(folder, "tokens.bin"), torch.int32).long().view(2, index["sequences"], index["sequence"])
    ids, targets = both[0].to(device), both[1].to(device)
    logits = model(ids)
    loss = torch.nn.functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))
    loss.backward()
    difference = abs(loss.item() - index["loss"]) / loss.item()
    good = difference <= LOSS
    result("against.loss", difference, "of the loss", AIM["loss"], "ok" if difference <= LOSS else "FAILED")
    worst, name_of_worst = 0.0, ""
    ours = dict(model.named_parameters())
    for name, gradient in gradients.items():
        expected = ours[name].grad
        gradient = gradient.to(device)
        error = ((gradient - expected).norm() / expected.norm()).item()
        if not error <= GRADIENTS:
            off = ((gradient - expected).abs() > GRADIENTS * expected.abs().max()).nonzero()
            place = off[0].tolist() if len(off) else "none alone"
            print(f"the gradient of {name} differs by {error:.3g}; the first wrong element: {place}")
            result(f"against.gradient.{name}", error, "of its norm", f"first wrong {place}", "FAILED")
            good = False
        if not error <= worst:
            worst, name_of_worst = error, name
    result("against.worst_gradient", worst, f"of its norm, {name_of_worst}", AIM["gradients"], "ok" if worst <= GRADIENTS else "FAILED")
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    try:
        import torch
    except Exception as error:  # noqa: BLE001: a package that is broken is as good as none
        print(f"skipped: loss and gradients against PyTorch: {type(error).__name__}: {error}")
        result("against.loss", "-", "of the loss", AIM["loss"], "not measured")
        result("against.worst_gradient", "-", "of its norm", AIM["gradients"], "not measured")
        return 0
    if options.folder:
        return compare(torch, options.folder, options.device)
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        if environment.get("GALLEON_LIBRARIES"):
            environment["LD_LIBRARY_PATH"] = environment["GALLEON_LIBRARIES"]
        subprocess.run([os.environ["GALLEON_SUITE"], "export", folder], env=environment, check=True)
        return compare(torch, folder, options.device)


if __name__ == "__main__":
    sys.exit(main())
