#!/usr/bin/env python3
"""GaLore-AdamW on PyTorch, for the GPU suite's comparison on the same GPU: a Llama in bf16 with scaled_dot_product_attention,
its steps on random tokens without refreshes, and the peak of the memory that tensors took.

    tests/gpu/pytorch.py [--preset llama-1b] [--sequence 1024] [--batch 16] [--rank 512] [--ours RESULTS] [--device cuda]
    tests/gpu/pytorch.py --check        on the CPU: that both of its sides compute the same

The model is transformers' and the optimizer galore-torch's where they import. Elsewhere both are this file's own: the same
shapes and formulas in plain torch, tested against those by --check. It runs as it is and, as far as --seconds reach, under
torch.compile; --no-compile and --only-compiled leave one of them. Where transformers imports and then fails, the plain model takes
its place. Prints the lines that run.sh puts into its table; where nothing can be run, the aims are "not measured". RESULTS: a file
with our lines of the same shapes.
"""

import argparse
import gc
import signal
import statistics
import sys
import time

# hidden, intermediate, layers, heads
PRESETS = {"tiny": (64, 172, 2, 4), "llama-60m": (512, 1376, 8, 8), "llama-350m": (1024, 2736, 24, 16), "llama-1b": (2048, 5461, 24, 32)}
VOCABULARY = 32000
# Of our GaLore to each way of running PyTorch: the least of its speed, the most of its memory.
SPEED = {"pytorch": 1.5, "pytorch_compiled": 1.15}
MEMORY = 0.7


def result(name, value, unit, aim="", verdict="measured"):
    print(f"RESULT\t{name}\t{value if isinstance(value, str) else format(value, '.6g')}\t{unit}\t{aim}\t{verdict}", flush=True)


def judge(name, rate=None, peak=None):
    """Both ratios of a way to run PyTorch, or that they could not be measured."""
    for what, ratio, aim, met in (("tokens_per_second", rate, f">= {SPEED[name]:g}", lambda x: x >= SPEED[name]),
                                  ("peak_memory", peak, f"<= {MEMORY:g}", lambda x: x <= MEMORY)):
        if ratio is None:
            result(f"against_{name}.{what}", "-", "times", aim, "not measured")
        else:
            result(f"against_{name}.{what}", ratio, "times", aim, "met" if met(ratio) else "not met")


def not_measured(reason, names):
    print(f"skipped: the comparison with PyTorch: {reason}")
    for name in names:
        judge(name)
    sys.exit(0)


def plain_llama(torch, shape, vocabulary=VOCABULARY):
    """transformers' Llama by the names of its parameters; called with ids it returns logits."""
    nn, F = torch.nn, torch.nn.functional
    hidden, intermediate, layers, heads = shape
    dimension = hidden // heads

    def linear(inputs, outputs):
        return nn.Linear(inputs, outputs, bias=False)

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(hidden))

        def forward(self, x):
            return F.rms_norm(x, (hidden,), self.weight, 1e-6)

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj, self.k_proj, self.v_proj, self.o_proj = (linear(hidden, hidden) for _ in range(4))

        def forward(self, x, cosines, sines):
            def of_heads(y):
                return y.view(*y.shape[:2], heads, dimension).transpose(1, 2)

            def turned(y):
                first, second = y.chunk(2, dim=-1)
                return y * cosines + torch.cat((-second, first), dim=-1) * sines

            q, k, v = turned(of_heads(self.q_proj(x))), turned(of_heads(self.k_proj(x))), of_heads(self.v_proj(x))
            seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.o_proj(seen.transpose(1, 2).reshape(x.shape))

    class Mlp(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate_proj, self.up_proj = linear(hidden, intermediate), linear(hidden, intermediate)
            self.down_proj = linear(intermediate, hidden)

        def forward(self, x):
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.input_layernorm, self.post_attention_layernorm = Norm(), Norm()
            self.self_attn, self.mlp = Attention(), Mlp()

        def forward(self, x, cosines, sines):
            x = x + self.self_attn(self.input_layernorm(x), cosines, sines)
            return x + self.mlp(self.post_attention_layernorm(x))

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed_tokens = nn.Embedding(vocabulary, hidden)
            self.layers = nn.ModuleList(Block() for _ in range(layers))
            self.norm = Norm()

        def forward(self, ids):
            x = self.embed_tokens(ids)
            rates = 10000.0 ** (-torch.arange(0, dimension, 2, device=ids.device, dtype=torch.float32) / dimension)
            angles = torch.outer(torch.arange(ids.shape[1], device=ids.device, dtype=torch.float32), rates)
            angles = torch.cat((angles, angles), dim=-1)
            cosines, sines = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
            for layer in self.layers:
                x = layer(x, cosines, sines)
            return self.norm(x)

    class Llama(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = Decoder()
            self.lm_head = linear(hidden, vocabulary)
            for p in self.parameters():
                if p.dim() == 2:
                    nn.init.normal_(p, std=0.02)

        def forward(self, ids):
            return self.lm_head(self.model(ids))

    return Llama()


def published_llama(torch, shape, vocabulary=VOCABULARY):
    """transformers' own; called with ids it returns logits."""
    import transformers

    hidden, intermediate, layers, heads = shape
    config = transformers.LlamaConfig(vocab_size=vocabulary, hidden_size=hidden, intermediate_size=intermediate,
                                      num_hidden_layers=layers, num_attention_heads=heads, rms_norm_eps=1e-6,
                                      max_position_embeddings=2048, tie_word_embeddings=False, use_cache=False,
                                      attn_implementation="sdpa")
    model = transformers.LlamaForCausalLM(config)
    model.train()
    forward = model.forward
    model.forward = lambda ids: forward(input_ids=ids).logits
    return model


def split_parameters(model):
    """The matrices of attention and MLP, which are projected, and the rest."""
    projected = [p for name, p in model.named_parameters() if p.dim() == 2 and ("self_attn" in name or "mlp" in name)]
    known = {id(p) for p in projected}
    return projected, [p for p in model.parameters() if id(p) not in known]


def exact_basis(torch, gradient, rank):
    """std: the right singular vectors of a matrix that is not wider than high (r×n), else the left ones (m×r)."""
    left, _, right = torch.linalg.svd(gradient.float(), full_matrices=False)
    basis = right[:rank] if gradient.shape[0] >= gradient.shape[1] else left[:, :rank]
    return basis.to(gradient.dtype)


def drawn_basis(torch, gradient, rank):
    """Any orthonormal one of that shape: steps between refreshes cost the same whatever it is."""
    tall = torch.randn(min(gradient.shape), rank, device=gradient.device, dtype=torch.float32)
    basis = torch.linalg.qr(tall).Q
    return (basis.T if gradient.shape[0] >= gradient.shape[1] else basis).to(gradient.dtype).contiguous()


class PlainGaLoreAdamW:
    """The reference's rule (AdamW with ε on the uncorrected root, moments in the type of the weights)."""

    def __init__(self, torch, projected, rest, rank, lr, find_basis, scale=0.25, betas=(0.9, 0.999), epsilon=1e-6):
        self.torch, self.rank, self.lr, self.scale, self.betas, self.epsilon = torch, rank, lr, scale, betas, epsilon
        self.find_basis = find_basis
        self.groups = [(p, True) for p in projected] + [(p, False) for p in rest]
        self.state = {}

    def step(self):
        with self.torch.no_grad():
            for p, projects in self.groups:
                self.update(p, projects)

    def update(self, p, projects):
        torch = self.torch
        state = self.state.setdefault(p, {"step": 0})
        state["step"] += 1
        gradient = p.grad
        tall = gradient.shape[0] >= gradient.shape[1] if projects else False
        if projects:
            if "basis" not in state:
                state["basis"] = self.find_basis(torch, gradient, self.rank)
            gradient = gradient @ state["basis"].T if tall else state["basis"].T @ gradient
        if "m" not in state:
            state["m"], state["v"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        first, second = self.betas
        state["m"].mul_(first).add_(gradient, alpha=1 - first)
        state["v"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        size = self.lr * (1 - second ** state["step"]) ** 0.5 / (1 - first ** state["step"])
        update = state["m"] / state["v"].sqrt().add_(self.epsilon)
        if projects:
            update = (update @ state["basis"] if tall else state["basis"] @ update) * self.scale
        p.add_(update, alpha=-size)

    def zero_grad(self):
        for p, _ in self.groups:
            p.grad = None


def published_optimizer(torch, projected, rest, rank, lr, find_basis):
    from galore_torch import GaLoreAdamW
    from galore_torch.galore_projector import GaLoreProjector

    def basis(_, weights, rank, type):  # noqa: A002: the package's own names
        found = find_basis(torch, weights.data if hasattr(weights, "data") else weights, rank)
        return found

    GaLoreProjector.get_orthogonal_matrix = basis
    return GaLoreAdamW([{"params": rest}, {"params": projected, "rank": rank, "update_proj_gap": 1 << 30, "scale": 0.25, "proj_type": "std"}],
                       lr=lr, no_deprecation_warning=True)


def loss_of(torch, logits, targets):
    return torch.nn.functional.cross_entropy(logits.float().view(-1, logits.shape[-1]), targets.view(-1))


def imports(*names):
    try:
        for name in names:
            __import__(name)
        return True
    except Exception as error:  # noqa: BLE001: a package that is broken is as good as none
        print(f"{' and '.join(names)}: not here ({type(error).__name__}: {error})".replace("\n", " ")[:200])
        return False


def measure(torch, options, compiled):
    """Median seconds of a step and the peak of allocated bytes."""
    device = torch.device(options.device)
    torch.manual_seed(42)
    with torch.device(device):
        model = (published_llama if options.transformers else plain_llama)(torch, PRESETS[options.preset])
    model.to(torch.bfloat16)
    projected, rest = split_parameters(model)
    make = published_optimizer if options.galore_torch else PlainGaLoreAdamW
    optimizer = make(torch, projected, rest, options.rank, 1e-4, drawn_basis)
    run = torch.compile(model) if compiled else model

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    def step():
        ids = torch.randint(VOCABULARY, (options.batch, options.sequence + 1), device=device)
        wait()
        begin = time.perf_counter()
        loss = loss_of(torch, run(ids[:, :-1]), ids[:, 1:].contiguous())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        wait()
        return time.perf_counter() - begin

    step()
    step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = statistics.median(step() for _ in range(options.steps))
    return seconds, torch.cuda.max_memory_allocated() if device.type == "cuda" else 0


def ours(path):
    """Our figures by name, from a file of RESULT lines."""
    figures = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            try:
                figures[fields[1]] = float(fields[2])
            except (IndexError, ValueError):
                continue
    return figures


def out_of_time(*_):
    raise TimeoutError("it takes longer than --seconds")


def ways(options):
    """Names of the ways to run PyTorch that were asked for."""
    return [name for name, wanted in (("pytorch", not options.only_compiled), ("pytorch_compiled", options.compile)) if wanted]


def attempt(torch, options, compiled):
    """What measure finds, or None. transformers may import and fail later: then the plain model is tried."""
    while True:
        try:
            signal.alarm(max(1, int(options.seconds - (time.monotonic() - options.began))))
            return measure(torch, options, compiled)
        except Exception as error:  # noqa: BLE001: of any kind, memory among them
            told = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        finally:
            signal.alarm(0)
            gc.collect()
            if options.device == "cuda":
                torch.cuda.empty_cache()
        if not options.transformers or told.startswith("TimeoutError"):
            print(f"skipped: PyTorch{' compiled' if compiled else ''}: {told}")
            return None
        print(f"transformers fails ({told}); the plain model takes its place")
        options.transformers = False


def compare(torch, options):
    options.transformers = imports("transformers")
    options.galore_torch = imports("galore_torch")
    figures = ours(options.ours) if options.ours else {}
    our_rate, our_peak = (figures.get(f"{options.preset}.galore.{what}") for what in ("tokens_per_second", "peak"))
    for name in ways(options):
        found = attempt(torch, options, name == "pytorch_compiled")
        if found is None:
            judge(name)
            continue
        model = "transformers" if options.transformers else "own plain-torch Llama"
        optimizer = "galore-torch" if options.galore_torch else "own plain-torch GaLore-AdamW"
        print(f"PyTorch {torch.__version__}: {model}, {optimizer}, {options.preset}, {options.batch} x {options.sequence} tokens, rank {options.rank}")
        seconds, peak = found
        rate = options.batch * options.sequence / seconds
        result(f"{name}.{options.preset}.tokens_per_second", rate, "tokens/s")
        result(f"{name}.{options.preset}.peak", peak / 1e9, "GB")
        judge(name, our_rate / rate if our_rate is not None else None, our_peak * 1e9 / peak if our_peak is not None and peak else None)
    if options.device == "cuda" and not options.only_compiled:
        gradient = torch.randn(PRESETS[options.preset][0], PRESETS[options.preset][0], device="cuda")
        torch.cuda.synchronize()
        begin = time.perf_counter()
        exact_basis(torch, gradient, options.rank)
        torch.cuda.synchronize()
        result("pytorch.one_exact_basis", time.perf_counter() - begin, "s")


def check(torch):
    """Both sides on the CPU in fp32: the same logits from the same weights, and the same weights after five steps."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    shape, vocabulary = PRESETS["tiny"], 97
    theirs, plain = published_llama(torch, shape, vocabulary), plain_llama(torch, shape, vocabulary)
    plain.load_state_dict(theirs.state_dict())
    ids = torch.randint(vocabulary, (3, 33))
    optimizers = [make(torch, *split_parameters(model), 8, 1e-2, exact_basis)
                  for make, model in ((published_optimizer, theirs), (lambda *a: PlainGaLoreAdamW(*a), plain))]
    worst = 0.0
    for _ in range(5):
        losses = []
        for model, optimizer in zip((theirs, plain), optimizers):
            logits = model(ids[:, :-1])
            loss = loss_of(torch, logits, ids[:, 1:].contiguous())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        worst = max(worst, abs(losses[0] - losses[1]) / losses[0])
    # fp32 sums in another order, through Adam's division by roots that are near nothing in the first steps.
    print(f"losses of five steps differ by {worst:.2g} of themselves")
    return 0 if worst < 2e-5 else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--preset", default="llama-1b", choices=list(PRESETS))
    parser.add_argument("--sequence", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rank", type=int, default=512)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--ours", default=None)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--only-compiled", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--seconds", type=float, default=150, help="after which no more is begun, and compiling is given up")
    options = parser.parse_args()
    options.began = time.monotonic()
    signal.signal(signal.SIGALRM, out_of_time)
    try:
        import torch
    except Exception as error:  # noqa: BLE001: a package that is broken is as good as none
        if options.check:
            print(f"PyTorch does not import: {error}")
            return 77
        not_measured(f"PyTorch does not import ({error})", ways(options))
    if options.check:
        return check(torch) if imports("transformers", "galore_torch") else 77
    if options.device == "cuda" and not torch.cuda.is_available():
        not_measured("PyTorch sees no GPU", ways(options))
    compare(torch, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
